//! The programs and libraries of this process that are in memory. The kernel calls them page cache, which it could give
//! up; but a process whose text is evicted reads it again at every step, until somebody is killed.

use std::fs;

use super::facts::meminfo_bytes;

/// What the kernel says of a process's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Text {
    /// The most bytes that it can be: twice the code, for constants lie beside that.
    pub(super) most: usize,
    /// Bytes of files that this process has mapped and found in memory.
    pub(super) resident: usize,
}

impl Text {
    /// The text of this process.
    pub(super) fn look() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let figure = |name| meminfo_bytes(status, name).unwrap_or(0);
        let code = figure("VmExe").saturating_add(figure("VmLib"));
        Self { most: code.saturating_mul(2), resident: figure("RssFile") }
    }

    /// How much of it is in memory, where processes map so many bytes of page cache and of shared memory (`mapped`), and so
    /// many are shared memory. A forked child has mapped nothing yet of what it is going to need, but its parent has.
    pub(super) fn in_memory(self, mapped: usize, shared_memory: usize) -> usize {
        self.resident.max(mapped.saturating_sub(shared_memory)).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_is_mapped_of_programs() {
        let text = |file| Text::parse(&format!("VmRSS: 9 kB\nRssFile: {file} kB\nVmExe:\t 4 kB\nVmLib:\t 1000 kB\n"));
        assert_eq!(text(1500).in_memory(0, 0), 1500 * 1024);
        assert_eq!(text(1 << 20).in_memory(0, 0), 2008 * 1024);
        assert_eq!(text(5).in_memory(1_000_000, 400_000), 600_000);
        assert_eq!(text(5).in_memory(1000, 400_000), 5 * 1024);
        assert_eq!(Text::parse("").in_memory(7, 0), 0);
        assert!(Text::look().most > 0);
    }
}
