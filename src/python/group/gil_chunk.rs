//! Bytes taken from the shared group in advance, to be handed out without an atomic operation.
//!
//! Threads that hold the GIL need no such operation among themselves, and it takes a fifth of the time of an `alloc`.
//! So they take what is ready in the current slot all at once, and share it out. Whoever allocates without the GIL goes
//! to the slot, as do all threads of a build without one.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::Relaxed};

use pyo3::Python;

use crate::layout;
use crate::os::fork;
use crate::slot::{Slot, SlotPtr, SlotRef};

/// A run of bytes of one slot, taken and not handed out. Only touched by threads that hold the GIL: the atomics are
/// here to be plain loads and stores.
#[derive(Default)]
pub(crate) struct GilChunk {
    /// In the read-write mirror; null if there is no chunk.
    next: AtomicPtr<u8>,
    /// Address behind the last byte.
    end: AtomicUsize,
    /// Where the bytes are from.
    slot: AtomicPtr<Slot>,
    /// A forked child must not hand out what its parent took.
    generation: AtomicU32,
}

impl GilChunk {
    /// Hands out bytes, if there are enough.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, _attached: Python<'_>, size: usize, align: usize) -> Option<(NonNull<u8>, SlotPtr)> {
        let next = self.next.load(Relaxed);
        let place = layout::place(next.addr(), size, align)?;
        if place.end > self.end.load(Relaxed) || self.generation.load(Relaxed) != fork::generation() {
            return None;
        }
        self.next.store(next.with_addr(place.end), Relaxed);
        Some((NonNull::new(next.with_addr(place.start))?, SlotPtr::new(self.slot.load(Relaxed))?))
    }

    /// Whether there is no chunk; one with nothing left still is one.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.load(Relaxed).is_null()
    }

    /// Takes all that is ready in a slot. There must be no chunk.
    pub(crate) fn fill(&self, _attached: Python<'_>, slot: SlotRef<'_>) {
        debug_assert!(self.is_empty());
        if let Some((first, len)) = slot.try_alloc_rest() {
            self.next.store(first.as_ptr(), Relaxed);
            self.end.store(first.addr().get() + len, Relaxed);
            self.slot.store(slot.as_ptr().as_ptr(), Relaxed);
            self.generation.store(fork::generation(), Relaxed);
        }
    }

    /// Whether it is a chunk of that slot, and this process's.
    pub(crate) fn is_of(&self, slot: SlotPtr) -> bool {
        self.slot.load(Relaxed) == slot.as_ptr()
            && !self.is_empty()
            && self.generation.load(Relaxed) == fork::generation()
    }

    /// Takes back what was handed out last, if `start..end` is that.
    pub(crate) fn take_back(&self, _attached: Python<'_>, start: usize, end: usize) -> bool {
        let next = self.next.load(Relaxed);
        let is_last = next.addr() == end;
        if is_last {
            self.next.store(next.with_addr(start), Relaxed);
        }
        is_last
    }

    /// Makes what was handed out last longer or shorter, if it is what ends at `end` and there are enough bytes.
    pub(crate) fn resize(&self, _attached: Python<'_>, end: usize, to: usize) -> bool {
        let next = self.next.load(Relaxed);
        let may_move = next.addr() == end && to <= self.end.load(Relaxed);
        if may_move {
            self.next.store(next.with_addr(to), Relaxed);
        }
        may_move
    }

    /// Gives the bytes that were not handed out back to their slot, if it can still take them. There is no chunk then.
    ///
    /// To be called before the group lets the slot go.
    pub(crate) fn give_back(&self, _attached: Python<'_>) {
        if self.is_empty() {
            return;
        }
        let (next, end, slot) = (self.next.load(Relaxed), self.end.load(Relaxed), self.slot.load(Relaxed));
        self.next.store(null_mut(), Relaxed);
        self.end.store(0, Relaxed);
        // What a parent took is the parent's to give back.
        if self.generation.load(Relaxed) == fork::generation() {
            // SAFETY: fill got the pointer from a slot that the group holds, and has not let go yet.
            let slot = unsafe { &*slot };
            // SAFETY: that slot gave the bytes, and the chunk, which handed out what is before them, has forgotten them.
            let _kept = unsafe { slot.give_back(next.addr(), end, false) };
        }
    }
}

/// What [`alloc_attached`](crate::python::group::state::GroupState::alloc_attached) gave last: who wants more of the
/// same does not say how much that was. Like the chunk it is for threads that hold the GIL; without one it knows
/// nothing.
#[derive(Default)]
pub(crate) struct Last {
    start: AtomicUsize,
    size: AtomicUsize,
}

impl Last {
    pub(crate) fn set(&self, _attached: Python<'_>, start: usize, size: usize) {
        if cfg!(not(Py_GIL_DISABLED)) {
            self.start.store(start, Relaxed);
            self.size.store(size, Relaxed);
        }
    }

    /// How many bytes were given at that address, if it was the last.
    pub(crate) fn size_of(&self, _attached: Python<'_>, start: usize) -> Option<usize> {
        (self.start.load(Relaxed) == start).then(|| self.size.load(Relaxed))
    }
}
