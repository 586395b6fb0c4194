//! Bytes that are taken back one by one: numpy's, which it frees and makes longer or shorter.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;

use super::GroupState;
use crate::python::group::raw::{LiveBlock, RawBlock};
use crate::slot::{LiveSlots, SlotPtr};

/// What an allocator of somebody else's needs, which may neither wait nor raise. The caller counts the views, and holds
/// the slots. Sizes are multiples of the alignment, so that what is taken in turn lies one behind the other without a
/// gap.
impl GroupState {
    /// Bytes by whatever path gives some, without letting go of the GIL. `None` if there are none to be had.
    pub(crate) fn alloc_attached(&self, attached: Python<'_>, size: usize, align: usize) -> Option<LiveBlock<'_>> {
        debug_assert!(size > 0 && size.is_multiple_of(align));
        let raw = match self.try_alloc_free_range(attached, size).or_else(|| self.try_alloc(attached, size, align)) {
            Some(raw) => raw,
            None => match self.try_alloc_in_slot(attached, size, align).ok()? {
                Some(raw) => raw,
                None => {
                    let raw = self.alloc_slow(size, align).ok()?.ok()?;
                    self.fill_chunk(attached);
                    raw
                }
            },
        };
        self.last.set(attached, raw.address.addr().get(), size);
        Some(self.live(raw))
    }

    /// Bytes that others have left.
    fn try_alloc_free_range(&self, attached: Python<'_>, size: usize) -> Option<RawBlock> {
        let (slot, start) = self.free_ranges.take(attached, size)?;
        // SAFETY: what is left is forgotten before the group lets a slot go.
        let known = unsafe { self.group.live_slots().get(slot) };
        // Others may know the bytes since, or this may be a child.
        if !known.takes_back(start) {
            return None;
        }
        let (_, address) = known.locate(&(start..start + size))?;
        Some(RawBlock { address, len: size, slot, epoch: self.epoch })
    }

    /// The slot that an address in a read-write mirror is in, even of a slot that the group has let go, if anyone holds
    /// it.
    pub(crate) fn slot_of(&self, address: usize) -> Option<SlotPtr> {
        let bytes = address..address + 1;
        let current = self.group.current().filter(|slot| slot.locate(&bytes).is_some());
        if let Some(slot) = current.or_else(|| Some(self.group.locate(&bytes)?.0)) {
            return Some(slot.as_ptr());
        }
        let mut aside = self.aside.iter().filter_map(Weak::upgrade);
        // The reference that somebody else holds keeps it where it is.
        aside.find(|slot| slot.locate(&bytes).is_some()).and_then(|slot| SlotPtr::new(Arc::as_ptr(&slot).cast_mut()))
    }

    /// Takes bytes back that nobody else knows: at once if they were handed out last, else to be left to others.
    /// Returns whether it took them.
    ///
    /// # Safety
    /// They must be `size` bytes of that slot, which somebody holds, got from [`alloc_attached`](Self::alloc_attached)
    /// and nobody's any more.
    pub(crate) unsafe fn take_back(&self, attached: Python<'_>, slot: SlotPtr, address: usize, size: usize) -> bool {
        // SAFETY: somebody holds the slot, by contract, so it lives for as long as this call.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is the slot that these were made for.
        let known = unsafe { slots.get(slot) };
        if !self.is_open() || !known.takes_back(address) {
            return false;
        }
        known.mark_reused();
        let (mut start, mut end) = (address, address + size);
        // SAFETY: the bytes are of that slot, which somebody holds, and nobody's any more, by contract; what
        // free_ranges had of them is nobody's either.
        while unsafe { self.take_end_back(attached, slot, start, end) } {
            match self.free_ranges.take_before(attached, slot, start) {
                Some(before) if known.takes_back(before) => (start, end) = (before, start),
                _ => return true,
            }
        }
        self.free_ranges.put(attached, slot, start, end);
        true
    }

    /// Takes bytes back if they were handed out last.
    ///
    /// # Safety
    /// They must be bytes of that slot, which somebody holds, and nobody's any more.
    unsafe fn take_end_back(&self, attached: Python<'_>, slot: SlotPtr, start: usize, end: usize) -> bool {
        if self.gil_chunk.is_of(slot) {
            return self.gil_chunk.take_back(attached, start, end);
        }
        // SAFETY: somebody holds the slot, by contract, so it lives for as long as this call.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is the slot that these were made for.
        let known = unsafe { slots.get(slot) };
        // SAFETY: the bytes are of that slot and nobody's any more, by contract.
        unsafe { known.give_back(start, end, true) }
    }

    /// Makes bytes longer or shorter where they are, which only those that were handed out last can be. Returns how
    /// many there were before, if it did.
    ///
    /// # Safety
    /// They must be bytes of that slot, which somebody holds, got from [`alloc_attached`](Self::alloc_attached) and
    /// still the caller's.
    pub(crate) unsafe fn resize(
        &self,
        attached: Python<'_>,
        slot: SlotPtr,
        address: usize,
        size: usize,
    ) -> Option<usize> {
        let before = self.last.size_of(attached, address)?;
        let (end, to) = (address + before, address + size);
        if !self.is_open() {
            return None;
        }
        // SAFETY: somebody holds the slot, by contract, so it lives for as long as this call.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is the slot that these were made for.
        let known = unsafe { slots.get(slot) };
        if to < end {
            // SAFETY: the end of what is the caller's is nobody's from now on. Whether it is taken back makes no difference.
            unsafe { self.take_back(attached, slot, to, end - to) };
        } else if to > end && !(self.gil_chunk.is_of(slot) && self.gil_chunk.resize(attached, end, to)) {
            self.gil_chunk.give_back(attached);
            let has_grown = self.group.grow(known.get(), address, end, to);
            self.fill_chunk(attached);
            if !has_grown {
                return None;
            }
        }
        self.last.set(attached, address, size);
        Some(before)
    }
}
