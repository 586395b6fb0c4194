//! How a group hands out bytes to Python's objects: what its lock's holder has ready at once, the slow way otherwise.

use pyo3::prelude::*;

use crate::list::{Columns, ListLayout};
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, RawBlock};
use crate::python::group::state::Runs;
use crate::slot::LiveSlots;

impl MemGroup {
    /// Takes bytes for a block and counts them.
    #[inline(always)]
    pub(crate) fn alloc_raw(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<RawBlock> {
        match self.try_alloc(py, size, align) {
            Some(raw) => Ok(raw),
            None => self.alloc_slow(py, size, align),
        }
    }

    /// Bytes of the group, if nothing stands in the way.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, py: Python<'_>, size: usize, align: usize) -> Option<RawBlock> {
        self.lock.with(py, |state| {
            let raw = state.try_alloc(py, size, align)?;
            self.count(size);
            Some(raw)
        })
    }

    /// Bytes of the group where the chunk will not do.
    #[cold]
    fn alloc_slow(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<RawBlock> {
        if let Some(raw) = self.try_alloc_in_slot(py, size, align)? {
            return Ok(raw);
        }
        // Memory must be committed first: other Python threads run meanwhile.
        let taken = self.lock.detached(py, |state| state.alloc_slow(size, align));
        let raw = match self.or_unavailable(py, taken)? {
            Ok(raw) => raw,
            // What a thread has taken ahead meanwhile must be used up before anyone hears of an error.
            Err(error) => return self.try_alloc_in_slot(py, size, align)?.ok_or_else(|| error.into()),
        };
        // Not if the group was reset or freed meanwhile: its figures begin anew then.
        self.try_with_state(py, |state| {
            state.check(raw.claim())?;
            self.count(size);
            state.fill_chunk(py);
            Ok(())
        })?;
        Ok(raw)
    }

    fn try_alloc_in_slot(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<Option<RawBlock>> {
        self.try_with_state(py, |state| {
            let raw = state.try_alloc_in_slot(py, size, align)?;
            if raw.is_some() {
                self.count(size);
            }
            Ok(raw)
        })
    }

    /// Takes room for the objects of a list and counts them.
    pub(crate) fn alloc_many_raw(&self, py: Python<'_>, columns: &Columns) -> PyResult<Runs> {
        let runs = match self.try_alloc_many(py, columns)? {
            Some(runs) => runs,
            None => {
                let taken = self.lock.detached(py, |state| state.alloc_many_slow(columns));
                match self.or_unavailable(py, taken)? {
                    Ok(runs) => runs,
                    // As in alloc_slow.
                    Err(error) => self.try_alloc_many(py, columns)?.ok_or(error)?,
                }
            }
        };
        self.count_many(py, runs.claim(), columns.len(), columns.nbytes())?;
        Ok(runs)
    }

    /// Takes room for the objects of a list and works on it, for a thread that is detached. Something else of the group must
    /// be there, if it is named. `None` where memory cannot be had so. The caller has the objects
    /// [counted](Self::count_many) later.
    pub(crate) fn alloc_many_detached<R>(
        &self,
        other: Option<Claim>,
        columns: Columns,
        work: impl FnOnce(ListLayout, u64, LiveSlots<'_>) -> R,
    ) -> Option<R> {
        self.lock.with_detached(|state| {
            other.map_or(Ok(()), |other| state.check(other).map(|_| ())).ok()?;
            let Runs { runs, epoch } = state.alloc_many_slow(&columns).ok()?.ok()?;
            let slots = state.check(Claim::of_epoch(epoch)).ok()?;
            Some(work(ListLayout::new(columns, runs), epoch, slots))
        })
    }

    /// Counts the objects of lists, so many bytes together.
    pub(crate) fn count_many(&self, py: Python<'_>, claim: Claim, objects: usize, nbytes: usize) -> PyResult<()> {
        self.while_slots_there(py, claim, |_| {
            self.blocks.add(objects);
            self.requested.add(nbytes);
        })
    }

    fn try_alloc_many(&self, py: Python<'_>, columns: &Columns) -> PyResult<Option<Runs>> {
        self.try_with_state(py, |state| state.try_alloc_many(py, columns))
    }
}
