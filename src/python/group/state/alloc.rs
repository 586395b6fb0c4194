//! Bytes of an open group, and lists of them.

use pyo3::prelude::*;

use super::{GroupState, Unavailable};
use crate::list::{Columns, Run};
use crate::python::group::raw::{Claim, RawBlock};
use crate::slot::Taken;

impl GroupState {
    /// Bytes that are ready: of the chunk or, without a GIL, of the current slot. `None` if there are not enough, or the
    /// group is not open.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, attached: Python<'_>, size: usize, align: usize) -> Option<RawBlock> {
        if cfg!(Py_GIL_DISABLED) {
            self.check_allocates().ok()?;
            return self.group.try_alloc(size, align).map(|taken| self.raw(taken, size));
        }
        // An empty chunk has enough for nobody, and the chunk of a group that has ended is empty.
        let (address, slot) = self.gil_chunk.try_alloc(attached, size, align)?;
        Some(RawBlock { address, len: size, slot, epoch: self.epoch })
    }

    /// Bytes that are ready in the current slot; see [`crate::MemGroup::try_alloc`].
    pub(crate) fn try_alloc_in_slot(
        &self,
        attached: Python<'_>,
        size: usize,
        align: usize,
    ) -> Result<Option<RawBlock>, Unavailable> {
        self.check_allocates()?;
        self.gil_chunk.give_back(attached);
        let taken = self.group.try_alloc(size, align).map(|taken| self.raw(taken, size));
        if taken.is_some() {
            self.fill_chunk(attached);
        }
        Ok(taken)
    }

    /// Bytes that may have to be committed first; see [`crate::MemGroup::alloc_slow`].
    pub(crate) fn alloc_slow(&self, size: usize, align: usize) -> Result<Result<RawBlock, crate::Error>, Unavailable> {
        self.check_allocates()?;
        Ok(self.group.alloc_slow(size, align).map(|taken| self.raw(taken, size)))
    }

    /// Makes what is ready in the current slot the chunk, unless there is one.
    pub(crate) fn fill_chunk(&self, attached: Python<'_>) {
        // Without a GIL, threads that are attached would share the chunk.
        if cfg!(not(Py_GIL_DISABLED))
            && self.gil_chunk.is_empty()
            && let Some(slot) = self.group.current()
        {
            self.gil_chunk.fill(attached, slot);
        }
    }

    /// Room for a whole list in what is ready; see [`crate::MemGroup::try_alloc_many`].
    pub(crate) fn try_alloc_many(&self, attached: Python<'_>, columns: &Columns) -> Result<Option<Runs>, Unavailable> {
        self.check_allocates()?;
        self.gil_chunk.give_back(attached);
        Ok(self.group.try_alloc_many(columns).map(|runs| Runs { runs, epoch: self.epoch }))
    }

    /// Room for a whole list in memory that may have to be committed first; see [`crate::MemGroup::alloc_many_slow`].
    pub(crate) fn alloc_many_slow(&self, columns: &Columns) -> Result<Result<Runs, crate::Error>, Unavailable> {
        self.check_allocates()?;
        Ok(self.group.alloc_many_slow(columns).map(|runs| Runs { runs, epoch: self.epoch }))
    }

    #[inline(always)]
    fn raw(&self, taken: Taken<'_>, len: usize) -> RawBlock {
        RawBlock { address: taken.address, len, slot: taken.slot.as_ptr(), epoch: self.epoch }
    }
}

/// Where the objects of a list are, while the epoch lasts.
pub(crate) struct Runs {
    pub(crate) runs: Box<[Run]>,
    pub(crate) epoch: u64,
}

impl Runs {
    pub(crate) fn claim(&self) -> Claim {
        Claim::of_epoch(self.epoch)
    }
}
