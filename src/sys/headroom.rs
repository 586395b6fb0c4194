//! How much memory the machine can still give.

use std::fs;

use super::promises;

/// Whether the machine can give `wanted` bytes more; if not, how many it can.
///
/// That is memory the kernel calls available and free swap, less what this process has promised and not yet touched. It is
/// a snapshot: others commit at the same time, so it can be wrong the moment it is taken. Where the kernel does not say,
/// everything is granted.
pub(crate) fn check_headroom(wanted: usize) -> Result<(), usize> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|meminfo| parse(&meminfo));
    let Some(available) = available else { return Ok(()) };
    // Were nothing touched yet it would still fit: no need to find out.
    if wanted.saturating_add(promises::total()) <= available {
        return Ok(());
    }
    let available = available.saturating_sub(promises::untouched());
    if wanted <= available { Ok(()) } else { Err(available) }
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
