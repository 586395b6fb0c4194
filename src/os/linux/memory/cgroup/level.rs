//! One memory cgroup: what it may hold, what it holds, and what of that would go if it had to.

use std::fs;
use std::path::{Path, PathBuf};

use super::places::Version;
use crate::os::memory_facts::CgroupFacts;
use crate::os::system::memory::text::Text;

/// From here on a limit of the first version is none: it counts in whole pages and cannot say "max".
const UNLIMITED: usize = 1 << 62;

/// What the rest of the program may need between two questions, and the kernel for its tables: this share of a limit,
/// ...
const RESERVED_SHARE: usize = 32;

/// ... but no less, ...
const MIN_RESERVED_BYTES: usize = 3 << 20;

/// ... and no more.
const MAX_RESERVED_BYTES: usize = 64 << 20;

/// One level of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    version: Version,
    directory: PathBuf,
}

/// What a level with a limit has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupRoom {
    /// The file that holds the limit.
    pub(crate) limit_file: PathBuf,
    /// Bytes that all processes in it may use.
    pub(crate) limit: usize,
    /// Bytes that they use.
    pub(crate) usage: usize,
    /// Bytes that can be had before the kernel kills, less a reserve.
    pub(crate) available: usize,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// At limit and usage: what is found is there in any case.
    Briefly,
    /// Also at what the kernel would give up or swap out. `memory.stat` is not cheap to read.
    Closely {
        /// Bytes of swap that the machine has free.
        swap_free: usize,
        /// What this process needs to run.
        text: Text,
    },
}

/// The files of each version that hold a limit and what counts against it.
struct AccountFiles {
    limit: &'static str,
    usage: &'static str,
}

impl Level {
    /// The level at a directory; `None` where none is that accounts for memory, as at the root of the second version.
    pub(super) fn at(version: Version, directory: &Path) -> Option<Self> {
        let level = Self { version, directory: directory.to_path_buf() };
        level.number(level.memory().usage).map(|_| level)
    }

    /// Whether it also accounts for what the cgroups below it use. Those of the first version did not have to, before
    /// Linux 5.11.
    pub(super) fn covers_those_below(&self) -> bool {
        self.version == Version::Two || self.number("memory.use_hierarchy") != Some(0)
    }

    /// What it has, where it has a limit. Limits can change at any time, so none is remembered.
    ///
    /// `most_text` is the most text that was found so far.
    ///
    /// `memory.high` is not one: beyond it the kernel reclaims and slows down, and kills nobody.
    pub(super) fn room(&self, look: Look, most_text: &mut usize) -> Option<CgroupRoom> {
        let account = self.memory();
        let limit = self.limit()?;
        let usage = self.number(account.usage)?;
        let mut available = limit.saturating_sub(usage);
        if let Look::Closely { swap_free, text } = look {
            let cache = self.page_cache();
            let text = text.in_memory(cache.mapped, cache.shared_memory).min(cache.mapped);
            *most_text = text.max(*most_text);
            let reclaimable = cache.reclaimable(text);
            available = available.saturating_add(reclaimable).saturating_add(self.swap(swap_free));
            available = available.saturating_sub(*most_text - text);
            // Of the first version one limit can hold memory and swap together.
            let together = AccountFiles { limit: "memory.memsw.limit_in_bytes", usage: "memory.memsw.usage_in_bytes" };
            if self.version == Version::One
                && let Some(limit) = self.limit_of(&together)
                && let Some(usage) = self.number(together.usage)
            {
                available = available.min(limit.saturating_sub(usage).saturating_add(reclaimable));
            }
        }
        let reserve = (limit / RESERVED_SHARE).clamp(MIN_RESERVED_BYTES, MAX_RESERVED_BYTES);
        let limit_file = self.directory.join(account.limit);
        Some(CgroupRoom { limit_file, limit, usage, available: available.saturating_sub(reserve) })
    }

    /// What it has, with a limit or without; `None` if it is gone. Its path is told from the one of `mounts` it lies
    /// below.
    pub(super) fn facts(&self, mounts: &[&Path]) -> Option<CgroupFacts> {
        let account = self.memory();
        let below = mounts.iter().find_map(|mount| self.directory.strip_prefix(mount).ok())?;
        Some(CgroupFacts {
            path: Path::new("/").join(below).display().to_string(),
            version: if self.version == Version::One { 1 } else { 2 },
            limit: self.limit(),
            usage: self.number(account.usage)?,
            reclaimable: self.page_cache().reclaimable(0),
        })
    }

    fn memory(&self) -> AccountFiles {
        match self.version {
            Version::One => AccountFiles { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes" },
            Version::Two => AccountFiles { limit: "memory.max", usage: "memory.current" },
        }
    }

    fn page_cache(&self) -> PageCache {
        fs::read_to_string(self.directory.join("memory.stat"))
            .map_or(PageCache::default(), |stat| PageCache::parse(self.version, &stat))
    }

    /// What can be swapped out of it.
    fn swap(&self, swap_free: usize) -> usize {
        let allowed = match self.version {
            Version::One if self.number("memory.swappiness") == Some(0) => 0,
            Version::One => usize::MAX,
            Version::Two => {
                let swap = AccountFiles { limit: "memory.swap.max", usage: "memory.swap.current" };
                let used = self.number(swap.usage).unwrap_or(0);
                self.limit_of(&swap).map_or(usize::MAX, |limit| limit.saturating_sub(used))
            }
        };
        allowed.min(swap_free)
    }

    /// The limit, if it has one.
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit_of(&self.memory())
    }

    fn limit_of(&self, account: &AccountFiles) -> Option<usize> {
        // "max" is no number.
        self.number(account.limit).filter(|&limit| limit < UNLIMITED)
    }

    fn number(&self, file: &str) -> Option<usize> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

/// What a cgroup holds of files, in bytes.
#[derive(Debug, Default)]
struct PageCache {
    inactive: usize,
    active: usize,
    /// That processes have mapped, with shared memory.
    mapped: usize,
    /// Shared memory, mapped or not, which is no page cache.
    shared_memory: usize,
    /// That must be written first.
    unwritten: usize,
}

impl PageCache {
    fn parse(version: Version, stat: &str) -> Self {
        // Of the first version the plain figures leave out the levels below.
        let prefix = if version == Version::One { "total_" } else { "" };
        let figure = |name: &str| {
            let value = stat.lines().find_map(|line| line.strip_prefix(prefix)?.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0)
        };
        let [mapped, dirty, writeback] = match version {
            Version::One => ["mapped_file", "dirty", "writeback"],
            Version::Two => ["file_mapped", "file_dirty", "file_writeback"],
        }
        .map(figure);
        Self {
            inactive: figure("inactive_file"),
            active: figure("active_file"),
            mapped,
            shared_memory: figure("shmem"),
            unwritten: dirty + writeback,
        }
    }

    /// What goes before anybody is killed, if so many bytes of it are text. Files read once are on the inactive list; the
    /// active one holds what is in use, and half of it has to do. Dirty pages can only go once they are written.
    fn reclaimable(&self, text: usize) -> usize {
        // Text is active, unless it was loaded a moment ago.
        let inactive = self.inactive.saturating_sub(text.saturating_sub(self.active));
        (inactive + self.active.saturating_sub(text) / 2).saturating_sub(self.unwritten)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const MIB: usize = 1 << 20;

    /// A directory with these files, gone in the end.
    pub(in super::super) struct Tree(pub(in super::super) PathBuf);

    impl Tree {
        pub(in super::super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("memgroup-{name}-{}", std::process::id()));
            let _was_there = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(in super::super) fn write(&self, directory: &str, files: &[(&str, &str)]) -> PathBuf {
            let directory = self.0.join(directory);
            fs::create_dir_all(&directory).unwrap();
            for (name, text) in files {
                fs::write(directory.join(name), format!("{text}\n")).unwrap();
            }
            directory
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _refused = fs::remove_dir_all(&self.0);
        }
    }

    const CLOSELY: Look = closely(0);

    const fn closely(swap_free: usize) -> Look {
        Look::Closely { swap_free, text: Text { most: 0, resident: 0 } }
    }

    #[test]
    fn the_second_version_is_read() {
        let tree = Tree::new("level-two");
        let directory = tree.write(
            "a",
            &[
                ("memory.max", "134217728"),
                ("memory.high", "1"),
                ("memory.current", "104857600"),
                (
                    "memory.stat",
                    "anon 5\ninactive_file 20971520\nactive_file 2097152\nfile_dirty 1048576\nfile_writeback 0",
                ),
                ("memory.swap.max", "8388608"),
                ("memory.swap.current", "4194304"),
            ],
        );
        let level = Level::at(Version::Two, &directory).unwrap();
        let reserve = 4 * MIB; // a thirty-second
        let room = level.room(Look::Briefly, &mut 0).unwrap();
        assert_eq!((room.limit, room.usage, room.available), (128 * MIB, 100 * MIB, 28 * MIB - reserve));
        assert_eq!(room.limit_file, directory.join("memory.max"));
        assert_eq!(level.room(CLOSELY, &mut 0).unwrap().available, (28 + 20 + 1 - 1) * MIB - reserve);
        let with_swap = level.room(closely(1 << 40), &mut 0).unwrap();
        assert_eq!(with_swap.available, (28 + 20 + 4) * MIB - reserve);
        let with_some = level.room(closely(MIB), &mut 0).unwrap();
        assert_eq!(with_some.available, (28 + 20 + 1) * MIB - reserve);
        tree.write("a", &[("memory.max", "max")]);
        assert_eq!(level.room(CLOSELY, &mut 0), None);
        assert!(level.covers_those_below());
    }

    #[test]
    fn the_first_version_is_read() {
        let tree = Tree::new("level-one");
        let directory = tree.write(
            "a",
            &[
                ("memory.limit_in_bytes", "67108864"),
                ("memory.usage_in_bytes", "62914560"),
                ("memory.stat", "inactive_file 7\ntotal_inactive_file 8388608\ntotal_active_file 0\ntotal_dirty 0"),
                ("memory.use_hierarchy", "1"),
            ],
        );
        let level = Level::at(Version::One, &directory).unwrap();
        let reserve = 3 * MIB;
        assert_eq!(level.room(Look::Briefly, &mut 0).unwrap().available, 4 * MIB - reserve);
        assert_eq!(level.room(CLOSELY, &mut 0).unwrap().available, 12 * MIB - reserve);
        assert_eq!(level.room(closely(MIB), &mut 0).unwrap().available, 13 * MIB - reserve);
        tree.write("a", &[("memory.swappiness", "0")]);
        assert_eq!(level.room(closely(MIB), &mut 0).unwrap().available, 12 * MIB - reserve);
        // Memory and swap together.
        tree.write("a", &[("memory.memsw.limit_in_bytes", "67108864"), ("memory.memsw.usage_in_bytes", "65011712")]);
        assert_eq!(level.room(CLOSELY, &mut 0).unwrap().available, 10 * MIB - reserve);
        assert!(level.covers_those_below());
        tree.write("a", &[("memory.use_hierarchy", "0")]);
        assert!(!level.covers_those_below());
        tree.write("a", &[("memory.limit_in_bytes", "9223372036854771712")]);
        assert_eq!(level.room(CLOSELY, &mut 0), None);
    }

    #[test]
    fn text_is_not_reclaimable() {
        let cache = |version, stat| PageCache::parse(version, stat);
        let second =
            cache(Version::Two, "inactive_file 1000\nactive_file 400\nfile_mapped 9\nfile_dirty 100\nshmem 7\n");
        assert_eq!([0, 300, 600, 1 << 20].map(|text| second.reclaimable(text)), [1100, 950, 700, 0]);
        assert_eq!((second.mapped, second.shared_memory), (9, 7));
        let first = cache(
            Version::One,
            "inactive_file 5\ntotal_inactive_file 1000\ntotal_active_file 400\ntotal_mapped_file 3\n",
        );
        assert_eq!((first.reclaimable(300), first.mapped), (1050, 3));
    }

    #[test]
    fn text_that_was_evicted_still_needs_room() {
        let tree = Tree::new("level-text");
        let files = |inactive: usize, usage: usize| {
            let stat = format!("inactive_file {inactive}\nactive_file 0\nfile_mapped {inactive}");
            tree.write(
                "a",
                &[("memory.max", "67108864"), ("memory.current", &usage.to_string()), ("memory.stat", &stat)],
            )
        };
        let text = Text { most: 6 * MIB, resident: 6 * MIB };
        let look = |text| Look::Closely { swap_free: 0, text };
        let level = Level::at(Version::Two, &files(6 * MIB, 55 * MIB)).unwrap();
        let mut most_text = 0;
        let room = |text, most_text: &mut usize| level.room(look(text), most_text).unwrap().available;
        assert_eq!(room(text, &mut most_text), 6 * MIB);
        files(2 * MIB, 51 * MIB);
        assert_eq!(room(Text { resident: 2 * MIB, ..text }, &mut most_text), 6 * MIB);
        // The files may be accounted for elsewhere.
        files(0, 55 * MIB);
        assert_eq!(room(text, &mut 0), 6 * MIB);
    }

    #[test]
    fn more_than_the_limit_in_use_is_no_room_and_no_overflow() {
        let tree = Tree::new("level-over");
        let directory = tree.write("a", &[("memory.max", "4096"), ("memory.current", "8192")]);
        let level = Level::at(Version::Two, &directory).unwrap();
        assert_eq!(level.room(CLOSELY, &mut 0).unwrap().available, 0);
        assert_eq!(level.room(closely(usize::MAX), &mut 0).unwrap().available, usize::MAX - MIN_RESERVED_BYTES);
    }

    #[test]
    fn where_nothing_accounts_for_memory_is_no_level() {
        let tree = Tree::new("level-none");
        let directory = tree.write("a", &[("cgroup.procs", "1")]);
        assert_eq!(Level::at(Version::Two, &directory), None);
        assert_eq!(Level::at(Version::One, &directory.join("missing")), None);
    }
}
