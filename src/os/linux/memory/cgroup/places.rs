//! Where the cgroups of a process are that a controller accounts by, from what `/proc/self/cgroup` and
//! `/proc/self/mountinfo` say. Nothing is opened.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Which interface a hierarchy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// Directories that could be the levels of this process in one hierarchy, seen through one mount of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) version: Version,
    /// The innermost first, the mount point last.
    pub(super) levels: Vec<PathBuf>,
}

/// All places for a controller (`memory`, say), of both versions where a machine has both. A hierarchy may be mounted
/// several times: the mount that shows most of its levels comes first.
pub(super) fn places(controller: &[u8], cgroup: &[u8], mountinfo: &[u8]) -> Vec<Places> {
    let mut found: Vec<(usize, Places)> = Vec::new();
    for mount in mountinfo.split(|&byte| byte == b'\n').filter_map(|line| Mount::parse(controller, line)) {
        let Some(path) = own_path(controller, cgroup, mount.version) else { continue };
        // A cgroup that lies outside of what is mounted, or of the cgroup namespace, is not to be seen through this
        // mount.
        let Ok(below) = path.strip_prefix(&mount.root) else { continue };
        if below.components().any(|part| !matches!(part, Component::Normal(_))) {
            continue;
        }
        let levels = below.ancestors().map(|below| mount.point.join(below)).map(without_end).collect();
        found.push((mount.root.components().count(), Places { version: mount.version, levels }));
    }
    found.sort_by_key(|&(depth, _)| depth);
    found.into_iter().map(|(_, places)| places).collect()
}

/// Joining nothing leaves a slash at the end.
fn without_end(path: PathBuf) -> PathBuf {
    path.components().collect()
}

/// The path of this process in the hierarchy that may have the controller.
fn own_path(controller: &[u8], cgroup: &[u8], version: Version) -> Option<PathBuf> {
    cgroup.split(|&byte| byte == b'\n').find_map(|line| {
        // ID:controllers:path, and the path may contain colons.
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match version {
            Version::One => has(controllers, controller),
            Version::Two => number == b"0" && controllers.is_empty(),
        };
        is_it.then(|| to_path(path.to_vec()))
    })
}

/// A mount of a hierarchy that may have the controller.
struct Mount {
    version: Version,
    /// Which of the hierarchy's cgroups is to be seen at the mount point.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Reads a line such as `35 31 0:32 /root /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory`.
    fn parse(controller: &[u8], line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        // The optional fields, any number of them, end in a lone hyphen.
        fields.find(|field| field == b"-")?;
        let (kind, options) = (fields.next()?, fields.nth(1)?);
        let version = match kind {
            b"cgroup2" => Version::Two,
            b"cgroup" if has(options, controller) => Version::One,
            _ => return None,
        };
        Some(Self { version, root: to_path(unescape(root)), point: to_path(unescape(point)) })
    }
}

fn has(words: &[u8], wanted: &[u8]) -> bool {
    words.split(|&byte| byte == b',').any(|word| word == wanted)
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    Path::new(&OsString::from_vec(bytes)).to_path_buf()
}

/// Blanks, tabs, newlines and backslashes are written as a backslash and three octal digits.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let octal =
            rest.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match octal {
            Some(digits) => {
                plain.push(digits.iter().fold(0u8, |number, digit| number.wrapping_mul(8).wrapping_add(digit - b'0')));
                text = &rest[3..];
            }
            None => {
                plain.push(first);
                text = rest;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cgroup: &str, mountinfo: &str) -> Vec<(Version, Vec<String>)> {
        let shown = |places: Places| {
            (places.version, places.levels.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
        };
        places(b"memory", cgroup.as_bytes(), mountinfo.as_bytes()).into_iter().map(shown).collect()
    }

    fn levels(cgroup: &str, mountinfo: &str) -> Vec<String> {
        let mut found = found(cgroup, mountinfo);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0).1
    }

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "32 23 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        35 23 0:32 / /sys/fs/cgroup/memory rw shared:9 master:2 - cgroup cgroup rw,memory\n";

    #[test]
    fn every_level_up_to_the_mount_counts_the_innermost_first() {
        assert_eq!(
            found("0::/user.slice/user-1.slice/session-3.scope\n", V2),
            [(
                Version::Two,
                vec![
                    "/sys/fs/cgroup/user.slice/user-1.slice/session-3.scope".into(),
                    "/sys/fs/cgroup/user.slice/user-1.slice".into(),
                    "/sys/fs/cgroup/user.slice".into(),
                    "/sys/fs/cgroup".into(),
                ]
            )]
        );
    }

    #[test]
    fn of_the_first_version_only_the_hierarchy_of_memory_counts() {
        let cgroup = "9:name=systemd:/a\n5:cpu,cpuacct:/b\n4:hugetlb,memory:/c/d\n0::/e\n";
        assert_eq!(
            found(cgroup, V1),
            [(
                Version::One,
                vec![
                    "/sys/fs/cgroup/memory/c/d".into(),
                    "/sys/fs/cgroup/memory/c".into(),
                    "/sys/fs/cgroup/memory".into()
                ]
            )]
        );
    }

    #[test]
    fn a_hybrid_has_both() {
        let mountinfo = V1.to_string() + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = found("4:memory:/x\n0::/y\n", &mountinfo);
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|places| places.0 == Version::Two && places.1[0] == "/sys/fs/cgroup/unified/y"));
        assert!(found.iter().any(|places| places.0 == Version::One && places.1[0] == "/sys/fs/cgroup/memory/x"));
    }

    #[test]
    fn a_container_without_a_cgroup_namespace_sees_its_own_cgroup_at_the_mount_point() {
        let mountinfo = "35 23 0:32 /docker/4f5e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(levels("4:memory:/docker/4f5e\n", mountinfo), ["/sys/fs/cgroup/memory"]);
        let nested = ["/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory"];
        assert_eq!(levels("4:memory:/docker/4f5e/inner\n", mountinfo), nested);
    }

    #[test]
    fn what_lies_outside_of_the_mount_or_the_namespace_is_not_looked_for() {
        let mountinfo = "35 23 0:32 /docker/4f5e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert!(found("4:memory:/docker/4f5e0\n", mountinfo).is_empty());
        assert!(found("4:memory:/\n", mountinfo).is_empty());
        assert!(found("0::/../sibling\n", V2).is_empty());
        assert!(found("0::/own\n", &V2.replace("0:26 / /sys", "0:26 /.. /sys")).is_empty());
    }

    #[test]
    fn the_mount_that_shows_more_levels_comes_first() {
        let part = V2.replace("0:26 / /sys/fs/cgroup", "0:26 /a/b /part");
        let all = found("0::/a/b/c\n", &(part + V2));
        assert_eq!(all[0].1.len(), 4);
        assert_eq!(all[1].1, ["/part/c", "/part"]);
    }

    #[test]
    fn odd_names_are_read_as_the_kernel_writes_them() {
        let mountinfo = V2.replace("/sys/fs/cgroup", "/odd\\040mount\\134point");
        assert_eq!(levels("0::/with: colon\n", &mountinfo), ["/odd mount\\point/with: colon", "/odd mount\\point"]);
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"a\\999b"), b"a\\999b");
    }

    #[test]
    fn nonsense_is_no_place() {
        for mountinfo in ["", "\n\n", "35 23 0:32 /", "35 23 0:32 / /point rw", "1 2 3 4 5 6 - cgroup2", "\\"] {
            assert!(found("0::/a\n", mountinfo).is_empty(), "{mountinfo}");
        }
        assert!(found("", V2).is_empty());
        assert!(found("0:/a\nnonsense\n", V2).is_empty());
    }
}
