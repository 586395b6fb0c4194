//! The class `FrameReader`: an iterator of blocks.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyTuple};

use super::object::{FrameReader, Received};
use crate::python::block::object::MemBlock;
use crate::python::ffi::arguments::made_by_group;

#[pymethods]
impl FrameReader {
    #[new]
    #[pyo3(signature = (*_args, **_names), text_signature = None)]
    fn refuse(_args: &Bound<'_, PyTuple>, _names: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Err(made_by_group("FrameReader", "group.frames(source)"))
    }

    /// The part that has arrived of a message that is unfinished: a block that shares its bytes.
    ///
    /// None if there is no such message.
    #[getter]
    fn partial<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MemBlock>>> {
        self.unfinished(py)
    }

    /// How many bytes an unfinished message still lacks; 0 if there is no such message.
    #[getter]
    fn missing(&self) -> PyResult<usize> {
        self.lacking()
    }

    /// A copy of what was read from the stream and is in no message yet.
    #[getter]
    fn ahead<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_ahead(py)
    }

    /// Give an unfinished message up, so that it is no view of the group any more. The stream stays open.
    ///
    /// Receiving raises ValueError afterwards.
    fn close(&self) -> PyResult<()> {
        self.give_up()
    }

    fn __iter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MemBlock>>> {
        match self.receive(py, None)? {
            Received::Frame(block) => Ok(Some(block)),
            Received::End | Received::NotYet => Ok(None),
        }
    }

    /// For `memgroup.aio`: return the next message; None if it is not complete after reading `most` bytes.
    ///
    /// Raises:
    ///     BlockingIOError: There is nothing to read right now.
    ///     StopIteration: The stream has ended.
    fn _advance<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Option<Bound<'py, MemBlock>>> {
        match self.receive(py, Some(most))? {
            Received::Frame(block) => Ok(Some(block)),
            Received::NotYet => Ok(None),
            Received::End => Err(PyStopIteration::new_err(())),
        }
    }

    /// For `memgroup.aio`: return a buffer for the next bytes of the stream, which the caller stores.
    ///
    /// It is taken back by the next call of any method that receives.
    ///
    /// Raises:
    ///     RuntimeError: There is a message to be received first.
    fn _offer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        self.offer(py)
    }

    /// For `memgroup.aio`: note that so many bytes were stored; return whether a message may be there.
    fn _accept(&self, py: Python<'_>, count: usize) -> PyResult<bool> {
        self.accept(py, count)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.group)?;
        visit.call(&self.source.object)
    }
}
