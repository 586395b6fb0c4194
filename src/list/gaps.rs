//! Clearing what lies between the objects of a list's runs: padding, or bytes of other owners.
//!
//! A consumer that is given one window over many objects can read what lies between them. So the gaps that belong to
//! the list are cleared before that, once, and gaps of other owners are never shown.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::layout::{ListLayout, Part};
use crate::slot::LiveSlots;

impl ListLayout {
    /// Makes sure that what lies between the objects of a part, from the lowest to the highest, may be shown along with
    /// them: clears it if it belongs to the list. Returns false, and changes nothing, if others own any of it.
    ///
    /// # Safety
    /// The list must lie in those slots, and be mapped.
    pub(crate) unsafe fn clear_gaps(&self, slots: LiveSlots<'_>, part: Part) -> bool {
        if !part.is_dense() {
            return false;
        }
        if self.gaps().are_foreign {
            return self.is_unpadded(part);
        }
        // Acquire: whoever finds this set finds the zeros, too.
        if self.gaps().are_clear.load(Ordering::Acquire) {
            return true;
        }
        let reach = part.reach();
        for run in self.runs_of(reach.clone()) {
            let objects = self.objects_of(run, &reach);
            // SAFETY: the list's runs lie in these slots, by contract.
            let slot = unsafe { slots.get(self.runs()[run].slot) };
            // Nothing can be cleared there.
            if slot.is_frozen() {
                return self.is_unpadded(part);
            }
            // Fresh memory is zero.
            if self.gaps().are_untouched && slot.is_fresh() {
                continue;
            }
            let span = self.object(objects.start);
            // SAFETY: the objects of a list lie within their slots.
            let first = unsafe { slot.at(span.offset) };
            // SAFETY: the list is there and owns the gaps, and the objects are of one run, of which first is the first's address.
            unsafe { self.clear_between(objects, first) };
        }
        if reach == (0..self.columns().len()) {
            self.gaps().are_clear.store(true, Ordering::Release);
        }
        true
    }

    /// Whether nothing lies between the objects of a part in each run.
    fn is_unpadded(&self, part: Part) -> bool {
        let reach = part.reach();
        self.runs_of(reach.clone()).all(|run| {
            let objects = self.objects_of(run, &reach);
            self.columns().unpadded(objects.start, objects.end).0 == objects.len()
        })
    }

    /// Clears the gaps between consecutive objects of a run.
    ///
    /// # Safety
    /// The memory must be there, the gaps belong to the list, and `first` be the address of the first object in the
    /// read-write mirror.
    unsafe fn clear_between(&self, objects: Range<usize>, first: NonNull<u8>) {
        let base = first.as_ptr().wrapping_sub(self.columns().start(objects.start));
        let mut end = self.columns().start(objects.start);
        self.columns().each(objects, |start, size| {
            if start > end {
                // SAFETY: the bytes from the end of one object to the start of the next in its run, which the list owns and
                // nobody borrows; the C library writes them, for they are no memory of Rust's.
                unsafe { libc::memset(base.wrapping_add(end).cast(), 0, start - end) };
            }
            end = start + size;
            true
        });
    }
}
