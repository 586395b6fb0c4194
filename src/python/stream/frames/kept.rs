//! Whole messages that a call has received and not returned: it collects more, or was interrupted.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::error::Error;
use crate::fallible;
use crate::io::framing::OutOfStep;
use crate::io::framing::buffered::{Found, Frames};
use crate::io::transfer::address;
use crate::layout::{DEFAULT_ALIGN, MAX_SLOT_BYTES};
use crate::list::batches::Batches;
use crate::list::{Builder, Columns, ListLayout, Part, Span};
use crate::python::block::object::MemBlock;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, RawBlock};
use crate::python::list::object::MemList;
use crate::slot::{LiveSlots, Mirror};

/// The most messages that are placed at once.
const MAX_BATCH_MESSAGES: usize = 4096;

/// Messages in order. While there are any, they count as a view, so that their memory is not taken away.
pub(super) struct Kept {
    batches: Batches,
    /// Of the messages, while there are any.
    epoch: Option<u64>,
    views: Arc<AtomicUsize>,
    /// Messages, and their bytes, that the group has not counted.
    uncounted: (usize, usize),
    /// Where the bodies of a batch are.
    found: Vec<Range<usize>>,
}

impl Kept {
    pub(super) fn new(group: &MemGroup) -> Self {
        let views = group.uses().shared_views();
        Self { batches: Batches::new(), epoch: None, views, uncounted: (0, 0), found: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// To the memory of the messages, if there are any.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.epoch.map(Claim::of_epoch)
    }

    /// Looks for whole messages that were read ahead. The columns of a batch of them, if there are any, and what they are.
    pub(super) fn find(
        &mut self,
        frames: &mut Frames,
        most: usize,
        is_last: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<(Columns, Found)>, Failure> {
        self.found.clear();
        fallible::reserve(&mut self.found, MAX_BATCH_MESSAGES).map_err(Failure::Memory)?;
        let found = frames.find(most, is_last, &mut self.found).map_err(Failure::OutOfStep)?;
        if self.found.is_empty() {
            return Ok(None);
        }
        let mut columns = Builder::new(DEFAULT_ALIGN, MAX_SLOT_BYTES);
        let sizes = self.found.iter().map(Range::len);
        columns.extend(sizes).map_err(|unfit| Failure::Memory(unfit.error))?;
        Ok(Some((columns.finish(), found)))
    }

    /// Copies the messages that were found to memory that was taken for them, and goes on behind them in the stream.
    ///
    /// # Safety
    /// The layout must lie in those slots, and nobody else have been given it.
    pub(super) unsafe fn store(
        &mut self,
        frames: &mut Frames,
        found: Found,
        layout: &ListLayout,
        epoch: u64,
        slots: LiveSlots<'_>,
    ) -> Result<(), Error> {
        self.push(layout, epoch)?;
        let ahead = frames.ahead();
        for (span, place) in layout.objects(Part::all(self.found.len())).zip(&self.found) {
            // SAFETY: the span is of the layout, which lies in those slots, by contract.
            let to = Bytes::new(unsafe { address(slots, span, Mirror::ReadWrite) }, span.len);
            let body = &ahead[place.clone()];
            // SAFETY: the span is as long as the body, mapped, writable, and nobody else's, by contract.
            unsafe { to.copy_from(Bytes::new(body.as_ptr().cast_mut(), body.len())) };
        }
        frames.pass_many(self.found.len(), found);
        Ok(())
    }

    /// Adds messages that are where they belong.
    pub(super) fn push(&mut self, layout: &ListLayout, epoch: u64) -> Result<(), Error> {
        self.batches.push(layout)?;
        if self.epoch.replace(epoch).is_none() {
            self.views.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Notes messages that the group has not counted yet.
    pub(super) fn note_uncounted(&mut self, objects: usize, nbytes: usize) {
        self.uncounted = (self.uncounted.0 + objects, self.uncounted.1 + nbytes);
    }

    /// Has the group count them.
    pub(super) fn count(&mut self, py: Python<'_>, group: &MemGroup) -> PyResult<()> {
        let (objects, nbytes) = std::mem::take(&mut self.uncounted);
        self.claim().map_or(Ok(()), |claim| group.count_many(py, claim, objects, nbytes))
    }

    /// The next messages as a list; there must be so many.
    pub(super) fn take<'py>(&mut self, group: &Bound<'py, MemGroup>, many: usize) -> PyResult<Bound<'py, MemList>> {
        let py = group.py();
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            // A list of nothing is as its group is.
            None => return MemList::of(group, Builder::new(DEFAULT_ALIGN, MAX_SLOT_BYTES).finish(), false),
        };
        group.get().check(py, Claim::of_epoch(epoch))?;
        let list = MemList::of_placed(group, self.batches.take(many)?, epoch)?;
        if self.batches.len() == 0 {
            self.release();
        }
        Ok(list)
    }

    /// The message at an index, which must be less than the length.
    pub(super) fn block<'py>(&self, group: &Bound<'py, MemGroup>, at: usize) -> PyResult<Option<Bound<'py, MemBlock>>> {
        let Some(epoch) = self.epoch else { return Ok(None) };
        let Span { slot, offset, len } = self.batches.object(at);
        let raw = group.get().while_slots_there(group.py(), Claim::of_epoch(epoch), |slots| {
            // SAFETY: it is the slot of a message of this epoch, which was just found there.
            let there = unsafe { slots.get(slot) };
            // SAFETY: the message lies within its slot.
            RawBlock { address: unsafe { there.at(offset) }, len, slot, epoch }
        })?;
        MemBlock::new(group, raw, Mirror::ReadWrite).map(Some)
    }

    /// Gives all of them up.
    pub(super) fn clear(&mut self) {
        self.batches = Batches::new();
        self.release();
    }

    fn release(&mut self) {
        if self.epoch.take().is_some() {
            self.views.fetch_sub(1, Ordering::Release);
        }
    }

    /// Which of them is the first behind `tested` others that `is_last`, if any is.
    pub(super) fn position(
        &self,
        py: Python<'_>,
        group: &MemGroup,
        tested: usize,
        is_last: impl Fn(&[u8]) -> bool,
    ) -> PyResult<Option<usize>> {
        let Some(claim) = self.claim() else { return Ok(None) };
        group.while_slots_there(py, claim, |slots| {
            (tested..self.len()).find(|&index| {
                let span = self.batches.object(index);
                // SAFETY: the span is of a message of this epoch, which was just found there.
                let body = Bytes::new(unsafe { address(slots, span, Mirror::ReadWrite) }, span.len);
                // SAFETY: the message is mapped while the group is looked at, and the slice is not used after this.
                is_last(unsafe { body.as_slice() })
            })
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.release();
    }
}

/// Why messages that were read ahead cannot be collected.
pub(super) enum Failure {
    OutOfStep(OutOfStep),
    Memory(Error),
}
