//! Finding the files below some paths, in the order of their names.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::vec;

use super::rules::Rules;
use crate::os::tree::{self, Entry, FileType, Identity};

/// How many directories are kept open on the way to the current one. Those above are found again by `..`.
const MAX_OPEN: usize = 64;

/// A file to be read.
#[derive(Debug)]
pub(crate) struct File {
    /// The path that users see.
    pub(crate) path: Box<[u8]>,
    /// Where its name is looked up: in the current directory if nowhere.
    directory: Option<Arc<OwnedFd>>,
    name: CString,
    /// Whether it was named itself, and not found below a directory.
    pub(crate) is_given: bool,
}

impl File {
    /// What users are told that it is called.
    pub(crate) fn shown(&self) -> &[u8] {
        match self.is_input() {
            true => b"(standard input)",
            false => &self.path,
        }
    }

    /// Whether it is standard input.
    pub(crate) fn is_input(&self) -> bool {
        self.is_given && self.directory.is_none() && &*self.path == b"-"
    }

    /// Opens it; `None` if it is no file any more that a search reads.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>, i32> {
        if self.is_input() {
            return tree::standard_input().map(Some);
        }
        match tree::open_file(self.directory.as_ref().map(|directory| directory.as_fd()), &self.name, self.is_given) {
            Err(libc::ELOOP | libc::ENXIO) if !self.is_given => Ok(None),
            opened => opened.map(Some),
        }
    }
}

/// What a walk comes upon.
#[derive(Debug)]
pub(crate) enum Found {
    File(File),
    /// Something that is not searched.
    Skipped(FileType),
    /// A directory that cannot be listed, or a path that leads nowhere: its path, and the code of the error.
    Unreadable(Box<[u8]>, i32),
}

/// A directory on the way to where the walk is.
struct Level {
    /// `None` while too many are open.
    directory: Option<Arc<OwnedFd>>,
    identity: Identity,
    /// Bytes of the path up to its names.
    path_len: usize,
    entries: vec::IntoIter<Entry>,
    rules: Option<Arc<Rules>>,
}

/// What a walk begins with.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// Files and directories. Without any it begins in `.`, which is then left out of the paths of the files.
    Roots(Vec<Vec<u8>>),
    /// Files that another walk has found.
    Listed(Listed),
}

/// Files that another walk has found.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Where their paths begin.
    pub(crate) directory: Arc<OwnedFd>,
    /// The path of each, and whether it was named itself.
    pub(crate) files: VecDeque<(Vec<u8>, bool)>,
}

/// Walks the trees below some paths. Symlinks are followed where they are given as a path, and nowhere else.
pub(crate) struct Walk {
    roots: VecDeque<Vec<u8>>,
    levels: Vec<Level>,
    /// The path of the current directory, as far as it is shown.
    path: Vec<u8>,
    ignores: bool,
    /// What has been found before what comes next.
    pending: Option<Found>,
    listed: Option<Listed>,
}

impl Walk {
    /// With `ignores`, what the files `.gitignore` name is left out.
    pub(crate) fn new(start: Start, ignores: bool) -> Self {
        let (roots, listed) = match start {
            Start::Roots(roots) => (roots, None),
            Start::Listed(listed) => (Vec::new(), Some(listed)),
        };
        let begins_here = roots.is_empty() && listed.is_none();
        let mut walk =
            Self { roots: roots.into(), levels: Vec::new(), path: Vec::new(), ignores, pending: None, listed };
        if begins_here {
            walk.pending = walk.enter(None, c".", true, Vec::new(), b".").err();
        }
        walk
    }

    /// A given path: a directory is entered, anything else found.
    fn begin(&mut self, root: Vec<u8>) -> Option<Found> {
        let name = CString::new(root.clone()).unwrap_or_default();
        if root == b"-" {
            return Some(Found::File(File { path: root.into(), directory: None, name, is_given: true }));
        }
        match tree::kind_of_name(None, &name) {
            Err(code) => Some(Found::Unreadable(root.into(), code)),
            Ok(FileType::Directory) => {
                let mut path = root.clone();
                while path.ends_with(b"//") {
                    path.pop();
                }
                if !path.ends_with(b"/") {
                    path.push(b'/');
                }
                self.enter(None, &name, true, path, &root).err()
            }
            Ok(FileType::Socket) => Some(Found::Skipped(FileType::Socket)),
            Ok(_) => Some(Found::File(File { path: root.into(), directory: None, name, is_given: true })),
        }
    }

    /// Goes down into a directory, the names in which are shown behind `path`; `shown` is what an error calls it.
    fn enter(
        &mut self,
        within: Option<BorrowedFd<'_>>,
        name: &CStr,
        is_given: bool,
        path: Vec<u8>,
        shown: &[u8],
    ) -> Result<(), Found> {
        let unreadable = |code| Found::Unreadable(shown.into(), code);
        let directory = tree::open_directory(within, name, is_given).map_err(unreadable)?;
        let identity = tree::facts(&directory).map_err(unreadable)?.identity;
        let entries = tree::entries(&directory).map_err(unreadable)?;
        let rules = match (self.ignores, self.levels.last()) {
            (false, _) => None,
            (true, Some(Level { rules: Some(above), .. })) => Some(Rules::below(above, &directory, path.len())),
            (true, _) => Some(Rules::of_root(name, &directory, path.len())),
        };
        self.path = path;
        let open = self.levels.iter().rev().take_while(|level| level.directory.is_some()).count();
        if open >= MAX_OPEN {
            let oldest = self.levels.len() - open;
            self.levels[oldest].directory = None;
        }
        self.levels.push(Level {
            directory: Some(Arc::new(directory)),
            identity,
            path_len: self.path.len(),
            entries: entries.into_iter(),
            rules,
        });
        Ok(())
    }

    /// Goes back up from a directory that is done.
    fn leave(&mut self) -> Option<Found> {
        let left = self.levels.pop()?;
        let above = self.levels.last_mut()?;
        self.path.truncate(above.path_len);
        if above.directory.is_some() {
            return None;
        }
        let from = left.directory.as_ref().map(|directory| directory.as_fd());
        let opened = tree::open_directory(from, c"..", false)
            .and_then(|opened| tree::facts(&opened).map(|facts| (opened, facts.identity)));
        match opened {
            Ok((opened, identity)) if identity == above.identity => {
                above.directory = Some(Arc::new(opened));
                None
            }
            // It was moved away with the walk in it: its other names cannot be reached any more.
            other => {
                let code = other.err().unwrap_or(libc::ENOENT);
                let path = self.path.strip_suffix(b"/").unwrap_or(&self.path).into();
                above.entries = Vec::new().into_iter();
                Some(Found::Unreadable(path, code))
            }
        }
    }

    /// One name in the current directory.
    fn look_at(&mut self, entry: Entry) -> Option<Found> {
        let level = self.levels.last()?;
        let mut path = Vec::with_capacity(self.path.len() + entry.name.as_bytes().len() + 1);
        path.extend_from_slice(&self.path);
        path.extend_from_slice(entry.name.as_bytes());
        let is_directory = entry.kind == FileType::Directory;
        if level.rules.as_ref().is_some_and(|rules| rules.ignore(&path, level.path_len, is_directory)) {
            return None;
        }
        match entry.kind {
            FileType::Regular => Some(Found::File(File {
                path: path.into(),
                directory: level.directory.clone(),
                name: entry.name,
                is_given: false,
            })),
            FileType::Directory => {
                let within = level.directory.clone();
                let shown = path.clone();
                path.push(b'/');
                let within = within.as_ref().map(|directory| directory.as_fd());
                self.enter(within, &entry.name, false, path, &shown).err()
            }
            other => Some(Found::Skipped(other)),
        }
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(listed) = &mut self.listed {
            return listed.next();
        }
        loop {
            let found = match (self.pending.take(), self.levels.last_mut()) {
                (Some(pending), _) => Some(pending),
                (None, Some(level)) => match level.entries.next() {
                    Some(entry) => self.look_at(entry),
                    None => self.leave(),
                },
                (None, None) => {
                    let root = self.roots.pop_front()?;
                    self.begin(root)
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Iterator for Listed {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let (path, is_given) = self.files.pop_front()?;
        let found = match reach(&self.directory, &path) {
            Ok((directory, name)) => {
                Found::File(File { path: path.into(), directory: Some(directory), name, is_given })
            }
            Err(code) => Found::Unreadable(path.into(), code),
        };
        Some(found)
    }
}

/// A directory from which the kernel finds a path, however long that is, and the path from there.
fn reach(directory: &Arc<OwnedFd>, path: &[u8]) -> Result<(Arc<OwnedFd>, CString), i32> {
    let name = |path: &[u8]| CString::new(path).map_err(|_| libc::EINVAL);
    let (mut directory, mut rest) = (Arc::clone(directory), path);
    while rest.len() >= libc::PATH_MAX as usize {
        let last = rest[..libc::PATH_MAX as usize].iter().rposition(|&byte| byte == b'/');
        let cut = last.filter(|&cut| cut > 0).ok_or(libc::ENAMETOOLONG)?;
        directory = Arc::new(tree::open_directory(Some(directory.as_fd()), &name(&rest[..cut])?, true)?);
        let slashes = rest[cut..].iter().take_while(|&&byte| byte == b'/').count();
        rest = &rest[cut + slashes..];
    }
    Ok((directory, name(rest)?))
}
