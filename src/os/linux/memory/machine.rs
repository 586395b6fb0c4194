//! What the machine can give: memory, swap, and under strict overcommitment (`vm.overcommit_memory=2`) promises.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::facts::meminfo_bytes;
use super::text::Text;
use crate::os::page_size;

/// Kept for the rest of the machine, which has nowhere to go without swap: this share of its memory, ...
const RESERVED_SHARE: usize = 32;

/// ... but no less, ...
const MIN_RESERVED_BYTES: usize = 8 << 20;

/// ... and no more.
const MAX_RESERVED_BYTES: usize = 64 << 20;

/// More of a program and its libraries is hardly ever in memory. Until this much is left nobody looks how much it is.
const MAX_TEXT_BYTES: usize = 256 << 20;

/// What the kernel says of the machine.
#[derive(Debug, Default)]
pub(super) struct MachineMemory {
    /// Memory that the kernel calls available, and swap.
    given: usize,
    /// The swap in it.
    swap_free: usize,
    /// Page cache and shared memory that processes have mapped.
    mapped: usize,
    /// Shared memory, mapped or not.
    shared_memory: usize,
    /// What must stay of it for the rest of the machine.
    reserve: usize,
    /// The text of this process in it. The kernel calls it available, but a program whose text is evicted stands still.
    text: usize,
    /// Under strict overcommitment, what may still be promised.
    promisable: Option<usize>,
}

impl MachineMemory {
    /// Looks at memory, at swap if it serves, and at `CommitLimit` if that is wanted.
    pub(super) fn look(may_swap: bool, wants_commit_limit: bool) -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // Where the kernel does not say, everything is granted.
        parse(&meminfo, may_swap, wants_commit_limit).unwrap_or(Self { given: usize::MAX, ..Self::default() })
    }

    /// Looks again, where that was not enough.
    pub(super) fn look_closely(&mut self, text: Text) {
        // Text that was evicted makes room for a moment, and comes back.
        static MOST_TEXT: AtomicUsize = AtomicUsize::new(0);
        let text = text.in_memory(self.mapped, self.shared_memory);
        self.text = MOST_TEXT.fetch_max(text, Ordering::Relaxed).max(text);
        self.given = self.given.saturating_add(on_cpu_lists());
    }

    pub(super) fn available(&self) -> usize {
        self.in_memory().min(self.promisable.unwrap_or(usize::MAX))
    }

    /// Whether it is for strict overcommitment that no more is available.
    pub(super) fn is_at_commit_limit(&self) -> bool {
        self.promisable.is_some_and(|promisable| promisable < self.in_memory())
    }

    pub(super) fn swap_free(&self) -> usize {
        self.swap_free
    }

    fn in_memory(&self) -> usize {
        self.given.saturating_sub(self.reserve.saturating_add(self.text))
    }

    #[cfg(test)]
    pub(super) fn with(given: usize, promisable: Option<usize>) -> Self {
        Self { given, promisable, ..Self::default() }
    }
}

/// Whether the kernel promises no more memory than it has (`vm.overcommit_memory=2`).
pub(super) fn is_strict() -> bool {
    fs::read("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.starts_with(b"2"))
}

/// Pages that were freed a moment ago wait on lists of each CPU, hundreds of megabytes of them, and the kernel does not
/// call them available, though it takes them before it gives up. Without them, memory just given back would be refused.
fn on_cpu_lists() -> usize {
    fs::read_to_string("/proc/zoneinfo").map_or(0, |zones| count_listed(&zones).saturating_mul(page_size()))
}

fn count_listed(zones: &str) -> usize {
    let counts = zones.lines().filter_map(|line| line.trim().strip_prefix("count:"));
    counts.filter_map(|count| count.trim().parse::<usize>().ok()).sum()
}

fn parse(meminfo: &str, may_swap: bool, wants_commit_limit: bool) -> Option<MachineMemory> {
    let figure = |name| meminfo_bytes(meminfo, name);
    let swap_free = if may_swap { figure("SwapFree").unwrap_or(0) } else { 0 };
    let reserve = (figure("MemTotal").unwrap_or(0) / RESERVED_SHARE).clamp(MIN_RESERVED_BYTES, MAX_RESERVED_BYTES);
    // The rest of the program needs promises, too: without them malloc fails.
    let promisable = || Some(figure("CommitLimit")?.saturating_sub(figure("Committed_AS")?.saturating_add(reserve)));
    Some(MachineMemory {
        given: figure("MemAvailable")?.saturating_add(swap_free),
        swap_free,
        mapped: figure("Mapped").unwrap_or(0),
        shared_memory: figure("Shmem").unwrap_or(0),
        reserve,
        text: MAX_TEXT_BYTES,
        promisable: if wants_commit_limit { promisable() } else { None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const SWAPPING: &str = "MemTotal:  524288 kB\nMemFree:  1 kB\nMemAvailable:    409600 kB\nSwapTotal: 9 kB\n\
        SwapFree:  3072 kB\nCommitLimit: 307200 kB\nCommitted_AS:  102400 kB\n";

    /// What a close look finds in it.
    fn looked(may_swap: bool, wants_commit_limit: bool) -> MachineMemory {
        let mut machine = parse(SWAPPING, may_swap, wants_commit_limit).unwrap();
        machine.text = 10 * MIB;
        machine
    }

    #[test]
    fn available_memory_and_free_swap_count_less_a_reserve_and_the_text() {
        assert_eq!(
            (looked(true, false).available(), looked(true, false).swap_free()),
            ((403 - 16 - 10) * MIB, 3 * MIB)
        );
        assert_eq!((looked(false, false).available(), looked(false, false).swap_free()), ((400 - 16 - 10) * MIB, 0));
        assert!(parse("MemTotal: 9 kB\n", true, true).is_none());
        // Without a close look much text is assumed.
        assert_eq!(parse(SWAPPING, false, false).unwrap().available(), (400 - 16 - 256) * MIB);
    }

    #[test]
    fn the_reserve_is_a_small_share_of_the_machine() {
        let reserve =
            |kib: usize| parse(&format!("MemTotal: {kib} kB\nMemAvailable: 0 kB\n"), true, false).unwrap().reserve;
        assert_eq!((reserve(1 << 10), reserve(1 << 18), reserve(1 << 20)), (8 * MIB, 8 * MIB, 32 * MIB));
        assert_eq!(reserve(1 << 30), 64 * MIB);
    }

    #[test]
    fn under_strict_overcommitment_promises_count() {
        assert_eq!(looked(true, true).available(), (200 - 16) * MIB);
        assert!(looked(true, true).is_at_commit_limit() && !looked(true, false).is_at_commit_limit());
    }

    #[test]
    fn pages_on_the_lists_of_all_cpus_and_zones_count() {
        let zones = "Node 0, zone DMA\n  pages free 8\n  pagesets\n    cpu: 0\n              count:    3\n              high: 9\n    \
            cpu: 1\n              count: 4\nNode 0, zone Normal\n    cpu: 0\n              count: 100\n";
        assert_eq!(count_listed(zones), 107);
        assert_eq!(count_listed(""), 0);
    }
}
