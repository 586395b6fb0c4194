//! Where a request is placed: in the current slot, in the tails of earlier ones, or in the first later one that is
//! large enough, which is opened for it.

use super::slot_table::SlotTable;
use super::{MemGroup, commit};
use crate::error::Error;
use crate::layout::{MAX_HUGE_REQUEST, SlotIndex};
use crate::slot::{Slot, SlotRef, Taken, cache};
use crate::sync::Arc;

impl MemGroup {
    /// The path that may commit memory, look back into earlier slots, jump to a later one, and open it.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(&self, size: usize, align: usize) -> Result<Taken<'_>, Error> {
        if size > self.sizes.largest() {
            return Err(Error::TooLarge { size, largest: self.sizes.largest() });
        }
        let table = self.table()?;
        let _lock = table.lock();
        let alloc_in = |slot: &Slot, may_commit| match may_commit {
            true => commit::alloc_locked(table, slot, size, align, MAX_HUGE_REQUEST),
            false => Ok(slot.try_alloc_offsets(size, align)),
        };
        let ((_, offset), slot) = self.alloc_locked(table, size, &alloc_in)?;
        // SAFETY: the slot has just handed out the bytes at the offset, so it lies in the slot.
        Ok(Taken { address: unsafe { slot.at(offset) }, slot })
    }

    /// Takes room for `size` bytes or more: `alloc_in` is asked of one slot after the other, and whether it may commit
    /// more of it. The caller holds the lock of the table.
    pub(crate) fn alloc_locked<'g, T>(
        &'g self,
        table: &'g SlotTable,
        size: usize,
        alloc_in: &impl Fn(&Slot, bool) -> Result<Option<T>, Error>,
    ) -> Result<(T, SlotRef<'g>), Error> {
        self.search(table, size, alloc_in).or_else(|error| {
            // What is open, or even committed, must be used up before anyone hears of it.
            let may_commit = !matches!(
                error,
                Error::Limit { .. }
                    | Error::Headroom { .. }
                    | Error::CommitLimit { .. }
                    | Error::Cgroup { .. }
                    | Error::Unlocked { .. }
            );
            let taken = table.iter().find_map(|slot| Some((alloc_in(&slot, may_commit).ok()??, slot)));
            taken.ok_or(error)
        })
    }

    /// Finds room: in the current slot, in the tails of earlier ones, in the first later one that is large enough.
    fn search<'g, T>(
        &'g self,
        table: &'g SlotTable,
        size: usize,
        alloc_in: &impl Fn(&Slot, bool) -> Result<Option<T>, Error>,
    ) -> Result<(T, SlotRef<'g>), Error> {
        let current = table.current();
        let first_later = current.map_or(0, |slot| slot.index().get() + 1);
        let earlier = table.iter().take_while(|slot| slot.index().get() + 1 < first_later);
        for slot in current.into_iter().chain(earlier) {
            if let Some(taken) = alloc_in(&slot, true)? {
                return Ok((taken, slot));
            }
        }
        let later = self.sizes.indices().skip(first_later);
        for index in later.filter(|&index| self.sizes.size_of(index) >= size) {
            let Some((taken, slot)) = self.alloc_at(table, index, alloc_in)? else { continue };
            if becomes_current(current, size, index) {
                table.set_current(slot);
            }
            return Ok((taken, slot));
        }
        Err(Error::Full { size })
    }

    /// Takes bytes of slot `index`, opening it if need be. A new slot that then refuses is not kept.
    fn alloc_at<'g, T>(
        &self,
        table: &'g SlotTable,
        index: SlotIndex,
        alloc_in: &impl Fn(&Slot, bool) -> Result<Option<T>, Error>,
    ) -> Result<Option<(T, SlotRef<'g>)>, Error> {
        if let Some(slot) = table.get(index) {
            return Ok(alloc_in(&slot, true)?.map(|taken| (taken, slot)));
        }
        let slot = table.admit(|| self.open_slot(index))?;
        match alloc_in(&slot, true) {
            Ok(Some(taken)) => Ok(table.put_newcomer().map(|slot| (taken, slot))),
            refused => {
                table.dismiss_newcomer();
                refused.map(|_| None)
            }
        }
    }

    fn open_slot(&self, index: SlotIndex) -> Result<Arc<Slot>, Error> {
        let capacity = self.sizes.size_of(index);
        let (backing, name, budget) = (&self.backing, &self.name, &self.budget);
        let open = || Slot::open(index, capacity, backing, name, self.id, Arc::clone(budget), self.is_shared);
        cache::retry_after_eviction(open).map(Arc::new)
    }
}

/// Whether slot `index`, where a request of `size` bytes went that the current slot had no room for, is to be the
/// current one.
///
/// The current slot is left when it is as good as full. A request that is only too large for what is left of it jumps
/// over, and small ones stay.
pub(crate) fn becomes_current(current: Option<SlotRef<'_>>, size: usize, index: SlotIndex) -> bool {
    current.map_or(index.get() == 0, |slot| slot.is_done_by(size, index))
}
