//! A list while its slots are certainly there.

use crate::Error;
use crate::fallible;
use crate::list::{ListLayout, Part, Span};
use crate::python::ffi::raw_bytes::Bytes;
use crate::scratch::Scratch;
use crate::slot::{LiveSlots, Mirror};

/// Some objects of a list that is there, and the bytes of another bytes-like object, for work inside the lock of the
/// group.
#[derive(Clone, Copy)]
pub(super) struct LiveList<'a> {
    /// Those that the list lies in.
    pub(super) slots: LiveSlots<'a>,
    pub(super) layout: &'a ListLayout,
    pub(super) part: Part,
    pub(super) mirror: Mirror,
    pub(super) other: Bytes,
}

impl LiveList<'_> {
    pub(super) fn nbytes(&self) -> usize {
        let columns = self.layout.columns();
        match self.part == Part::all(columns.len()) {
            true => columns.nbytes(),
            false => (0..self.part.len()).map(|at| columns.size(self.part.object(at))).sum(),
        }
    }

    /// The runs as `MemList.slots` shows them.
    pub(super) fn slots(&self) -> Result<Vec<(isize, usize, usize, usize)>, Error> {
        let mut slots = Vec::new();
        let mut start = 0;
        while start < self.part.len() {
            let object = self.part.object(start);
            let run = self.layout.run_of(object);
            // How many of the part's objects are left in the run.
            let span = match self.part.step() {
                step if step > 0 => (self.layout.end_of(run) - 1 - object) / step.unsigned_abs(),
                step => (object - self.layout.runs()[run].first) / step.unsigned_abs(),
            };
            let stop = (start + 1 + span).min(self.part.len());
            let Span { slot, offset, .. } = self.layout.object(object);
            // SAFETY: it is a slot of the list.
            let slot = unsafe { self.slots.get(slot) }.number().map_or(-1, |number| number as isize);
            fallible::push(&mut slots, (slot, start, stop, offset))?;
            start = stop;
        }
        Ok(slots)
    }

    /// # Safety
    /// The span must be of the list.
    #[inline]
    pub(super) unsafe fn bytes(&self, span: Span) -> Bytes {
        // SAFETY: the span is of the list, by contract, which lies in those slots.
        let slot = unsafe { self.slots.get(span.slot) };
        // SAFETY: the objects of a list lie within their slots.
        let address = unsafe { slot.address(span.offset, self.mirror) };
        // No list is protected that has no read-only mirror.
        Bytes::new(address.map_or(std::ptr::null_mut(), |address| address.as_ptr()), span.len)
    }

    /// Whether the object at an index has just these bytes.
    ///
    /// # Safety
    /// The bytes must be mapped, and `at` less than the length.
    pub(super) unsafe fn has(&self, at: usize, bytes: Bytes) -> bool {
        let object = self.part.object(at);
        if self.layout.columns().size(object) != bytes.len {
            return false;
        }
        // SAFETY: it is an object of the list.
        let own = unsafe { self.bytes(self.layout.object(object)) };
        // SAFETY: the objects of the list are mapped, and so are the bytes, by contract.
        unsafe { own.compare(bytes) }.is_eq()
    }

    /// # Safety
    /// The list must be writable.
    pub(super) unsafe fn clear(&self) {
        for run in 0..self.layout.runs().len() {
            let span = self.layout.span_of(run);
            // SAFETY: it is a slot of the list.
            if !unsafe { self.slots.get(span.slot) }.is_fresh() {
                // SAFETY: the span is of the list.
                let bytes = unsafe { self.bytes(span) };
                // SAFETY: the bytes are mapped and writable, by contract; what lies between the first and the last
                // object of a run is nobody else's.
                unsafe { bytes.clear() };
            }
        }
    }

    /// Copies the bytes of all objects, in order.
    ///
    /// # Safety
    /// There must be room for them, mapped and writable.
    pub(super) unsafe fn gather_into(&self, to: Bytes) {
        let mut rest = to;
        for span in self.layout.spans(self.part) {
            // SAFETY: the span is of the list.
            let from = unsafe { self.bytes(span) };
            // SAFETY: the room is mapped, writable and as long as all spans together, by contract.
            unsafe { rest.copy_from(from) };
            rest = rest.tail(span.len);
        }
    }

    /// # Safety
    /// `from` must be mapped, the list writable, and `from` have as many bytes.
    pub(super) unsafe fn fill_from(&self, from: Bytes) -> Result<(), Error> {
        // SAFETY: the slots are those of the list.
        let mut copy = Scratch::<u8>::new(unsafe { self.layout.is_secret(self.slots) });
        let mut rest = match self.overlaps(from) {
            false => from,
            true => {
                copy.reserve(from.len)?;
                let copied = Bytes::new(copy.spare().as_mut_ptr().cast(), from.len);
                // SAFETY: it has just got room for as many bytes.
                unsafe { copied.copy_from(from) };
                copied
            }
        };
        for span in self.layout.spans(self.part) {
            // SAFETY: the span is of the list.
            let to = unsafe { self.bytes(span) };
            // SAFETY: all spans together are as long as from, so rest holds this one.
            unsafe { to.copy_from(rest.part(0, span.len)) };
            rest = rest.tail(span.len);
        }
        Ok(())
    }

    /// Whether bytes are, through whichever mirror, among those of the whole list or the padding between them.
    pub(super) fn overlaps(&self, bytes: Bytes) -> bool {
        let start = bytes.start.addr();
        (0..self.layout.runs().len()).any(|run| {
            let span = self.layout.span_of(run);
            // SAFETY: it is a slot of the list.
            let slot = unsafe { self.slots.get(span.slot) };
            slot.offset_within(&(start..start + bytes.len))
                .is_some_and(|offset| offset < span.offset + span.len && span.offset < offset + bytes.len)
        })
    }
}
