//! `ReadResult`: what was read, and what could not be.

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};

use crate::python::ffi::arguments::made_by_group;
use crate::python::ffi::text::plural;
use crate::python::list::object::MemList;

/// What `read_files` and `read_ranges` have read, and what they could not read.
///
/// It unpacks as `blocks, errors`.
#[pyclass(frozen, module = "memgroup")]
pub(crate) struct ReadResult {
    /// A MemList with a block for each file or range, as long as what was read of it.
    #[pyo3(get)]
    pub(super) blocks: Py<MemList>,
    /// What could not be read in full: a dict of exceptions, by the number of the file or range.
    #[pyo3(get)]
    pub(super) errors: Py<PyDict>,
    /// Numbers of the files that had become longer or shorter than they had announced.
    ///
    /// They are whole all the same.
    #[pyo3(get)]
    pub(super) changed: Py<PyTuple>,
    /// Numbers of the files that announced no size and had content, as those of /proc.
    #[pyo3(get)]
    pub(super) unannounced: Py<PyTuple>,
    /// Bytes of the group that were allocated and then given up.
    ///
    /// A file or range was not as long as expected.
    #[pyo3(get)]
    pub(super) abandoned: usize,
}

#[pymethods]
impl ReadResult {
    #[new]
    #[pyo3(signature = (*_args, **_names), text_signature = None)]
    fn refuse(_args: &Bound<'_, PyTuple>, _names: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Err(made_by_group("ReadResult", "group.read_files(paths) or group.read_ranges(file, offsets, sizes)"))
    }

    /// Return the blocks, if all was read.
    ///
    /// Raises:
    ///     ExceptionGroup: Some of it was not; it holds `errors`.
    fn check(&self, py: Python<'_>) -> PyResult<Py<MemList>> {
        let errors = self.errors.bind(py);
        if errors.is_empty() {
            return Ok(self.blocks.clone_ref(py));
        }
        let (failed, all) = (errors.len(), self.blocks.get().len());
        let message = format!("{failed} of {all} could not be read");
        let group = py.import("builtins")?.getattr("ExceptionGroup")?.call1((message, errors.values()))?;
        Err(PyErr::from_value(group))
    }

    fn __iter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let pair = PyTuple::new(py, [this.blocks.bind(py).as_any(), this.errors.bind(py).as_any()])?;
        Ok(pair.try_iter()?.into_any().unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (all, errors) = (self.blocks.get().len(), self.errors.bind(py).len());
        format!("<ReadResult, {all} block{}, {errors} error{}>", plural(all), plural(errors))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.blocks)?;
        visit.call(&self.errors)?;
        visit.call(&self.changed)?;
        visit.call(&self.unannounced)
    }
}
