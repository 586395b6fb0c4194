//! How much memory the machine can still give.

use std::fs;

use super::{page_size, promises};

/// Whether the machine can give `wanted` bytes more; if not, how many it can.
///
/// That is memory the kernel calls available or has on its lists, and free swap, less what this process has promised and not yet touched. It is
/// a snapshot: others commit at the same time, so it can be wrong the moment it is taken. Where the kernel does not say,
/// everything is granted.
pub(crate) fn check_headroom(wanted: usize) -> Result<(), usize> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|meminfo| parse(&meminfo));
    let Some(available) = available else { return Ok(()) };
    // Were nothing touched yet it would still fit: no need to find out.
    if wanted.saturating_add(promises::total()) <= available {
        return Ok(());
    }
    let available = available.saturating_add(on_cpu_lists()).saturating_sub(promises::untouched());
    if wanted <= available { Ok(()) } else { Err(available) }
}

/// Pages that were freed a moment ago wait on lists of each CPU, hundreds of megabytes of them, and the kernel does not call
/// them available, though it takes them before it gives up. Without them, memory just given back would be refused.
fn on_cpu_lists() -> usize {
    fs::read_to_string("/proc/zoneinfo").map_or(0, |zones| count_listed(&zones).saturating_mul(page_size()))
}

fn count_listed(zones: &str) -> usize {
    let counts = zones.lines().filter_map(|line| line.trim().strip_prefix("count:"));
    counts.filter_map(|count| count.trim().parse::<usize>().ok()).sum()
}

fn parse(meminfo: &str) -> Option<usize> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some(field("MemAvailable:")? + field("SwapFree:").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Backing, Mirrors};

    #[test]
    fn available_memory_and_free_swap_count() {
        let meminfo = "MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:    2 kB\nSwapTotal: 9 kB\nSwapFree:  3 kB\n";
        assert_eq!(parse(meminfo), Some(5 * 1024));
        assert_eq!(parse("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn pages_on_the_lists_of_all_cpus_and_zones_count() {
        let zones = "Node 0, zone DMA\n  pages free 8\n  pagesets\n    cpu: 0\n              count:    3\n              high: 9\n    \
            cpu: 1\n              count: 4\nNode 0, zone Normal\n    cpu: 0\n              count: 100\n";
        assert_eq!(count_listed(zones), 107);
        assert_eq!(count_listed(""), 0);
    }

    #[test]
    fn promises_count_until_they_are_touched_or_gone() {
        let machine = check_headroom(usize::MAX).unwrap_err();
        assert!(machine > 1 << 20);
        let half = (machine / 2) & !0xfff;
        let mirrors = Mirrors::open(&Backing::Memfd, "promised", half, false).unwrap();
        mirrors.commit(0, half, false).unwrap();
        assert!(promises::total() >= half && promises::untouched() >= half);
        let left = check_headroom(machine / 4 * 3).unwrap_err();
        assert!(left < machine / 4 * 3);
        mirrors.commit(0, 64 << 20, true).unwrap(); // as a touch would
        assert!(promises::untouched() <= half - (64 << 20));
        drop(mirrors);
        check_headroom(machine / 4 * 3).unwrap();
    }
}
