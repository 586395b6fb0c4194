//! Reads the [facts](MemoryFacts) that displays show, from the files that [`headroom`](super::headroom) decides by.

use std::fs;

use super::cgroup;
use crate::os::fork;
use crate::os::memory_facts::MemoryFacts;
use crate::os::system::mapping::huge_page_facts;

/// What the kernel says now.
pub(crate) fn read() -> MemoryFacts {
    let _no_fork = fork::hold_off(); // files are read
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    MemoryFacts {
        total: meminfo_bytes(&meminfo, "MemTotal"),
        available: meminfo_bytes(&meminfo, "MemAvailable"),
        swap_free: meminfo_bytes(&meminfo, "SwapFree"),
        commit_limit: meminfo_bytes(&meminfo, "CommitLimit"),
        committed: meminfo_bytes(&meminfo, "Committed_AS"),
        overcommit_mode: number("/proc/sys/vm/overcommit_memory"),
        max_mappings: number("/proc/sys/vm/max_map_count"),
        mappings: fs::read_to_string("/proc/self/maps").ok().map(|maps| maps.lines().count()),
        processes_left: cgroup::processes_left(),
        huge_pages: huge_page_facts(),
        cgroups: cgroup::facts(),
    }
}

fn number(file: &str) -> Option<usize> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A field that `/proc/meminfo` gives in kB, in bytes.
pub(super) fn meminfo_bytes(meminfo: &str, name: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_meminfo_are_read_by_their_whole_name() {
        let meminfo = "MemTotal:  9 kB\nMemFree:  1 kB\nCommitLimit: 4 kB\nHugePages_Total:  7\n";
        assert_eq!(meminfo_bytes(meminfo, "MemTotal"), Some(9 * 1024));
        assert_eq!(meminfo_bytes(meminfo, "CommitLimit"), Some(4 * 1024));
        for none in ["Mem", "HugePages_Total", "MemAvailable"] {
            assert_eq!(meminfo_bytes(meminfo, none), None, "{none}");
        }
    }

    #[test]
    fn this_machine_says_how_much_memory_it_has() {
        let facts = read();
        assert!(facts.total.unwrap() >= facts.available.unwrap());
        assert!(matches!(facts.overcommit_mode, None | Some(0..=2)));
        assert!(facts.mappings < facts.max_mappings);
    }
}
