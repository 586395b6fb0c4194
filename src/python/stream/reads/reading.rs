//! A list that is being read into.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::io::driver::Caller;
use crate::list::{Builder, Change, ListLayout};
use crate::python::ffi::memory::{has_memory_for_objects, tuple_of_numbers};
use crate::python::ffi::progress::Progress;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::Claim;
use crate::python::group::state::Runs;
use crate::python::list::object::MemList;
use crate::python::stream::pinned::Pinned;

/// The most that an error of a file takes, with its number and its text.
pub(super) const NOTE_BYTES: usize = 2048;

/// A list that is being read into, and that nobody knows yet.
pub(super) struct Reading<'py> {
    pub(super) group: Bound<'py, MemGroup>,
    pub(super) layout: ListLayout,
    pub(super) epoch: u64,
    pub(super) errors: Bound<'py, PyDict>,
}

impl<'py> Reading<'py> {
    pub(super) fn new(group: &Bound<'py, MemGroup>, builder: Builder) -> PyResult<Self> {
        let columns = builder.finish();
        let Runs { runs, epoch } = group.get().alloc_many_raw(group.py(), &columns)?;
        let errors = PyDict::new(group.py());
        // What lies between ranges of a file is read to between the objects.
        let layout = ListLayout::new(columns, runs).with_written_gaps();
        Ok(Self { group: group.clone(), layout, epoch, errors })
    }

    /// Notes why each of some files or ranges could not be read: its number, and the exception.
    pub(super) fn note<T>(&self, unread: &[T], why: impl Fn(&T) -> PyResult<(usize, PyErr)>) -> PyResult<()> {
        has_memory_for_objects(unread.len().saturating_mul(NOTE_BYTES))?;
        unread.iter().try_for_each(|unread| {
            let (number, error) = why(unread)?;
            self.errors.set_item(number, error.into_value(self.group.py()))
        })
    }

    pub(super) fn claim(&self) -> Claim {
        Claim::of_epoch(self.epoch)
    }

    /// The `ReadResult`, with the changes by number.
    pub(super) fn finish(
        self,
        changes: &[(usize, Change)],
        changed: Vec<usize>,
        unannounced: Vec<usize>,
        abandoned: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.group.py();
        // Not if the memory was taken away by force, or the group ended meanwhile.
        self.group.get().check(py, self.claim())?;
        let parts = (
            MemList::of_placed(&self.group, self.layout.changed(changes)?, self.epoch)?,
            self.errors,
            tuple_of_numbers(py, &changed)?,
            tuple_of_numbers(py, &unannounced)?,
            abandoned,
        );
        py.import("memgroup._reads")?.getattr("ReadResult")?.call_method1("_make", parts)
    }
}

/// Lets other threads of Python run while it waits, hears signals, and tells how far the work is.
impl Caller for Progress<'_, '_> {
    type Error = PyErr;

    fn blocking<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.py.detach(work)
    }

    fn pause(&self, done: usize) -> PyResult<()> {
        self.py.check_signals()?;
        self.tell(done)
    }
}

/// Lets other threads run, hears signals and tells how far the work is, while a list is read into that is pinned.
pub(super) struct PinnedCaller<'a, 'py> {
    pub(super) progress: &'a Progress<'a, 'py>,
    pub(super) pinned: &'a Pinned<'a>,
}

impl Caller for PinnedCaller<'_, '_> {
    type Error = PyErr;

    fn blocking<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.progress.blocking(work)
    }

    fn pause(&self, done: usize) -> PyResult<()> {
        self.progress.pause(done)?;
        // Python code that has just run may have forked.
        self.pinned.renew();
        Ok(())
    }
}
