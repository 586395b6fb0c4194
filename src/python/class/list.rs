//! The class `MemList`: what Python calls.

use pyo3::IntoPyObjectExt;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyList, PyMemoryView, PySlice, PyTuple};

use crate::os::iovecs::Call;
use crate::python::block::object::MemBlock;
use crate::python::export::arrow::{self, ArrowArray, Type};
use crate::python::export::pickle;
use crate::python::ffi::arguments::{self, Threads};
use crate::python::ffi::memory::has_memory_for_objects;
use crate::python::ffi::text::{plural, show_number, show_size};
use crate::python::list::inspect::{self, How};
use crate::python::list::iterator::Blocks;
use crate::python::list::object::MemList;
use crate::python::numpy::matrix;
use crate::python::stream::frames;
use crate::python::stream::transfer::{self, Offset, Start};

/// The most that an element of `MemList.slots` takes.
const SLOT_BYTES: usize = 256;

#[pymethods]
impl MemList {
    #[new]
    #[pyo3(signature = (*_args, **_names), text_signature = "()")]
    fn refuse(_args: &Bound<'_, PyTuple>, _names: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Err(arguments::made_by_group("MemList", "group.alloc_many(sizes)"))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.check(py)?;
        Ok(self.len())
    }

    /// The sum of all sizes, in bytes.
    #[getter]
    fn get_nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.nbytes(py)
    }

    /// Whether the list shows the read-only mirror.
    #[getter]
    fn readonly(&self, py: Python<'_>) -> PyResult<bool> {
        self.check(py)?;
        Ok(self.is_protected())
    }

    /// The size of each block in bytes: a memoryview of unsigned 64-bit integers.
    ///
    /// It is a read-only copy, which the first access makes and the list keeps.
    #[getter]
    fn sizes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        self.check(py)?;
        self.sizes_view(py)
    }

    /// The offset of each block in bytes: a memoryview of unsigned 64-bit integers.
    ///
    /// They count from the first block that `alloc_many` made, as if all blocks lay one behind the other with their
    /// padding; within one entry of `slots` they do. The view is a read-only copy, which the first access makes and the
    /// list keeps. A slice shows the same numbers as the whole list.
    #[getter]
    fn offsets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        self.check(py)?;
        self.starts_view(py)
    }

    /// The slots of the blocks: a tuple of `(slot, start, stop, offset)`.
    ///
    /// The blocks `list[start:stop]` lie in slot number `slot` as `offsets` says, the first of them `offset` bytes from
    /// the slot's beginning. Borrowed memory has no number: `slot` is -1, and `offset` counts from its beginning.
    #[getter]
    fn slots<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let slots = self.slot_rows(py)?;
        has_memory_for_objects(slots.len().saturating_mul(SLOT_BYTES))?;
        PyTuple::new(py, slots)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if let Ok(slice) = key.cast::<PySlice>() {
            let range = slice.indices(this.len() as isize)?;
            this.check(py)?;
            let part = this.part().part(range.start.max(0) as usize, range.step, range.slicelength);
            return Ok(this.with_part(py, part)?.into_any());
        }
        let index = arguments::integer(key, "list indices must be integers or slices")?;
        let len = this.len();
        let from_start = if index < 0 { index.saturating_add(len as isize) } else { index };
        match usize::try_from(from_start).ok().filter(|&at| at < len) {
            Some(at) => Ok(this.block(py, at)?.into_any()),
            None => {
                this.check(py)?;
                Err(PyIndexError::new_err(format!("index out of range for a list of {len} block{}", plural(len))))
            }
        }
    }

    fn __setitem__(&self, _key: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot replace blocks of a list: write to them with list[i][:] = data, or fill_from()",
        ))
    }

    fn __delitem__(&self, _key: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot delete blocks of a list: they are freed with their group; take a slice"))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Blocks>> {
        slf.get().check(slf.py())?;
        Bound::new(slf.py(), Blocks::of(slf))
    }

    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Blocks>> {
        let this = slf.get();
        this.check(slf.py())?;
        let len = this.len();
        Self::__iter__(&this.with_part(slf.py(), this.part().part(len.saturating_sub(1), -1, len))?)
    }

    /// Whether a block has just the bytes of `value`, any bytes-like object.
    fn __contains__(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find_equal(py, value, 0, self.len())?.is_some())
    }

    /// Return the index of the first block in `self[start:stop]` that equals `value`.
    ///
    /// Raises:
    ///     ValueError: No block equals it.
    #[pyo3(
        signature = (value, start=None, stop=None, /),
        text_signature = "($self, value, start=0, stop=sys.maxsize, /)",
    )]
    fn index(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let len = self.len() as isize;
        let bound = |bound: Option<&Bound<'_, PyAny>>, otherwise| match bound {
            None => Ok(otherwise),
            Some(bound) => arguments::integer(bound, "start and stop must be integers")
                .map(|at| if at < 0 { at.saturating_add(len).max(0) } else { at.min(len) }),
        };
        let (start, stop) = (bound(start, 0)?, bound(stop, len)?);
        let found = self.find_equal(py, value, start as usize, (stop - start).max(0) as usize)?;
        found.ok_or_else(|| PyValueError::new_err("no block of the list has these bytes"))
    }

    /// Return how many blocks equal `value`, any bytes-like object.
    fn count(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.count_equal(py, value)
    }

    /// Return a list of one size as a matrix of bytes, with a row for each block, over the same memory.
    ///
    /// numpy calls it: `np.asarray(list)`. The array is read-only if the list is protected. If the blocks lie in
    /// several slots or at irregular distances, it shows a copy, a new block of the group.
    ///
    /// Args:
    ///     dtype: The type to convert the elements to; by default uint8.
    ///     copy: As for `np.asarray`: True for a copy, False for an error if one is needed.
    ///
    /// Raises:
    ///     ValueError: The blocks are of several sizes, `copy` is False and one is needed, or the list is freed.
    #[pyo3(signature = (dtype=None, *, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        matrix::array_of(slf, dtype, copy)
    }

    /// Return for each block whether `value` occurs in it: a memoryview of format "?".
    ///
    /// It searches all blocks in one call, without block objects, while other Python threads run. An occurrence across
    /// two blocks does not count. The memoryview is read-only, with one item for each block.
    ///
    /// Args:
    ///     value: Any bytes-like object.
    ///     threads: The most threads that search at once: by default 1 for a list of a few megabytes, otherwise the
    ///         number of processors that affinity and cgroups allow.
    ///     progress: Called with the number of blocks done and of all, a few times a second and at the end.
    #[pyo3(signature = (value, /, *, threads=None, progress=None))]
    fn contains<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        threads: Option<Threads>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        inspect::contains(self, value, &How { threads, progress })
    }

    /// Return for each block whether it begins with `value`: a memoryview of format "?".
    #[pyo3(signature = (value, /, *, threads=None, progress=None))]
    fn startswith<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        threads: Option<Threads>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        inspect::startswith(self, value, &How { threads, progress })
    }

    /// Return for each block whether it ends with `value`: a memoryview of format "?".
    #[pyo3(signature = (value, /, *, threads=None, progress=None))]
    fn endswith<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        threads: Option<Threads>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        inspect::endswith(self, value, &How { threads, progress })
    }

    /// Return for each block the offset of the first `value`, or -1: a memoryview of format "q".
    #[pyo3(signature = (value, /, *, threads=None, progress=None))]
    fn find<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        threads: Option<Threads>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        inspect::find(self, value, &How { threads, progress })
    }

    /// Return how often `value` occurs in each block, not overlapping: a memoryview of format "q".
    #[pyo3(signature = (value, /, *, threads=None, progress=None))]
    fn count_in<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        threads: Option<Threads>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        inspect::count_in(self, value, &How { threads, progress })
    }

    /// Return some of the blocks as a list over the same bytes, 16 bytes for each.
    ///
    /// Args:
    ///     which: A mask, with a boolean for each block, or indices in any order, which may repeat; a negative one
    ///         counts from the end. A buffer, as `contains` and numpy return, or any iterable.
    ///
    /// Raises:
    ///     TypeError: `which` is neither.
    ///     ValueError: A mask is not as long as the list, or the list is freed.
    ///     IndexError: An index is out of range.
    #[pyo3(signature = (which, /))]
    fn take<'py>(&self, which: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        inspect::take(self, which)
    }

    /// Return the bytes of each block, in a list of bytes objects.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        inspect::tolist(self, py)
    }

    /// Scatter the bytes of `data`, any bytes-like object, into the blocks, in order.
    ///
    /// If `data` overlaps the list, the result is as if `data` had been copied before.
    ///
    /// Raises:
    ///     TypeError: The list is protected, or `data` has no bytes.
    ///     ValueError: `data` has not exactly `nbytes` bytes.
    ///     MemoryError: `data` overlaps the list, and there is no memory for a copy.
    fn fill_from(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.fill(py, data)
    }

    /// Gather the bytes of all blocks, in order, into one new writable block of the group.
    ///
    /// Raises:
    ///     MemoryError: As the group's `alloc`.
    fn join<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MemBlock>> {
        self.joined(py)
    }

    /// Fill the blocks, in order, from a file, pipe or socket, until they are full or the input ends.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`, whose buffered bytes are not read.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were read; at the end of the input, fewer than the blocks hold.
    ///
    /// Raises:
    ///     TypeError: The list is protected, or `fd` no descriptor.
    ///     ValueError: `start` is negative or beyond the list, or the list is freed.
    ///     BlockingIOError: The descriptor is non-blocking, and has no more bytes now.
    ///     TimeoutError: `fd` is a socket, and its timeout has passed.
    ///     OSError: The kernel refused. Every exception, also of a signal handler, has in `characters_written` the
    ///         number of bytes that were moved before.
    #[pyo3(signature = (fd, /, *, start=Start::default()), text_signature = "($self, fd, /, *, start=0)")]
    fn readv(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, fd, Call::Read, start)
    }

    /// Fill the blocks, in order, from `offset` of a file on; its position does not change.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`.
    ///     offset: The position in the file of the first byte.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were read; at the end of the file, fewer than the blocks hold.
    ///
    /// Raises:
    ///     ValueError: `offset` is negative.
    ///     TypeError, ValueError, OSError: As `readv`.
    #[pyo3(
        signature = (fd, offset, /, *, start=Start::default()),
        text_signature = "($self, fd, offset, /, *, start=0)",
    )]
    fn preadv(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, offset: Offset, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, fd, Call::ReadAt(offset.0), start)
    }

    /// Write the bytes of all blocks, in order, to a file, pipe or socket.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`; flush its buffer before the call.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were written: all from `start` on.
    ///
    /// Raises:
    ///     TypeError: `fd` is no descriptor.
    ///     ValueError: `start` is negative or beyond the list, or the list is freed.
    ///     BlockingIOError: The descriptor is non-blocking, and accepts no more bytes now.
    ///     TimeoutError: `fd` is a socket, and its timeout has passed.
    ///     OSError: The kernel refused. Every exception, also of a signal handler, has in `characters_written` the
    ///         number of bytes that were moved before.
    #[pyo3(signature = (fd, /, *, start=Start::default()), text_signature = "($self, fd, /, *, start=0)")]
    fn writev(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, fd, Call::Write, start)
    }

    /// Write the bytes of all blocks, in order, from `offset` of a file on; its position does not change.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`.
    ///     offset: The position in the file for the first byte.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were written: all from `start` on.
    ///
    /// Raises:
    ///     ValueError: `offset` is negative.
    ///     TypeError, ValueError, OSError: As `writev`.
    #[pyo3(
        signature = (fd, offset, /, *, start=Start::default()),
        text_signature = "($self, fd, offset, /, *, start=0)",
    )]
    fn pwritev(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, offset: Offset, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, fd, Call::WriteAt(offset.0), start)
    }

    /// Fill the blocks, in order, from a socket: until they are full or the peer has ended.
    ///
    /// From a socket of messages (SOCK_DGRAM, SOCK_SEQPACKET) it receives exactly one message.
    ///
    /// Args:
    ///     sock: A socket, or its descriptor.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were received.
    ///
    /// Raises:
    ///     OSError: As `readv`; with EMSGSIZE if the message was longer than the list; its rest is lost.
    ///     TypeError, ValueError: As `readv`; an SSL socket is a TypeError.
    #[pyo3(signature = (sock, /, *, start=Start::default()), text_signature = "($self, sock, /, *, start=0)")]
    fn recvmsg_into(&self, py: Python<'_>, sock: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, sock, Call::Receive, start)
    }

    /// Send the bytes of all blocks, in order, through a socket.
    ///
    /// A socket of messages (SOCK_DGRAM, SOCK_SEQPACKET) sends them as one message.
    ///
    /// Args:
    ///     sock: A socket, or its descriptor.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were sent: all from `start` on.
    ///
    /// Raises:
    ///     OSError: As `writev`; with EMSGSIZE if they are too long for one message.
    ///     TypeError, ValueError: As `writev`; an SSL socket is a TypeError.
    #[pyo3(signature = (sock, /, *, start=Start::default()), text_signature = "($self, sock, /, *, start=0)")]
    fn sendmsg(&self, py: Python<'_>, sock: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, sock, Call::Send, start)
    }

    /// Return the blocks as messages: a list whose bytes are the stream, for `sendmsg` and the like.
    ///
    /// Each block follows its length, or precedes its delimiter. The blocks are not copied; the lengths are written to
    /// the group.
    ///
    /// Args:
    ///     description: As for the group's `frames`, of messages that have only a length and a payload, or a delimiter.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     ValueError: A block is larger than the limit or than a length can say, or has the delimiter in it; the
    ///         description has other parts; or the list is freed.
    ///     MemoryError: There is no room for the lengths.
    #[pyo3(signature = (**description), text_signature = "($self, **description)")]
    fn framed<'py>(&self, py: Python<'py>, description: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, MemList>> {
        self.as_stream(py, frames::arguments::decoder("framed", description)?.format())
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        operator: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().check(py)?;
        match (operator, other.cast::<Self>()) {
            (CompareOp::Eq, Ok(other)) => slf.get().equals(py, other.get())?.into_bound_py_any(py),
            (CompareOp::Ne, Ok(other)) => (!slf.get().equals(py, other.get())?).into_bound_py_any(py),
            (CompareOp::Eq | CompareOp::Ne, Err(_)) => match other.cast::<PyList>() {
                Ok(other) => {
                    let equal = slf.get().equals_list(other)?;
                    (equal == matches!(operator, CompareOp::Eq)).into_bound_py_any(py)
                }
                Err(_) => Ok(py.NotImplemented().into_bound(py)),
            },
            _ => Ok(py.NotImplemented().into_bound(py)),
        }
    }

    /// Pickles: with protocol 5 the bytes can go out of band, without a copy. What is loaded is in a group of the receiver.
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: i32) -> PyResult<Bound<'py, PyAny>> {
        slf.get().check(slf.py())?;
        pickle::reduced(slf, "reduce_list", protocol)
    }

    /// The same blocks in another list, as a copy of a list has the same elements.
    fn __copy__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        self.check(py)?;
        self.with_part(py, self.part())
    }

    /// New blocks of the group with the same bytes, protected if these are.
    #[pyo3(signature = (_memo=None, /), text_signature = "($self, memo=None, /)")]
    fn __deepcopy__<'py>(&self, py: Python<'py>, _memo: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, Self>> {
        self.duplicate(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let Ok(nbytes) = self.nbytes(py) else { return "<MemList, freed>".into() };
        let protected = if self.is_protected() { ", protected" } else { "" };
        format!("<MemList, {}, {}{protected}>", show_number(self.len(), "block"), show_size(nbytes))
    }

    /// Return the list as an Arrow array of a type of the caller's choice.
    ///
    /// pyarrow, polars and other libraries with the Arrow PyCapsule interface accept it. A list itself is exported as
    /// "binary_view". pyarrow and pandas cannot filter, take or sort views: for these two, use "large_binary" or
    /// "large_string". Views copy no byte of a record and show the read-only mirror; each export makes a table of 16
    /// bytes for each record. Only if the records lie in many places, as in `list[::2]`, are they copied into new
    /// memory of the group. The other types need contiguous records: if there is padding between them, they are copied
    /// once, into a new block of the group. An array counts as a view for as long as its consumer keeps it. The bytes
    /// must not change after the export.
    ///
    /// Args:
    ///     type: "binary_view", "string_view", "large_binary", "large_string", "binary" or "string".
    ///
    /// Raises:
    ///     ValueError: There is no such type, or the list is freed. The consumer may raise it, too: a record of a
    ///         string type is not UTF-8, a record is too long, or the group is anonymous.
    #[pyo3(signature = (r#type=Type::default(), /), text_signature = "($self, type='binary_view', /)")]
    fn as_arrow(slf: &Bound<'_, Self>, r#type: Type) -> PyResult<ArrowArray> {
        slf.get().check(slf.py())?;
        Ok(ArrowArray::new(slf, r#type))
    }

    /// The type of the Arrow array that the list is taken as.
    fn __arrow_c_schema__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        arrow::schema_of_list(slf)
    }

    /// The list as an Arrow array; see `as_arrow`.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        slf: &Bound<'py, Self>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        arrow::export_list(slf, Type::default(), requested_schema)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.group())
    }
}
