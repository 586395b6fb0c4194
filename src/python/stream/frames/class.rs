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

    /// How many whole messages an interrupted call has received: the next one returns them first.
    #[getter]
    fn pending(&self) -> PyResult<usize> {
        self.kept()
    }

    /// Return the next messages as a list, from one call and without an object for each.
    ///
    /// There are fewer only if the stream ends before, or is out of step; the next call says so. Whatever
    /// else this raises, what has arrived stays with the reader, and the next call goes on.
    ///
    /// Args:
    ///     count: How many.
    ///
    /// Raises:
    ///     BlockingIOError: A stream that does not block has no more right now.
    ///     TimeoutError: The socket's timeout has passed.
    ///     MemoryError: The group has no room. `take(reader.pending)` returns what it had room for.
    ///     EOFError: The stream ended within the next message.
    ///     ValueError: The stream is out of step from the next message on, or the group is freed.
    #[pyo3(name = "take")]
    fn take_many<'py>(&self, py: Python<'py>, count: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, MemList>>> {
        self.take(py, &Goal::Count(natural(count, "count")?), None, 0)
    }

    /// Return the messages up to the first that is the last, and this one, as a list.
    ///
    /// Where the stream ends before, or is out of step, the list is what came until then.
    ///
    /// Args:
    ///     last: The bytes that the last message starts with; any message starts with none. Or a function
    ///         that is called with each message, as a block, and returns true for the last. Bytes need no
    ///         block.
    ///
    /// Raises:
    ///     BlockingIOError, TimeoutError, MemoryError, EOFError, ValueError: As `take`.
    fn until<'py>(&self, py: Python<'py>, last: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, MemList>>> {
        self.take(py, &Goal::last(last)?, None, 0)
    }

    /// Give up what has arrived of messages: it is no view of the group any more. The stream stays open.
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

    /// For `memgroup.aio`: do what `take` or `until` does; None if `most` bytes are not enough.
    ///
    /// The first `tested` messages are known not to be the last.
    ///
    /// Raises:
    ///     BlockingIOError: There is nothing to read right now.
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
