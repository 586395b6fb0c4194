//! The overcommitment of this process: what its groups have promised and the machine has not had to give yet.
//!
//! A large request is accounted for and then faulted in as it is touched. Until it is, the kernel still counts its
//! memory as available, so whoever asks how much is available must know of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::os::fork::SharedPerProcess;
use crate::os::page_size;

/// For each mapping with a promise in it, by first address: its committed bytes, and how many of them were promised. A
/// forked child begins with none: what it inherits, its parent has promised.
type Ledger = BTreeMap<usize, Promise>;

#[derive(Default, Clone, Copy)]
struct Promise {
    committed: usize,
    promised: usize,
}

/// Notes that of a mapping, which begins at `start`, `committed` bytes are committed now, the last `more` unpopulated.
pub(crate) fn promise(start: usize, committed: usize, more: usize) {
    let Some(mut ledger) = ledger() else { return };
    let entry = ledger.entry(start).or_default();
    *entry = Promise { committed, promised: entry.promised + more };
}

/// Strikes out a mapping that is about to go.
pub(crate) fn forget(start: usize) {
    if let Some(mut ledger) = ledger() {
        ledger.remove(&start);
    }
}

/// All that was promised and not found in memory by the last [`unfaulted_bytes`]. Cheap, and never less than that.
pub(crate) fn total() -> usize {
    ledger().map_or(0, |ledger| ledger.values().map(|promise| promise.promised).sum())
}

/// All that was promised and is not in memory yet, as far as the kernel says.
pub(crate) fn unfaulted_bytes() -> usize {
    let Some(mut ledger) = ledger() else { return 0 };
    for (&start, promise) in ledger.iter_mut() {
        // SAFETY: a mapping is struck out, under the lock that is held here, before it goes.
        let resident = unsafe { resident(start, promise.committed) };
        // A page once touched is the kernel's to count. So `total` falls, and what was paid is not looked for again.
        promise.promised = promise.promised.min(promise.committed.saturating_sub(resident));
    }
    ledger.values().map(|promise| promise.promised).sum()
}

/// How many of `len` bytes from `start` on are in memory.
///
/// # Safety
/// They must be mapped, and `start` the beginning of a page.
pub(crate) unsafe fn resident(start: usize, len: usize) -> usize {
    let mut pages = 0;
    let count = |in_memory: &[u8]| {
        pages += in_memory.iter().filter(|&&state| state & 1 == 1).count();
        ControlFlow::Continue(())
    };
    // SAFETY: the range is mapped and begins with a page, by contract.
    unsafe { look(start, len, count) };
    pages * page_size()
}

/// How many of `len` bytes from `start` on are in memory before the first that is not.
///
/// # Safety
/// The bytes must be mapped, and `start` the beginning of a page.
pub(crate) unsafe fn resident_at_first(start: usize, len: usize) -> usize {
    let mut pages = 0;
    let count = |in_memory: &[u8]| match in_memory.iter().position(|&state| state & 1 == 0) {
        Some(first_gap) => {
            pages += first_gap;
            ControlFlow::Break(())
        }
        None => {
            pages += in_memory.len();
            ControlFlow::Continue(())
        }
    };
    // SAFETY: the range is mapped and begins with a page, by contract.
    unsafe { look(start, len, count) };
    pages * page_size()
}

/// Shows what `mincore(2)` says of each page, in parts. Where it says nothing, nothing is there.
///
/// # Safety
/// The bytes must be mapped, and `start` the beginning of a page.
unsafe fn look(start: usize, len: usize, mut show: impl FnMut(&[u8]) -> ControlFlow<()>) {
    const PAGES_AT_ONCE: usize = 1 << 12;
    let page = page_size();
    let mut in_memory = [0u8; PAGES_AT_ONCE];
    for offset in (0..len).step_by(PAGES_AT_ONCE * page) {
        let part = (len - offset).min(PAGES_AT_ONCE * page);
        let in_memory = &mut in_memory[..part.div_ceil(page)];
        let first = std::ptr::without_provenance_mut(start + offset);
        // SAFETY: the range is mapped by contract, and the slice has a byte for each of its pages.
        if unsafe { libc::mincore(first, part, in_memory.as_mut_ptr()) } != 0 {
            in_memory.fill(0);
        }
        if show(in_memory).is_break() {
            return;
        }
    }
}

fn ledger() -> Option<MutexGuard<'static, Ledger>> {
    static LEDGER: SharedPerProcess<Mutex<Ledger>> = SharedPerProcess::new();
    Some(LEDGER.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}
