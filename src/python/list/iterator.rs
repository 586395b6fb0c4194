//! The iterator of a list.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use crate::python::block::object::MemBlock;
use crate::python::list::object::MemList;

/// Goes through a list block by block.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct Blocks {
    list: Py<MemList>,
    /// Without a GIL two threads that share an iterator may get the same block, as from a list's own iterator.
    next: AtomicUsize,
}

impl Blocks {
    pub(crate) fn of(list: &Bound<'_, MemList>) -> Self {
        Self { list: list.clone().unbind(), next: AtomicUsize::new(0) }
    }
}

#[pymethods]
impl Blocks {
    fn __iter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MemBlock>>> {
        let list = self.list.get();
        let at = self.next.load(Ordering::Relaxed);
        if at >= list.len() {
            return Ok(None);
        }
        self.next.store(at + 1, Ordering::Relaxed);
        list.block(py, at).map(Some)
    }

    fn __length_hint__(&self) -> usize {
        self.list.get().len().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.list)
    }
}
