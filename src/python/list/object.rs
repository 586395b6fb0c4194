//! `MemList`: many allocations from one call as a sequence of blocks.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::IntoPyObjectExt;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyIndexError, PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyMemoryView, PySlice, PyTuple};

use crate::Error;
use crate::fallible;
use crate::layout::DEFAULT_ALIGN;
use crate::list::{Builder, Columns, ListLayout, Part, Span};
use crate::os::iovecs::Call;
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::MemBlock;
use crate::python::block::raw::{Claim, RawBlock, count};
use crate::python::export::arrow::{self, ArrowArray, Type};
use crate::python::export::guard::ExportGuard;
use crate::python::export::pickle;
use crate::python::ffi::arguments;
use crate::python::ffi::memory::has_memory_for_objects;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::text::{plural, show_size};
use crate::python::group::object::MemGroup;
use crate::python::group::state::Runs;
use crate::python::list::column::Column;
use crate::python::stream::pinned::Pinned;
use crate::python::stream::transfer::{self, Moving, Offset, Start};
use crate::scratch::Scratch;
use crate::slot::{LiveSlots, Mirror};

/// The most that an element of `MemList.slots` takes.
const SLOT_BYTES: usize = 256;

/// Many allocations made in one call: a sequence of blocks that compares by content.
///
/// It is held as columns, 16 bytes for each block, or none where all are of one size; a block is made when one is asked for.
/// Slices share the columns. Lists are made by a group's `alloc_many`, `protect` and `unprotect`, and keep their group
/// alive. Every use of a list of a freed group raises ValueError.
#[pyclass(frozen, sequence, module = "memgroup")]
pub(crate) struct MemList {
    group: Py<MemGroup>,
    layout: Arc<ListLayout>,
    part: Part,
    epoch: u64,
    mirror: Mirror,
    /// What `sizes` and `offsets` show, once somebody has asked.
    columns: [PyOnceLock<Py<Column>>; 2],
}

#[pymethods]
impl MemList {
    #[new]
    #[pyo3(signature = (*_args, **_names), text_signature = None)]
    fn refuse(_args: &Bound<'_, PyTuple>, _names: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Err(arguments::made_by_group("MemList", "group.alloc_many(sizes)"))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.check(py)?;
        Ok(self.part.len())
    }

    /// The sum of all sizes, in bytes.
    #[getter]
    pub(crate) fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.access(py, None, self.part.len(), |list| list.nbytes())
    }

    /// Whether the list shows the read-only mirror.
    #[getter]
    fn readonly(&self, py: Python<'_>) -> PyResult<bool> {
        self.check(py)?;
        Ok(self.is_protected())
    }

    /// The size of each block in bytes: a memoryview of unsigned 64-bit integers.
    ///
    /// It is read-only: a copy, made when it is asked for first, and kept with the list.
    #[getter]
    fn sizes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        self.check(py)?;
        let [sizes, _] = &self.columns;
        Column::view(
            sizes.get_or_try_init(py, || Column::sizes(py, &self.layout, self.part).map(Bound::unbind))?.bind(py),
        )
    }

    /// Where each block begins, in bytes: a memoryview of unsigned 64-bit integers.
    ///
    /// They count from the beginning of the first block that `alloc_many` made, as if all of them lay one behind the other
    /// with the padding that alignment takes; within one entry of `slots` they really do. The view is read-only: a copy,
    /// made when it is asked for first, and kept with the list. A slice shows the same numbers as the whole list.
    #[getter]
    fn offsets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        self.check(py)?;
        let [_, starts] = &self.columns;
        Column::view(
            starts.get_or_try_init(py, || Column::starts(py, &self.layout, self.part).map(Bound::unbind))?.bind(py),
        )
    }

    /// Which slots the blocks are in: a tuple of `(slot, start, stop, offset)`.
    ///
    /// The blocks `list[start:stop]` lie in slot number `slot` as `offsets` says, the first of them `offset` bytes from the
    /// slot's beginning.
    #[getter]
    fn slots<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let slots = self.access(py, None, 0, |list| list.slots())??;
        has_memory_for_objects(slots.len().saturating_mul(SLOT_BYTES))?;
        PyTuple::new(py, slots)
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if let Ok(slice) = key.cast::<PySlice>() {
            let range = slice.indices(this.part.len() as isize)?;
            this.check(py)?;
            let part = this.part.part(range.start.max(0) as usize, range.step, range.slicelength);
            return Ok(this.with_part(py, part)?.into_any());
        }
        let index = arguments::integer(key, "list indices must be integers or slices")?;
        let len = this.part.len();
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
        Bound::new(slf.py(), Blocks { list: slf.clone().unbind(), next: AtomicUsize::new(0) })
    }

    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Blocks>> {
        let this = slf.get();
        this.check(slf.py())?;
        let len = this.part.len();
        Self::__iter__(&this.with_part(slf.py(), this.part.part(len.saturating_sub(1), -1, len))?)
    }

    /// Whether a block has just the bytes of `value`, any bytes-like object.
    fn __contains__(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find(py, value, 0, self.part.len())?.is_some())
    }

    /// Return the index of the first block in `self[start:stop]` with just the bytes of `value`.
    ///
    /// Raises:
    ///     ValueError: There is none.
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
        let len = self.part.len() as isize;
        let bound = |bound: Option<&Bound<'_, PyAny>>, otherwise| match bound {
            None => Ok(otherwise),
            Some(bound) => arguments::integer(bound, "start and stop must be integers")
                .map(|at| if at < 0 { at.saturating_add(len).max(0) } else { at.min(len) }),
        };
        let (start, stop) = (bound(start, 0)?, bound(stop, len)?);
        let found = self.find(py, value, start as usize, (stop - start).max(0) as usize)?;
        found.ok_or_else(|| PyValueError::new_err("no block of the list has these bytes"))
    }

    /// Return how many blocks have just the bytes of `value`, any bytes-like object.
    fn count(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.check(py)?;
        let Some(value) = self.bytes_like(value)? else { return Ok(0) };
        self.access(py, Some(&value), self.many(value.len()), |list| {
            // SAFETY: the value is there, and each index is less than the length.
            (0..list.part.len()).filter(|&at| unsafe { list.has(at, list.other) }).count()
        })
    }

    /// Scatter the bytes of `data`, any bytes-like object, into the blocks, in order.
    ///
    /// Where `data` shows bytes of the list itself, the result is as if it had been copied before.
    ///
    /// Raises:
    ///     TypeError: The list is protected, or `data` has no bytes.
    ///     ValueError: There are not exactly `nbytes` bytes in `data`.
    ///     MemoryError: `data` shows bytes of the list itself, and there is no memory for a copy.
    fn fill_from(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_writable(py)?;
        let from = BytesLike::of(data, &self.group)?;
        let nbytes = self.nbytes(py)?;
        if from.len() != nbytes {
            return Err(Error::Length { nbytes, given: from.len() }.into());
        }
        let from = from.in_order(py, self.group.get())?;
        // SAFETY: from is there, the list is writable, and they are equally long.
        self.access(py, Some(&from), nbytes, |list| unsafe { list.fill_from(list.other) })?.map_err(|error| match error
        {
            Error::Unlocked { .. } => error.into(),
            _ => PyMemoryError::new_err(format!(
                "no memory for a copy of {nbytes} bytes that overlap the list: pass fewer at once"
            )),
        })
    }

    /// Gather the bytes of all blocks, in order, into one new writable block of the group.
    ///
    /// Raises:
    ///     MemoryError: As the group's `alloc`.
    pub(crate) fn join<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MemBlock>> {
        let nbytes = self.nbytes(py)?;
        let group = self.group.bind(py);
        let joined = group.get().alloc_raw(py, nbytes, DEFAULT_ALIGN)?;
        let to = joined.bytes();
        // SAFETY: joined is there, writable, and has as many bytes as the list.
        self.access_claimed(py, Some(joined.claim()), nbytes, move |list| unsafe { list.gather_into(to) })?;
        MemBlock::new(group, joined, Mirror::ReadWrite)
    }

    /// Fill the blocks, in order, from a file, pipe or socket, until they are full or the input ends.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`; what such an object has buffered is passed
    ///         over.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were read: fewer than there is room for at the end of the input.
    ///
    /// Raises:
    ///     TypeError: The list is protected, or `fd` no descriptor.
    ///     ValueError: `start` is negative or beyond the list, or the list is freed.
    ///     BlockingIOError: The descriptor does not wait, and there is no more now.
    ///     TimeoutError: `fd` is a socket, and its timeout is over.
    ///     OSError: The system refused. What is raised, by a signal handler too, has as its
    ///         `characters_written` how many bytes were moved before.
    #[pyo3(signature = (fd, /, *, start=Start::default()), text_signature = "($self, fd, /, *, start=0)")]
    fn readv(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, fd, Call::Read, start)
    }

    /// Fill the blocks, in order, from `offset` of a file on; its position stays as it is.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`.
    ///     offset: Where in the file the first byte comes from.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were read: fewer than there is room for at the end of the file.
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
    ///     fd: A file descriptor, or an object with `fileno()`; flush what such an object has buffered
    ///         before.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were written: all from `start` on.
    ///
    /// Raises:
    ///     TypeError: `fd` is no descriptor.
    ///     ValueError: `start` is negative or beyond the list, or the list is freed.
    ///     BlockingIOError: The descriptor does not wait, and takes no more now.
    ///     TimeoutError: `fd` is a socket, and its timeout is over.
    ///     OSError: The system refused. What is raised, by a signal handler too, has as its
    ///         `characters_written` how many bytes were moved before.
    #[pyo3(signature = (fd, /, *, start=Start::default()), text_signature = "($self, fd, /, *, start=0)")]
    fn writev(&self, py: Python<'_>, fd: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, fd, Call::Write, start)
    }

    /// Write the bytes of all blocks, in order, from `offset` of a file on; its position stays as it is.
    ///
    /// Args:
    ///     fd: A file descriptor, or an object with `fileno()`.
    ///     offset: Where in the file the first byte goes to.
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
    /// From a socket that knows messages (SOCK_DGRAM, SOCK_SEQPACKET) it takes exactly one.
    ///
    /// Args:
    ///     sock: A socket, or its descriptor.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were received.
    ///
    /// Raises:
    ///     OSError: As `readv`; with EMSGSIZE where a message was longer than the list, and its rest is lost.
    ///     TypeError, ValueError: As `readv`; an SSL socket is a TypeError.
    #[pyo3(signature = (sock, /, *, start=Start::default()), text_signature = "($self, sock, /, *, start=0)")]
    fn recvmsg_into(&self, py: Python<'_>, sock: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, sock, Call::Receive, start)
    }

    /// Send the bytes of all blocks, in order, through a socket.
    ///
    /// One that knows messages (SOCK_DGRAM, SOCK_SEQPACKET) gets them as one.
    ///
    /// Args:
    ///     sock: A socket, or its descriptor.
    ///     start: Byte of the list to begin at, as if its blocks were one.
    ///
    /// Returns:
    ///     How many bytes were sent: all from `start` on.
    ///
    /// Raises:
    ///     OSError: As `writev`; with EMSGSIZE where it cannot be one message.
    ///     TypeError, ValueError: As `writev`; an SSL socket is a TypeError.
    #[pyo3(signature = (sock, /, *, start=Start::default()), text_signature = "($self, sock, /, *, start=0)")]
    fn sendmsg(&self, py: Python<'_>, sock: &Bound<'_, PyAny>, start: Start) -> PyResult<usize> {
        transfer::transfer(py, self, sock, Call::Send, start)
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
        self.with_part(py, self.part)
    }

    /// New blocks of the group with the same bytes, protected if these are.
    #[pyo3(signature = (_memo=None, /), text_signature = "($self, memo=None, /)")]
    fn __deepcopy__<'py>(&self, py: Python<'py>, _memo: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, Self>> {
        self.duplicate(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let Ok(nbytes) = self.nbytes(py) else { return "<MemList, freed>".into() };
        let protected = if self.is_protected() { ", protected" } else { "" };
        let len = self.part.len();
        format!("<MemList, {len} block{} of {}{protected}>", plural(len), show_size(nbytes))
    }

    /// Return the list as an Arrow array of a type of the caller's choice.
    ///
    /// For pyarrow, polars and whatever else takes the Arrow PyCapsule interface. A list itself is taken as
    /// one of "binary_view". Views copy no byte of a record and show the read-only mirror; for them a table
    /// of 16 bytes for each record is made each time. Only records of a list that lie in many places (every
    /// second one of another list, say) are copied together before, into new memory of the group. The other
    /// types want all records in one stretch: where they do not adjoin (padding lies between them, or empty
    /// records), they are copied once, into a new block of the group. An array counts as a view for as long
    /// as its consumer keeps it. The bytes must not change any more.
    ///
    /// Args:
    ///     type: "binary_view", "string_view", "large_binary", "large_string", "binary" or "string".
    ///
    /// Raises:
    ///     ValueError: There is no such type, or the list is freed. What takes the array may raise it too: a
    ///         record is not UTF-8 (of the strings), or too long, or the group is anonymous.
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
        visit.call(&self.group)
    }
}

impl MemList {
    /// A list of new blocks.
    pub(crate) fn of<'py>(group: &Bound<'py, MemGroup>, columns: Columns, zero: bool) -> PyResult<Bound<'py, Self>> {
        let py = group.py();
        let Runs { runs, epoch } = group.get().alloc_many_raw(py, &columns)?;
        let list = Self::new(group, ListLayout::new(columns, runs), epoch);
        if zero {
            // SAFETY: the list is writable.
            list.access(py, None, list.layout.columns().extent(), |list| unsafe { list.clear() })?;
        }
        Bound::new(py, list)
    }

    /// A list of what is placed already.
    pub(crate) fn of_placed<'py>(
        group: &Bound<'py, MemGroup>,
        layout: ListLayout,
        epoch: u64,
    ) -> PyResult<Bound<'py, Self>> {
        Bound::new(group.py(), Self::new(group, layout, epoch))
    }

    fn new(group: &Bound<'_, MemGroup>, layout: ListLayout, epoch: u64) -> Self {
        let part = Part::all(layout.columns().len());
        let (group, layout) = (group.clone().unbind(), Arc::new(layout));
        Self { group, layout, part, epoch, mirror: Mirror::ReadWrite, columns: [PyOnceLock::new(), PyOnceLock::new()] }
    }

    /// What input and output move.
    pub(crate) fn moving(&self) -> Moving {
        Moving { layout: Arc::clone(&self.layout), part: self.part, mirror: self.mirror }
    }

    /// Keeps the bytes in place, if they are still there.
    pub(crate) fn pin(&self, py: Python<'_>) -> PyResult<Pinned<'_>> {
        Pinned::new(py, self.group.get(), self.claim(), &self.layout)
    }

    pub(crate) fn group(&self) -> &Py<MemGroup> {
        &self.group
    }

    pub(crate) fn mirror(&self) -> Mirror {
        self.mirror
    }

    pub(crate) fn columns(&self) -> &Columns {
        self.layout.columns()
    }

    /// What the list lies in, through its own mirror, if it skips no objects of another.
    pub(crate) fn stretches(&self, py: Python<'_>) -> PyResult<Option<Vec<Stretch>>> {
        let (epoch, mirror) = (self.epoch, self.mirror);
        self.access(py, None, 0, |list| {
            let Some(stretches) = list.layout.stretches(list.part)? else { return Ok(None) };
            let stretches = stretches.into_iter().map(|(first, span)| {
                // SAFETY: the span is of the list.
                let bytes = unsafe { list.bytes(span) };
                let address = NonNull::new(bytes.start).unwrap_or(NonNull::dangling());
                Stretch { first, piece: RawBlock { address, len: span.len, slot: span.slot, epoch } }
            });
            debug_assert_eq!(list.mirror, mirror);
            fallible::collect(stretches).map(Some)
        })?
        .map_err(Error::into)
    }

    /// What `sizes` and `offsets` show, in copies of the caller's own.
    pub(crate) fn table<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyMemoryView>; 2]> {
        let (sizes, starts) =
            (Column::sizes(py, &self.layout, self.part)?, Column::starts(py, &self.layout, self.part)?);
        Ok([Column::view(&sizes)?, Column::view(&starts)?])
    }

    /// Makes sure that what lies between the objects can go where they go; false if it belongs to others.
    pub(crate) fn clear_gaps(&self, py: Python<'_>) -> PyResult<bool> {
        self.access(py, None, self.many(1), |list| {
            // SAFETY: the slots are those of the list, which is mapped while it is there.
            unsafe { list.layout.clear_gaps(list.slots, list.part) }
        })
    }

    /// Copies the bytes of all blocks, in order, to where there is room for `nbytes`.
    ///
    /// # Safety
    /// There must be, and the list have as many.
    pub(crate) unsafe fn gather_into(&self, py: Python<'_>, to: *mut u8, nbytes: usize) -> PyResult<()> {
        let to = Bytes::new(to, nbytes);
        // SAFETY: the caller's promise.
        self.access(py, None, nbytes, move |list| unsafe { list.gather_into(to) })
    }

    /// New blocks with the same bytes, through the same mirror.
    fn duplicate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        let new = self.copied(py, self.columns().align())?;
        if self.is_protected() { Self::through(self.group.bind(py), &new, Mirror::ReadOnly) } else { Ok(new) }
    }

    /// New writable blocks with the same bytes, one behind the other.
    pub(crate) fn packed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        self.copied(py, 1)
    }

    /// New writable blocks with the same bytes, at multiples of `align`.
    fn copied<'py>(&self, py: Python<'py>, align: usize) -> PyResult<Bound<'py, Self>> {
        self.check(py)?;
        let group = self.group.bind(py);
        let columns = match self.columns().uniform_sizes() {
            Some((size, _)) => Columns::uniform(self.part.len(), size, align, group.get().largest(py))?,
            None => {
                let mut builder = Builder::new(align, group.get().largest(py));
                let sizes = (0..self.part.len()).map(|at| self.columns().size(self.part.object(at)));
                builder.extend(sizes).map_err(Error::from)?;
                builder.finish()
            }
        };
        let new = Self::of(group, columns, false)?;
        let copy = new.get();
        let (layout, part, mirror) = (&*copy.layout, copy.part, copy.mirror);
        self.access_claimed(py, Some(copy.claim()), self.many(16).saturating_add(layout.columns().nbytes()), |list| {
            let to = Objects { layout, part, mirror, ..*list };
            for (from, into) in list.layout.objects(list.part).zip(layout.objects(part)) {
                // SAFETY: the one is of this list, the other of the new one, which was found there with it.
                let (from, into) = (unsafe { list.bytes(from) }, unsafe { to.bytes(into) });
                // SAFETY: both are mapped, the new one is writable, and its objects are as long.
                unsafe { into.copy_from(from) };
            }
        })?;
        Ok(new)
    }

    /// Lends the slots of the list to a consumer outside of Python.
    pub(crate) fn lend(&self, py: Python<'_>) -> PyResult<ExportGuard> {
        let slots = crate::list::arrow::slots(&self.layout, self.part);
        // SAFETY: they are the slots of the list.
        unsafe { ExportGuard::new(py, self.group.get(), self.claim(), &slots) }
    }

    /// Works on where the records are, while other Python threads run if they are many.
    pub(crate) fn laid_out<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(LiveSlots<'_>, &ListLayout, Part) -> R + Send,
    ) -> PyResult<R> {
        let many = self.many(16).saturating_add(self.layout.columns().nbytes());
        self.access(py, None, many, |list| work(list.slots, list.layout, list.part))
    }

    /// An error where no read-only mirror is to be had, for what shows nothing else.
    pub(crate) fn check_mirror(&self, py: Python<'_>) -> PyResult<()> {
        match self.group.get().try_with_state(py, |state| Ok(state.group().has_mirror()))? {
            true => Ok(()),
            false => Err(arrow::no_mirror()),
        }
    }

    /// How many blocks there are or, in a freed list, were.
    pub(crate) fn len(&self) -> usize {
        self.part.len()
    }

    /// The same list through a mirror of the caller's choice.
    pub(crate) fn through<'py>(
        group: &Bound<'py, MemGroup>,
        list: &Bound<'py, Self>,
        to: Mirror,
    ) -> PyResult<Bound<'py, Self>> {
        let (py, this) = (group.py(), list.get());
        group.get().check_open(py)?;
        if !this.belongs_to(group.as_unbound()) {
            return Err(Error::Foreign.into());
        }
        let has_mirror = group.get().try_with_state(py, |state| {
            let slots = state.check(this.claim())?;
            let has_mirror = state.group().has_mirror();
            if has_mirror && (this.mirror, to) == (Mirror::ReadWrite, Mirror::ReadOnly) {
                for span in this.layout.extents(this.part) {
                    // SAFETY: the span is of the list that was just found there.
                    count(unsafe { slots.get(span.slot) }.protected(), span.len);
                }
            }
            Ok(has_mirror)
        })?;
        if to == Mirror::ReadOnly && !has_mirror {
            return Err(Error::NoMirror.into());
        }
        Bound::new(py, Self { mirror: to, ..this.shared(py) })
    }

    /// Whether the list is of that group.
    pub(crate) fn belongs_to(&self, group: &Py<MemGroup>) -> bool {
        self.group.is(group)
    }

    /// Whether the bytes are still there: asked before anything else, so that no use of a freed list goes unnoticed.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.group.get().check(py, self.claim())
    }

    fn check_writable(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        match self.is_protected() {
            true => Err(crate::python::stream::transfer::wrong_way()),
            false => Ok(()),
        }
    }

    /// Which block and which byte of it lie so many bytes behind those: never the end of a block, and behind the last one none.
    pub(crate) fn advanced(&self, mut index: usize, mut offset: usize, by: usize) -> (usize, usize) {
        offset = offset.saturating_add(by);
        while index < self.part.len() {
            let size = self.layout.columns().size(self.part.object(index));
            if offset < size {
                return (index, offset);
            }
            offset -= size;
            index += 1;
        }
        (index, 0)
    }

    /// A list exports nothing itself, so a gentle end frees it.
    fn claim(&self) -> Claim {
        Claim { epoch: self.epoch, by_exporter: false }
    }

    fn is_protected(&self) -> bool {
        self.mirror == Mirror::ReadOnly
    }

    fn shared(&self, py: Python<'_>) -> Self {
        let Self { part, epoch, mirror, .. } = *self;
        let (group, layout) = (self.group.clone_ref(py), Arc::clone(&self.layout));
        Self { group, layout, part, epoch, mirror, columns: [PyOnceLock::new(), PyOnceLock::new()] }
    }

    fn with_part<'py>(&self, py: Python<'py>, part: Part) -> PyResult<Bound<'py, Self>> {
        Bound::new(py, Self { part, ..self.shared(py) })
    }

    /// The block at an index, which must be less than the length.
    #[inline]
    fn block<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, MemBlock>> {
        let group = self.group.bind(py);
        let Span { slot, offset, len } = self.layout.object(self.part.object(at));
        let piece = group.get().while_slots_there(py, self.claim(), |slots| {
            // SAFETY: it is a slot of the list.
            let there = unsafe { slots.get(slot) };
            // SAFETY: the objects of a list lie within their slots.
            let address = unsafe { there.address(offset, self.mirror) };
            address.map(|address| RawBlock { address, len, slot, epoch: self.epoch })
        })?;
        MemBlock::new(group, piece.ok_or(Error::NoMirror)?, self.mirror)
    }

    /// Works on the list, and on another operand, if both are still there.
    fn access<R: Send>(
        &self,
        py: Python<'_>,
        other: Option<&BytesLike<'_>>,
        many: usize,
        work: impl FnOnce(&Objects<'_>) -> R + Send,
    ) -> PyResult<R> {
        let bytes = other.map_or(NO_BYTES, BytesLike::bytes);
        self.access_all(py, other.and_then(BytesLike::claim), bytes, many, work)
    }

    /// The same with something else of the group that must be there.
    fn access_claimed<R: Send>(
        &self,
        py: Python<'_>,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(&Objects<'_>) -> R + Send,
    ) -> PyResult<R> {
        self.access_all(py, other, NO_BYTES, many, work)
    }

    fn access_all<R: Send>(
        &self,
        py: Python<'_>,
        claim: Option<Claim>,
        other: Bytes,
        many: usize,
        work: impl FnOnce(&Objects<'_>) -> R + Send,
    ) -> PyResult<R> {
        let (layout, part, mirror) = (&*self.layout, self.part, self.mirror);
        self.group.get().access_slots(py, self.claim(), claim, many, move |slots| {
            work(&Objects { slots, layout, part, mirror, other: { other } })
        })
    }

    /// The bytes of an object, in order, if it has any.
    fn bytes_like<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<BytesLike<'py>>> {
        let bytes = BytesLike::if_lent(value, &self.group)?;
        bytes.map(|bytes| bytes.in_order(value.py(), self.group.get())).transpose()
    }

    /// About how much work it is to look at every block for so many bytes.
    fn many(&self, bytes: usize) -> usize {
        self.part.len().saturating_mul(bytes.max(1))
    }

    /// Index of the first of `len` blocks from `start` on that has just these bytes.
    fn find(&self, py: Python<'_>, value: &Bound<'_, PyAny>, start: usize, len: usize) -> PyResult<Option<usize>> {
        self.check(py)?;
        let Some(value) = self.bytes_like(value)? else { return Ok(None) };
        self.access(py, Some(&value), self.many(value.len()), |list| {
            // SAFETY: the value is there, and the caller says that the indices are less than the length.
            (start..start + len).find(|&at| unsafe { list.has(at, list.other) })
        })
    }

    /// Whether the blocks are equal to the elements of one of Python's lists, which may change meanwhile.
    fn equals_list(&self, other: &Bound<'_, PyList>) -> PyResult<bool> {
        for at in 0..self.part.len() {
            let Ok(element) = other.get_item(at) else { return Ok(false) };
            if !self.block(other.py(), at)?.as_any().eq(element)? {
                return Ok(false);
            }
        }
        Ok(other.len() == self.part.len())
    }

    /// Whether two lists have the same bytes in blocks of the same sizes.
    fn equals(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        other.check(py)?;
        if self.part.len() != other.part.len() {
            return Ok(false);
        }
        if !other.belongs_to(&self.group) {
            // Nobody may hold two groups at once, so each block is borrowed as any bytes-like object is.
            for at in 0..self.part.len() {
                if !self.block(py, at)?.as_any().eq(other.block(py, at)?)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let (layout, part, mirror) = (&*other.layout, other.part, other.mirror);
        let nbytes = self.nbytes(py)?;
        self.access_claimed(py, Some(other.claim()), nbytes.max(part.len()), |list| {
            let theirs = Objects { layout, part, mirror, ..*list };
            let mut pairs = list.layout.objects(list.part).zip(layout.objects(part));
            pairs.all(|(one, two)| {
                if one.len != two.len {
                    return false;
                }
                // SAFETY: the one is of this list, the other of theirs, which was found there with it.
                let (one, two) = (unsafe { list.bytes(one) }, unsafe { theirs.bytes(two) });
                // SAFETY: both are mapped.
                unsafe { one.compare(two) }.is_eq()
            })
        })
    }
}

/// One of the stretches of memory that a list lies in.
pub(crate) struct Stretch {
    /// Index of its first object.
    pub(crate) first: usize,
    pub(crate) piece: RawBlock,
}

const NO_BYTES: Bytes = Bytes { start: std::ptr::dangling_mut(), len: 0 };

/// Some objects of a list that is there, and the bytes of another operand, for work inside the gate.
#[derive(Clone, Copy)]
struct Objects<'a> {
    /// Those that the list lies in.
    slots: LiveSlots<'a>,
    layout: &'a ListLayout,
    part: Part,
    mirror: Mirror,
    other: Bytes,
}

impl Objects<'_> {
    fn nbytes(&self) -> usize {
        let columns = self.layout.columns();
        match self.part == Part::all(columns.len()) {
            true => columns.nbytes(),
            false => (0..self.part.len()).map(|at| columns.size(self.part.object(at))).sum(),
        }
    }

    /// The runs as `MemList.slots` shows them.
    fn slots(&self) -> Result<Vec<(usize, usize, usize, usize)>, Error> {
        let mut slots = Vec::new();
        let mut start = 0;
        while start < self.part.len() {
            let object = self.part.object(start);
            let run = self.layout.run_of(object);
            // How many of the part's objects are left in the run.
            let span = match self.part.step() {
                step if step > 0 => (self.layout.end_of(run) - 1 - object) / step.unsigned_abs(),
                step => (object - self.layout.runs()[run].first) / step.unsigned_abs(),
            };
            let stop = (start + 1 + span).min(self.part.len());
            let Span { slot, offset, .. } = self.layout.object(object);
            // SAFETY: it is a slot of the list.
            let slot = unsafe { self.slots.get(slot) }.index().get();
            fallible::push(&mut slots, (slot, start, stop, offset))?;
            start = stop;
        }
        Ok(slots)
    }

    /// # Safety
    /// The span must be of the list.
    #[inline]
    unsafe fn bytes(&self, span: Span) -> Bytes {
        // SAFETY: the caller's promise.
        let slot = unsafe { self.slots.get(span.slot) };
        // SAFETY: the objects of a list lie within their slots.
        let address = unsafe { slot.address(span.offset, self.mirror) };
        // No list is protected that has no read-only mirror.
        Bytes::new(address.map_or(std::ptr::null_mut(), |address| address.as_ptr()), span.len)
    }

    /// Whether the object at an index has just these bytes.
    ///
    /// # Safety
    /// The bytes must be mapped, and `at` less than the length.
    unsafe fn has(&self, at: usize, bytes: Bytes) -> bool {
        let object = self.part.object(at);
        if self.layout.columns().size(object) != bytes.len {
            return false;
        }
        // SAFETY: it is an object of the list.
        let own = unsafe { self.bytes(self.layout.object(object)) };
        // SAFETY: those of the list are mapped, and the others by the caller's promise.
        unsafe { own.compare(bytes) }.is_eq()
    }

    /// # Safety
    /// The list must be writable.
    unsafe fn clear(&self) {
        for run in 0..self.layout.runs().len() {
            let span = self.layout.span_of(run);
            // SAFETY: it is a slot of the list.
            if !unsafe { self.slots.get(span.slot) }.is_fresh() {
                // SAFETY: the span is of the list.
                let bytes = unsafe { self.bytes(span) };
                // SAFETY: the caller's promise; what lies between the first and the last object of a run is nobody else's.
                unsafe { bytes.clear() };
            }
        }
    }

    /// Copies the bytes of all objects, in order.
    ///
    /// # Safety
    /// There must be room for them, mapped and writable.
    unsafe fn gather_into(&self, to: Bytes) {
        let mut rest = to;
        for span in self.layout.spans(self.part) {
            // SAFETY: the span is of the list.
            let from = unsafe { self.bytes(span) };
            // SAFETY: all spans together are as long as the room, by the caller's promise.
            unsafe { rest.copy_from(from) };
            rest = rest.tail(span.len);
        }
    }

    /// # Safety
    /// `from` must be mapped, the list writable, and `from` have as many bytes.
    unsafe fn fill_from(&self, from: Bytes) -> Result<(), Error> {
        // SAFETY: the slots are those of the list.
        let mut copy = Scratch::<u8>::new(unsafe { self.layout.is_secret(self.slots) });
        let mut rest = match self.overlaps(from) {
            false => from,
            true => {
                copy.reserve(from.len)?;
                let copied = Bytes::new(copy.spare().as_mut_ptr().cast(), from.len);
                // SAFETY: it has just got room for as many bytes.
                unsafe { copied.copy_from(from) };
                copied
            }
        };
        for span in self.layout.spans(self.part) {
            // SAFETY: the span is of the list.
            let to = unsafe { self.bytes(span) };
            // SAFETY: all spans together are as long as from, so rest holds this one.
            unsafe { to.copy_from(rest.part(0, span.len)) };
            rest = rest.tail(span.len);
        }
        Ok(())
    }

    /// Whether bytes are, through whichever mirror, among those of the whole list or the padding between them.
    fn overlaps(&self, bytes: Bytes) -> bool {
        let start = bytes.start.addr();
        (0..self.layout.runs().len()).any(|run| {
            let span = self.layout.span_of(run);
            // SAFETY: it is a slot of the list.
            let slot = unsafe { self.slots.get(span.slot) };
            slot.offset_within(&(start..start + bytes.len))
                .is_some_and(|offset| offset < span.offset + span.len && span.offset < offset + bytes.len)
        })
    }
}

/// Goes through a list block by block.
#[pyclass(frozen, module = "memgroup")]
struct Blocks {
    list: Py<MemList>,
    /// Without a GIL two threads that share an iterator may get the same block, as from a list's own iterator.
    next: AtomicUsize,
}

#[pymethods]
impl Blocks {
    fn __iter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MemBlock>>> {
        let list = self.list.get();
        let at = self.next.load(Ordering::Relaxed);
        if at >= list.part.len() {
            return Ok(None);
        }
        self.next.store(at + 1, Ordering::Relaxed);
        list.block(py, at).map(Some)
    }

    fn __length_hint__(&self) -> usize {
        self.list.get().part.len().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.list)
    }
}
