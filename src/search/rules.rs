//! What the files `.gitignore` leave out.

use std::ffi::{CStr, OsStr};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::os::tree;

/// The rules of one directory, and of those above it, which decide where its own say nothing.
pub(crate) struct Rules {
    matcher: Gitignore,
    above: Option<Arc<Rules>>,
    /// The bytes of a shown path that its own names follow.
    base: usize,
    /// What leads from the directory of the rules to these names: nothing, unless the rules are of a directory above
    /// the root.
    prefix: PathBuf,
}

impl Rules {
    /// The rules of a directory below one with the rules `above`. Shown paths into it begin with `base` bytes.
    pub(crate) fn below(above: &Arc<Self>, directory: &OwnedFd, base: usize) -> Arc<Self> {
        let content = tree::open_file(Some(directory.as_fd()), c".gitignore", true);
        match content.ok().and_then(|file| matcher(std::fs::File::from(file))) {
            Some(matcher) => Arc::new(Self { matcher, above: Some(above.clone()), base, prefix: PathBuf::new() }),
            None => above.clone(),
        }
    }

    /// The rules where a walk begins: those of the user, of the repository, and of the directories above in it, too.
    pub(crate) fn of_root(name: &CStr, directory: &OwnedFd, base: usize) -> Arc<Self> {
        let root = std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).unwrap_or_default();
        let repository = root.ancestors().find(|above| above.join(".git").exists()).unwrap_or(&root);
        let prefix = |above: &Path| root.strip_prefix(above).map(Path::to_owned).unwrap_or_default();
        let of_user = Gitignore::global().0;
        let mut rules = Arc::new(Self { matcher: of_user, above: None, base, prefix: prefix(repository) });
        let mut above: Vec<&Path> = root.ancestors().skip(1).filter(|above| above.starts_with(repository)).collect();
        above.reverse();
        let of_repository = (repository, repository.join(".git/info/exclude"));
        for (place, file) in
            [of_repository].into_iter().chain(above.iter().map(|above| (*above, above.join(".gitignore"))))
        {
            if let Some(matcher) = std::fs::File::open(file).ok().and_then(matcher) {
                rules = Arc::new(Self { matcher, above: Some(rules), base, prefix: prefix(place) });
            }
        }
        Self::below(&rules, directory, base)
    }

    /// Whether a shown path is left out, the last name of which begins behind `parent` bytes.
    pub(crate) fn ignore(&self, path: &[u8], parent: usize, is_directory: bool) -> bool {
        if is_directory && path.get(parent..) == Some(b".git") {
            return true;
        }
        let mut rules = Some(self);
        while let Some(each) = rules {
            let inside = each.prefix.join(OsStr::from_bytes(path.get(each.base..).unwrap_or_default()));
            match each.matcher.matched(&inside, is_directory) {
                Match::None => rules = each.above.as_deref(),
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

/// The rules in a file; none if it cannot be read. A line that is no rule is left out.
fn matcher(mut file: std::fs::File) -> Option<Gitignore> {
    let mut content = Vec::new();
    file.read_to_end(&mut content).ok()?;
    let mut builder = GitignoreBuilder::new("");
    for line in content.split(|&byte| byte == b'\n') {
        let _not_a_rule = builder.add_line(None, &String::from_utf8_lossy(line));
    }
    builder.build().ok()
}
