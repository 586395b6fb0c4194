//! The memory cgroups that this process is in: each of their levels can be why the kernel kills it. And those that
//! count processes.

mod level;
mod places;
mod processes;

use std::fs;
use std::path::Path;

use crate::os::memory_facts::CgroupFacts;
use level::Level;
pub(crate) use level::{CgroupRoom, Look};
pub(crate) use processes::processes_left;

/// The levels, as they were found last.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// What `/proc/self/cgroup` said then.
    cgroup: Vec<u8>,
    found: Vec<Level>,
    /// The most bytes of text that a close look found in any. Text that was evicted makes room for a moment, and comes back.
    most_text: usize,
}

impl Levels {
    /// The level that has the least room, if any has a limit.
    ///
    /// No descriptor is kept: a program may close those that it did not open, and give their numbers to files of its
    /// own.
    pub(super) fn tightest(&mut self, look: Look) -> Option<CgroupRoom> {
        self.refresh();
        let Self { found, most_text, .. } = self;
        found.iter().filter_map(|level| level.room(look, most_text)).min_by_key(|room| room.available)
    }

    /// The least limit of all levels.
    pub(super) fn limit(&mut self) -> Option<usize> {
        self.refresh();
        self.found.iter().filter_map(Level::limit).min()
    }

    /// Finds the levels again if the process was moved to other cgroups.
    fn refresh(&mut self) {
        let cgroup = fs::read("/proc/self/cgroup").unwrap_or_default();
        if cgroup != self.cgroup {
            let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
            self.found = find(&cgroup, &mountinfo);
            self.cgroup = cgroup;
        }
    }
}

/// The levels that are there, of every hierarchy. Where a hierarchy is mounted more than once, one mount is enough.
fn find(cgroup: &[u8], mountinfo: &[u8]) -> Vec<Level> {
    let mut found: Vec<Level> = Vec::new();
    let mut done = Vec::new();
    for places in places::places(b"memory", cgroup, mountinfo) {
        if done.contains(&places.version) {
            continue;
        }
        let mut levels = places.levels.iter().filter_map(|directory| Level::at(places.version, directory));
        // The innermost counts in any case, those above it as long as they account for what is below.
        let Some(innermost) = levels.next() else { continue };
        found.push(innermost);
        found.extend(levels.take_while(Level::covers_those_below));
        done.push(places.version);
    }
    found
}

/// What each level has, with a limit or without, the innermost first.
pub(super) fn facts() -> Vec<CgroupFacts> {
    let read = |file: &str| fs::read(file).unwrap_or_default();
    facts_of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

fn facts_of(cgroup: &[u8], mountinfo: &[u8]) -> Vec<CgroupFacts> {
    let places = places::places(b"memory", cgroup, mountinfo);
    let mounts: Vec<&Path> = places.iter().filter_map(|places| places.levels.last()).map(AsRef::as_ref).collect();
    find(cgroup, mountinfo).iter().filter_map(|level| level.facts(&mounts)).collect()
}

#[cfg(test)]
mod tests {
    use super::level::tests::{MIB, Tree};
    use super::*;

    /// A tree of the second version, mounted at its root as `mountinfo` says.
    fn mounted(tree: &Tree, kind: &str) -> String {
        format!("29 23 0:26 / {} rw shared:4 - {kind} none rw,memory\n", tree.0.display())
    }

    fn tightest(levels: Vec<Level>) -> Option<CgroupRoom> {
        Levels { cgroup: fs::read("/proc/self/cgroup").unwrap(), found: levels, most_text: 0 }.tightest(Look::Briefly)
    }

    #[test]
    fn the_level_with_least_room_decides_whichever_it_is() {
        let tree = Tree::new("levels");
        let files = |max: usize, current: usize| {
            [("memory.max", (max * MIB).to_string()), ("memory.current", (current * MIB).to_string())]
        };
        let write = |directory: &str, max, current| {
            let files = files(max, current);
            tree.write(directory, &files.each_ref().map(|(name, text)| (*name, text.as_str())))
        };
        write("a/b/c", 1000, 10);
        let tight = write("a/b", 200, 150);
        write("a", 500, 400);
        let levels = find(b"0::/a/b/c\n", mounted(&tree, "cgroup2").as_bytes());
        assert_eq!(levels.len(), 3); // the root accounts for nothing
        let room = tightest(levels.clone()).unwrap();
        assert_eq!((room.limit_file, room.limit), (tight.join("memory.max"), 200 * MIB));
        write("a", 500, 490);
        let room = tightest(levels).unwrap();
        assert_eq!(room.limit, 500 * MIB);
    }

    #[test]
    fn levels_that_do_not_exist_or_do_not_count_are_passed_over() {
        let tree = Tree::new("levels-partly");
        let files = |limit: &'static str, below: &'static str| {
            [("memory.limit_in_bytes", limit), ("memory.usage_in_bytes", "0"), ("memory.use_hierarchy", below)]
        };
        tree.write("a", &files("1073741824", "0"));
        tree.write("a/b", &files("2147483648", "1"));
        tree.write(".", &files("4096", "1"));
        // c is not to be seen, and b counts; a does not answer for b, so nor does what is above it.
        let levels = find(b"3:memory:/a/b/c\n", mounted(&tree, "cgroup").as_bytes());
        assert_eq!(tightest(levels).unwrap().limit, 2 << 30);
        let levels = find(b"3:memory:/a\n", mounted(&tree, "cgroup").as_bytes());
        assert_eq!(tightest(levels).unwrap().limit, 4096);
    }

    #[test]
    fn facts_tell_of_levels_without_a_limit_too() {
        let tree = Tree::new("facts-two");
        let stat = "inactive_file 600\nactive_file 0\nfile_dirty 0\nfile_writeback 0";
        tree.write("a/b c", &[("memory.max", "1000"), ("memory.current", "1500"), ("memory.stat", stat)]);
        tree.write("a", &[("memory.max", "max"), ("memory.current", "2000")]);
        let fact = |path: &str, limit, usage, reclaimable| CgroupFacts {
            path: path.into(),
            version: 2,
            limit,
            usage,
            reclaimable,
        };
        assert_eq!(
            facts_of(b"0::/a/b c\n", mounted(&tree, "cgroup2").as_bytes()),
            [fact("/a/b c", Some(1000), 1500, 600), fact("/a", None, 2000, 0)]
        );
        assert_eq!(facts_of(b"0::/a\n", b""), []);
    }

    #[test]
    fn facts_of_a_container_name_its_own_cgroup_by_a_slash() {
        let tree = Tree::new("facts-one");
        tree.write(".", &[("memory.limit_in_bytes", "100"), ("memory.usage_in_bytes", "40")]);
        let mountinfo = mounted(&tree, "cgroup").replace("0:26 / ", "0:26 /docker/abc ");
        let found = facts_of(b"4:memory:/docker/abc\n", mountinfo.as_bytes());
        assert_eq!(found, [CgroupFacts { path: "/".into(), version: 1, limit: Some(100), usage: 40, reclaimable: 0 }]);
        tree.write(".", &[("memory.limit_in_bytes", "9223372036854771712")]);
        assert_eq!(facts_of(b"4:memory:/docker/abc\n", mountinfo.as_bytes())[0].limit, None);
    }

    #[test]
    fn two_hierarchies_both_count() {
        let (one, two) = (Tree::new("hybrid-one"), Tree::new("hybrid-two"));
        one.write("a", &[("memory.limit_in_bytes", "1073741824"), ("memory.usage_in_bytes", "0")]);
        two.write("b", &[("memory.max", "2147483648"), ("memory.current", "2147483648")]);
        let mountinfo = mounted(&one, "cgroup") + &mounted(&two, "cgroup2");
        let levels = find(b"4:memory:/a\n0::/b\n", mountinfo.as_bytes());
        assert_eq!((levels.len(), tightest(levels).unwrap().available), (2, 0));
    }

    #[test]
    fn a_process_that_was_moved_is_looked_for_again() {
        let tree = Tree::new("moved");
        let directory = tree.write("a", &[("memory.max", "4096"), ("memory.current", "0")]);
        let level = Level::at(places::Version::Two, &directory).unwrap();
        let mut levels = Levels { cgroup: b"0::/elsewhere\n".into(), found: vec![level.clone()], most_text: 0 };
        levels.refresh();
        assert!(!levels.found.contains(&level));
        levels.found.push(level.clone());
        levels.refresh(); // nothing has changed
        assert!(levels.found.contains(&level));
    }
}
