//! What the groups of this process have promised and the machine has not had to give yet.
//!
//! A large request is accounted for and then faulted in as it is touched. Until it is, the kernel still counts its memory
//! as available, so whoever asks how much is available must know of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fork::PerProcess;
use super::page_size;

/// For each mapping with a promise in it, by first address: its committed bytes, and how many of them were promised. A
/// forked child begins with none: what it inherits, its parent has promised.
type Ledger = BTreeMap<usize, Promise>;

#[derive(Default, Clone, Copy)]
struct Promise {
    committed: usize,
    promised: usize,
}

/// Notes that of a mapping, which begins at `start`, `committed` bytes are committed now, the last `more` unpopulated.
pub(super) fn promise(start: usize, committed: usize, more: usize) {
    let Some(mut ledger) = ledger() else { return };
    let entry = ledger.entry(start).or_default();
    *entry = Promise { committed, promised: entry.promised + more };
}

/// Strikes out a mapping that is about to go.
pub(super) fn forget(start: usize) {
    if let Some(mut ledger) = ledger() {
        ledger.remove(&start);
    }
}

/// All that was promised and not found in memory by the last [`untouched`]. Cheap, and never less than that.
pub(super) fn total() -> usize {
    ledger().map_or(0, |ledger| ledger.values().map(|promise| promise.promised).sum())
}

/// All that was promised and is not in memory yet, as far as the kernel says.
pub(super) fn untouched() -> usize {
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
pub(super) unsafe fn resident(start: usize, len: usize) -> usize {
    const PAGES_AT_ONCE: usize = 1 << 16;
    let page = page_size();
    let mut in_memory = vec![0u8; PAGES_AT_ONCE.min(len.div_ceil(page))];
    let mut pages = 0;
    for offset in (0..len).step_by(PAGES_AT_ONCE * page) {
        let part = (len - offset).min(PAGES_AT_ONCE * page);
        let first = std::ptr::without_provenance_mut(start + offset);
        // SAFETY: the range is mapped by contract, and the vector has a byte for each of its pages.
        if unsafe { libc::mincore(first, part, in_memory.as_mut_ptr()) } == 0 {
            pages += in_memory[..part.div_ceil(page)].iter().filter(|&&state| state & 1 == 1).count();
        }
    }
    pages * page
}

fn ledger() -> Option<MutexGuard<'static, Ledger>> {
    let ledger = ledgers()?.get_or_make(Mutex::default).ok()?;
    Some(ledger.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The ledgers of this process and those it was forked from; `None` if there is no memory to tell processes apart.
fn ledgers() -> Option<&'static PerProcess<Mutex<Ledger>>> {
    // Not a OnceLock: a fork might catch another thread initialising it, and the child would wait for that thread.
    static LEDGERS: AtomicPtr<PerProcess<Mutex<Ledger>>> = AtomicPtr::new(std::ptr::null_mut());
    // Acquire pairs with the exchange below: whoever sees the pointer sees what it points to.
    let mut ledgers = LEDGERS.load(Ordering::Acquire);
    if ledgers.is_null() {
        let mine = Box::into_raw(Box::new(PerProcess::new(Mutex::default()).ok()?));
        match LEDGERS.compare_exchange(ledgers, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => ledgers = mine,
            Err(first) => {
                // SAFETY: mine was made above and never shown to anyone.
                drop(unsafe { Box::from_raw(mine) });
                ledgers = first;
            }
        }
    }
    // SAFETY: not null, and never freed once it is in the static.
    Some(unsafe { &*ledgers })
}
