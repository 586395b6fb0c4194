//! One memory cgroup: what it may hold, what it holds, and what of that would go if it had to.

use std::fs;
use std::path::{Path, PathBuf};

use super::places::Version;
use crate::os::memory_facts::CgroupFacts;

/// From here on a limit of the first version is none: it counts in whole pages and cannot say "max".
const UNLIMITED: usize = 1 << 62;

/// What the rest of the program may need between two questions, and the kernel for its tables: this share of a limit,
/// ...
const RESERVED_SHARE: usize = 32;

/// ... but no less, ...
const MIN_RESERVED_BYTES: usize = 2 << 20;

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
    /// `memory.high` is not one: beyond it the kernel reclaims and slows down, and kills nobody.
    pub(super) fn room(&self, look: Look) -> Option<CgroupRoom> {
        let account = self.memory();
        let limit = self.limit(&account)?;
        let usage = self.number(account.usage)?;
        let mut available = limit.saturating_sub(usage);
        if let Look::Closely { swap_free } = look {
            let reclaimable = self.reclaimable();
            available = available.saturating_add(reclaimable).saturating_add(self.swap(swap_free));
            // Of the first version one limit can hold memory and swap together.
            let together = AccountFiles { limit: "memory.memsw.limit_in_bytes", usage: "memory.memsw.usage_in_bytes" };
            if self.version == Version::One
                && let Some(limit) = self.limit(&together)
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
            limit: self.limit(&account),
            usage: self.number(account.usage)?,
            reclaimable: self.reclaimable(),
        })
    }

    fn memory(&self) -> AccountFiles {
        match self.version {
            Version::One => AccountFiles { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes" },
            Version::Two => AccountFiles { limit: "memory.max", usage: "memory.current" },
        }
    }

    /// Page cache that goes before anybody is killed. Files read once are on the inactive list; the active one holds
    /// what is in use, programs among it, and half of it has to do. Dirty pages can only go once they are written, so
    /// they do not count.
    fn reclaimable(&self) -> usize {
        let Ok(stat) = fs::read_to_string(self.directory.join("memory.stat")) else { return 0 };
        reclaimable(self.version, &stat)
    }

    /// What can be swapped out of it.
    fn swap(&self, swap_free: usize) -> usize {
        let allowed = match self.version {
            Version::One if self.number("memory.swappiness") == Some(0) => 0,
            Version::One => usize::MAX,
            Version::Two => {
                let swap = AccountFiles { limit: "memory.swap.max", usage: "memory.swap.current" };
                let used = self.number(swap.usage).unwrap_or(0);
                self.limit(&swap).map_or(usize::MAX, |limit| limit.saturating_sub(used))
            }
        };
        allowed.min(swap_free)
    }

    fn limit(&self, account: &AccountFiles) -> Option<usize> {
        // "max" is no number.
        self.number(account.limit).filter(|&limit| limit < UNLIMITED)
    }

    fn number(&self, file: &str) -> Option<usize> {
        fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }
}

fn reclaimable(version: Version, stat: &str) -> usize {
    let figure = |name: &str| {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0)
    };
    // Of the first version the plain figures leave out the levels below.
    let (inactive, active, unwritten) = match version {
        Version::One => ("total_inactive_file", "total_active_file", figure("total_dirty") + figure("total_writeback")),
        Version::Two => ("inactive_file", "active_file", figure("file_dirty") + figure("file_writeback")),
    };
    (figure(inactive) + figure(active) / 2).saturating_sub(unwritten)
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

    const CLOSELY: Look = Look::Closely { swap_free: 0 };

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
        let room = level.room(Look::Briefly).unwrap();
        assert_eq!((room.limit, room.usage, room.available), (128 * MIB, 100 * MIB, 28 * MIB - reserve));
        assert_eq!(room.limit_file, directory.join("memory.max"));
        assert_eq!(level.room(CLOSELY).unwrap().available, (28 + 20 + 1 - 1) * MIB - reserve);
        let with_swap = level.room(Look::Closely { swap_free: 1 << 40 }).unwrap();
        assert_eq!(with_swap.available, (28 + 20 + 4) * MIB - reserve);
        let with_some = level.room(Look::Closely { swap_free: MIB }).unwrap();
        assert_eq!(with_some.available, (28 + 20 + 1) * MIB - reserve);
        tree.write("a", &[("memory.max", "max")]);
        assert_eq!(level.room(CLOSELY), None);
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
        let reserve = 2 * MIB;
        assert_eq!(level.room(Look::Briefly).unwrap().available, 4 * MIB - reserve);
        assert_eq!(level.room(CLOSELY).unwrap().available, 12 * MIB - reserve);
        assert_eq!(level.room(Look::Closely { swap_free: MIB }).unwrap().available, 13 * MIB - reserve);
        tree.write("a", &[("memory.swappiness", "0")]);
        assert_eq!(level.room(Look::Closely { swap_free: MIB }).unwrap().available, 12 * MIB - reserve);
        // Memory and swap together.
        tree.write("a", &[("memory.memsw.limit_in_bytes", "67108864"), ("memory.memsw.usage_in_bytes", "65011712")]);
        assert_eq!(level.room(CLOSELY).unwrap().available, 10 * MIB - reserve);
        assert!(level.covers_those_below());
        tree.write("a", &[("memory.use_hierarchy", "0")]);
        assert!(!level.covers_those_below());
        tree.write("a", &[("memory.limit_in_bytes", "9223372036854771712")]);
        assert_eq!(level.room(CLOSELY), None);
    }

    #[test]
    fn more_than_the_limit_in_use_is_no_room_and_no_overflow() {
        let tree = Tree::new("level-over");
        let directory = tree.write("a", &[("memory.max", "4096"), ("memory.current", "8192")]);
        let level = Level::at(Version::Two, &directory).unwrap();
        assert_eq!(level.room(CLOSELY).unwrap().available, 0);
        assert_eq!(
            level.room(Look::Closely { swap_free: usize::MAX }).unwrap().available,
            usize::MAX - MIN_RESERVED_BYTES
        );
    }

    #[test]
    fn where_nothing_accounts_for_memory_is_no_level() {
        let tree = Tree::new("level-none");
        let directory = tree.write("a", &[("cgroup.procs", "1")]);
        assert_eq!(Level::at(Version::Two, &directory), None);
        assert_eq!(Level::at(Version::One, &directory.join("missing")), None);
    }
}
