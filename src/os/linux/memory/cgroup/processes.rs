//! How many processes the cgroups of this one still allow.

use std::fs;
use std::path::Path;

use super::places::places;

/// How many more there may be at the level that allows the fewest; `None` if no level has a limit.
pub(crate) fn processes_left() -> Option<usize> {
    let read = |file: &str| fs::read(file).unwrap_or_default();
    left(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

fn left(cgroup: &[u8], mountinfo: &[u8]) -> Option<usize> {
    let levels = places(b"pids", cgroup, mountinfo).into_iter().flat_map(|places| places.levels);
    levels.filter_map(|level| Some(number(&level, "pids.max")?.saturating_sub(number(&level, "pids.current")?))).min()
}

/// The number in a file; `None` if there is no such file, or the word `max`.
fn number(directory: &Path, file: &str) -> Option<usize> {
    fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::level::tests::Tree;
    use super::*;

    #[test]
    fn cgroups_of_either_version_count_processes() {
        for (kind, cgroup) in [("cgroup2", &b"0::/a/b\n"[..]), ("cgroup", b"4:pids:/a/b\n3:cpu,cpuacct:/a\n")] {
            let tree = Tree::new(&format!("pids-{kind}"));
            let mountinfo = format!("29 23 0:26 / {} rw shared:4 - {kind} none rw,pids\n", tree.0.display());
            tree.write("a/b", &[("pids.max", "max"), ("pids.current", "9")]);
            assert_eq!(left(cgroup, mountinfo.as_bytes()), None);
            tree.write("a", &[("pids.max", "20"), ("pids.current", "15")]);
            assert_eq!(left(cgroup, mountinfo.as_bytes()), Some(5));
        }
    }
}
