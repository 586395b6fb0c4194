//! What arrays have left between others that live: bytes of a slot, for the next array of that size.
//!
//! An expression makes temporaries and lets them go in another order than a cursor can take back. A few places are
//! enough for them, and for a loop that replaces its arrays; what no place is left for stays taken until the group is
//! reset. Like the chunk it is for threads that hold the GIL: without one it keeps nothing.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use pyo3::Python;

use crate::slot::{Slot, SlotPtr};

const PLACES: usize = 16;

/// Ranges of addresses, each with its slot. The atomics are here to be plain loads and stores.
#[derive(Default)]
pub(crate) struct FreeRanges {
    places: [FreeRange; PLACES],
    /// Which is overwritten next if all are full.
    oldest: AtomicUsize,
}

#[derive(Default)]
struct FreeRange {
    /// Null if there is nothing.
    slot: AtomicPtr<Slot>,
    start: AtomicUsize,
    end: AtomicUsize,
}

impl FreeRanges {
    /// Keeps a range that is nobody's.
    pub(crate) fn put(&self, _attached: Python<'_>, slot: SlotPtr, start: usize, end: usize) {
        if cfg!(Py_GIL_DISABLED) {
            return;
        }
        let free = self.places.iter().find(|place| place.slot.load(Relaxed).is_null());
        let place = free.unwrap_or_else(|| {
            let oldest = self.oldest.load(Relaxed);
            self.oldest.store((oldest + 1) % PLACES, Relaxed);
            &self.places[oldest]
        });
        place.slot.store(slot.as_ptr(), Relaxed);
        place.start.store(start, Relaxed);
        place.end.store(end, Relaxed);
    }

    /// A range of just so many bytes.
    pub(crate) fn take(&self, _attached: Python<'_>, len: usize) -> Option<(SlotPtr, usize)> {
        self.take_if(|_, start, end| end - start == len)
    }

    /// The start of the range of a slot that ends there.
    pub(crate) fn take_before(&self, _attached: Python<'_>, slot: SlotPtr, end: usize) -> Option<usize> {
        self.take_if(|of, _, its_end| of == slot && its_end == end).map(|(_, start)| start)
    }

    fn take_if(&self, fits: impl Fn(SlotPtr, usize, usize) -> bool) -> Option<(SlotPtr, usize)> {
        self.places.iter().find_map(|place| {
            let slot = SlotPtr::new(place.slot.load(Relaxed))?;
            let start = place.start.load(Relaxed);
            fits(slot, start, place.end.load(Relaxed)).then(|| {
                place.slot.store(null_mut(), Relaxed);
                (slot, start)
            })
        })
    }

    /// Forgets all of it. To be called before the group lets its slots go.
    pub(crate) fn clear(&self, _attached: Python<'_>) {
        self.places.iter().for_each(|place| place.slot.store(null_mut(), Relaxed));
    }
}
