//! The class `FrameReader`: an iterator of blocks.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyTuple};

use super::arguments::natural;
use super::object::{FrameReader, Received};
use super::take::Goal;
use crate::python::block::object::MemBlock;
use crate::python::ffi::arguments::{has_index, made_by_group};
use crate::python::list::object::MemList;

#[pymethods]
impl FrameReader {
    #[new]
    #[pyo3(signature = (*_args, **_names), text_signature = "()")]
    fn refuse(_args: &Bound<'_, PyTuple>, _names: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Err(made_by_group("FrameReader", "group.frames(source)"))
    }

    /// The part of an unfinished message that has arrived: a block that shares its bytes.
    ///
    /// None if there is no such message.
    #[getter]
    fn partial<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MemBlock>>> {
        self.unfinished(py)
    }

    /// How many bytes of an unfinished message have not arrived; 0 if there is no such message.
    #[getter]
    fn missing(&self) -> PyResult<usize> {
        self.lacking()
    }

    /// A copy of the bytes that were read from the stream and are in no message yet.
    #[getter]
    fn ahead<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_ahead(py)
    }

    /// How many whole messages an interrupted call has received: the next one returns them first.
    #[getter]
    fn pending(&self) -> PyResult<usize> {
        self.kept()
    }

    /// Return the next messages as a list, from one call and without an object for each.
    ///
    /// The list has fewer only if the stream ends or has a bad length; the next call raises the error. After any other
    /// exception the reader keeps the messages that have arrived, and the next call continues.
    ///
    /// Args:
    ///     count: How many.
    ///
    /// Raises:
    ///     BlockingIOError: A non-blocking stream has no more bytes now.
    ///     TimeoutError: The socket's timeout has passed.
    ///     MemoryError: The group has no room. `take(reader.pending)` returns the messages that it had room for.
    ///     EOFError: The stream ended within the next message.
    ///     ValueError: The next message is too large or has a bad length, or the group is freed.
    #[pyo3(name = "take")]
    fn take_many<'py>(&self, py: Python<'py>, count: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, MemList>>> {
        self.take(py, &Goal::Count(natural(count, "count")?), None, 0)
    }

    /// Return the messages up to and including the first one that `last` matches, as a list.
    ///
    /// If the stream ends or has a bad length before, the list has the messages until then.
    ///
    /// Args:
    ///     last: The bytes that the last message starts with (faster, as it makes no blocks), or a function that is
    ///         called with each message as a block and returns true for the last.
    ///
    /// Raises:
    ///     BlockingIOError, TimeoutError, MemoryError, EOFError, ValueError: As `take`.
    fn until<'py>(&self, py: Python<'py>, last: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, MemList>>> {
        self.take(py, &Goal::last(last)?, None, 0)
    }

    /// Drop the bytes of unfinished messages, which then are no view of the group. The stream stays open.
    ///
    /// Later calls that receive raise ValueError.
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
    ///     BlockingIOError: There are no bytes to read now.
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
    /// The next call of any method that receives invalidates it.
    ///
    /// Raises:
    ///     RuntimeError: A complete message must be received first.
    fn _offer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        self.offer(py)
    }

    /// For `memgroup.aio`: note that so many bytes were stored; return whether a message may be there.
    fn _accept(&self, py: Python<'_>, count: usize) -> PyResult<bool> {
        self.accept(py, count)
    }

    /// For `memgroup.aio`: do what `take` or `until` does; None if `most` bytes are not enough.
    ///
    /// The first `tested` messages are known not to be the last.
    ///
    /// Raises:
    ///     BlockingIOError: There are no bytes to read now.
    fn _take<'py>(
        &self,
        py: Python<'py>,
        goal: &Bound<'py, PyAny>,
        most: usize,
        tested: usize,
    ) -> PyResult<Option<Bound<'py, MemList>>> {
        let goal = match has_index(goal) {
            true => Goal::Count(natural(goal, "count")?),
            false => Goal::last(goal)?,
        };
        self.take(py, &goal, Some(most), tested)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.group)?;
        visit.call(&self.source.object)
    }
}
