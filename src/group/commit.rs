//! How memory is committed for a request: a window ahead, or only what is needed where that is refused, and each of the
//! two once more without the memory that the cache keeps.

use super::slot_table::SlotTable;
use crate::error::Error;
use crate::layout::MAX_HUGE_REQUEST;
use crate::slot::{Slot, cache};

/// Takes bytes of a slot, and commits more of it if need be: where the cursor stood before, and the offset of the first
/// byte. `Ok(None)` if the slot has not that much room. No more than `most_huge` bytes are made huge pages at once; the
/// others are faulted in as they are touched.
///
/// Only the thread that holds the lock of the slot's table may call this; others may call `try_alloc` meanwhile.
pub(crate) fn alloc_locked(
    table: &SlotTable,
    slot: &Slot,
    size: usize,
    align: usize,
    most_huge: usize,
) -> Result<Option<(usize, usize)>, Error> {
    loop {
        if let Some(taken) = slot.try_alloc_offsets(size, align) {
            return Ok(Some(taken));
        }
        match slot.end_of(size, align) {
            Some(end) => commit(table, slot, end, most_huge)?,
            None => return Ok(None),
        }
    }
}

/// Makes the bytes from `start` to `end` longer for their owner, up to `to`, and commits what that needs; false, and
/// nothing happens, if something behind them is taken or there is no room. To be called as [`alloc_locked`].
pub(super) fn grow_locked(table: &SlotTable, slot: &Slot, start: usize, end: usize, to: usize) -> bool {
    let committed = slot.can_grow(end, to).is_some_and(|to| commit(table, slot, to, MAX_HUGE_REQUEST).is_ok());
    committed && slot.grow(start, end, to)
}

/// Commits a slot at least up to offset `end`, and a window ahead where that is to be had. Near a limit that is less than
/// a huge page, small ones do where the kernel would hand out huge ones unasked.
fn commit(table: &SlotTable, slot: &Slot, end: usize, most_huge: usize) -> Result<(), Error> {
    match commit_window(table, slot, end, most_huge) {
        Err(_) if slot.use_small_pages() => commit_window(table, slot, end, most_huge),
        result => result,
    }
}

fn commit_window(table: &SlotTable, slot: &Slot, end: usize, most_huge: usize) -> Result<(), Error> {
    let elsewhere = || table.iter().filter(|other| other.index() != slot.index()).map(|other| other.usage()).sum();
    let Some(window) = slot.window(end, elsewhere) else { return Ok(()) };
    if window.huge.is_some_and(|to| slot.commit_huge(to, window.ahead, most_huge)) {
        return Ok(());
    }
    match cache::retry_after_eviction(|| slot.commit_to(window.ahead, most_huge)) {
        // Near a limit, do with what the request itself needs.
        Err(_) if window.needed < window.ahead => {
            cache::retry_after_eviction(|| slot.commit_to(window.needed, most_huge))
        }
        result => result,
    }
}
