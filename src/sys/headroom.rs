//! How much memory the machine can still give.

use std::fs;

/// Bytes that can be committed before the machine runs out: memory the kernel calls available, and free swap.
///
/// `None` where the kernel does not say. It is a snapshot: others commit at the same time, so it can be wrong the
/// moment it is returned.
pub(crate) fn headroom() -> Option<usize> {
    parse(&fs::read_to_string("/proc/meminfo").ok()?)
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

    #[test]
    fn available_memory_and_free_swap_count() {
        let meminfo = "MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:    2 kB\nSwapTotal: 9 kB\nSwapFree:  3 kB\n";
        assert_eq!(parse(meminfo), Some(5 * 1024));
        assert_eq!(parse("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn this_machine_says() {
        assert!(headroom().is_some_and(|bytes| bytes > 1 << 20));
    }
}
