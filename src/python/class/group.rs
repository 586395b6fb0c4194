//! The class `MemGroup`: what Python calls.

use std::ffi::OsString;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};

use crate::list::Columns;
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::MemBlock;
use crate::python::export::{arrow, pickle};
use crate::python::ffi::arguments::{self, Align, Base, Capacity, Count, Limit, Size, flags};
use crate::python::ffi::errors::refused_by_kernel;
use crate::python::ffi::text::{display, show_number, show_size};
use crate::python::group::object::MemGroup;
use crate::python::group::stats::{GroupStats, SlotStats};
use crate::python::list::copying;
use crate::python::list::object::MemList;
use crate::python::list::sizes;
use crate::python::pool::object::{MemPool, Request};
use crate::python::share;
use crate::python::stream::frames;
use crate::python::stream::frames::arguments::ReadAhead;
use crate::python::stream::frames::object::FrameReader;
use crate::python::stream::reads;
use crate::python::view::{borrow, locate};
use crate::slot::Mirror;
use crate::{Backing, Options};

/// How much `frames` reads ahead unless it is told otherwise: what a pipe holds.
const READ_AHEAD: usize = 64 * 1024;

#[pymethods]
impl MemGroup {
    #[new]
    #[pyo3(
        signature = (
            base=Base(crate::DEFAULT_BASE), limit=None, backing=Backing::Memfd, name=None, *, secret=false, huge_pages=true,
            shared=false,
        ),
        text_signature = "(base=65536, limit=None, backing='memfd', name=None, *, secret=False, huge_pages=True, shared=False)",
    )]
    fn new(
        base: Base,
        limit: Option<Limit>,
        backing: Backing,
        #[pyo3(from_py_with = arguments::name)] name: Option<String>,
        #[pyo3(from_py_with = flags::secret)] secret: bool,
        #[pyo3(from_py_with = flags::huge_pages)] huge_pages: bool,
        #[pyo3(from_py_with = flags::shared)] shared: bool,
    ) -> PyResult<Self> {
        let options =
            Options::new().base(base.0).limit(limit.map(|limit| limit.0)).huge_pages(huge_pages).shared(shared);
        let options =
            options.name(name.as_deref().unwrap_or(if secret { "secret" } else { "memgroup" })).secret(secret);
        let group = options.backing(backing.clone()).open().map_err(|error| match backing {
            Backing::Directory(directory) => refused_by_kernel(error, Some(directory.into_os_string())),
            _ => error.into(),
        })?;
        if shared {
            Python::attach(share::register_reducers)?;
        }
        Self::of(group)
    }

    /// Return a list of new blocks with the bytes of many objects.
    ///
    /// Args:
    ///     items: An iterable of bytes-like objects.
    ///     align: Each block's address is a multiple of this power of two, at most 4096.
    ///
    /// Raises:
    ///     TypeError: An item has no bytes, or `items` is one bytes-like object itself.
    ///     ValueError: `align` is no power of two up to 4096, or the group is freed.
    ///     MemoryError: As `alloc`; then nothing is copied.
    #[pyo3(signature = (items, *, align=Align::default()), text_signature = "($self, items, *, align=16)")]
    fn copy_many<'py>(
        slf: &Bound<'py, Self>,
        items: &Bound<'py, PyAny>,
        align: Align,
    ) -> PyResult<Bound<'py, MemList>> {
        copying::copy_many(slf, items, align.0)
    }

    /// Return a new writable block with the bytes of `data`, any bytes-like object.
    ///
    /// Raises:
    ///     TypeError: `data` has no bytes, or `align` is no integer.
    ///     ValueError: `align` is no power of two up to 4096, or the group is freed.
    ///     MemoryError: As `alloc`.
    #[pyo3(signature = (data, *, align=Align::default()), text_signature = "($self, data, *, align=16)")]
    fn copy<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyAny>, align: Align) -> PyResult<Bound<'py, MemBlock>> {
        let py = slf.py();
        let this = slf.get();
        let source = BytesLike::of(data, slf.as_unbound())?;
        let raw = this.alloc_raw(py, source.len(), align.0)?;
        let from = source.source();
        this.access(py, raw.into(), source.claim(), raw.len, move |to| {
            // SAFETY: the source keeps its bytes in place, and the raw block is as long, new and in the read-write mirror.
            unsafe { from.copy_to(to.bytes()) };
            to.note_written();
        })?;
        MemBlock::new(slf, raw, Mirror::ReadWrite)
    }

    /// Return a block that shows the memory of another object, without a copy: writable if the object is.
    ///
    /// The object is kept until the group is reset or ends and, if a block of its memory ever gave out its address,
    /// until that block dies. Its memory counts neither against `limit` nor as committed.
    ///
    /// Args:
    ///     buffer: An object that exports contiguous bytes: a mmap, bytes, a bytearray, an array, an Arrow buffer. If
    ///         its bytes live in this group already, the block shows them there.
    ///
    /// Raises:
    ///     TypeError: `buffer` exports no bytes, or its elements refer to objects.
    ///     ValueError: Its bytes are not contiguous, the group is secret, or it is freed.
    #[pyo3(signature = (buffer, /))]
    fn borrow<'py>(slf: &Bound<'py, Self>, buffer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemBlock>> {
        borrow::borrow(slf, buffer)
    }

    /// Return a list of the records of an Arrow array of bytes or text, without a copy.
    ///
    /// The list shows the array's memory, which the group borrows: it is read-only, and the array is kept until the
    /// group is reset or ends.
    ///
    /// Args:
    ///     array: An object with `__arrow_c_array__` or `__arrow_c_stream__`, such as an array or chunked array of
    ///         pyarrow or a series of polars, of type binary, string, their large and view forms, or fixed-size binary.
    ///
    /// Raises:
    ///     TypeError: `array` is no Arrow array, or its type is another.
    ///     ValueError: A record is null, the group is secret, or it is freed.
    #[pyo3(signature = (array, /))]
    fn from_arrow<'py>(slf: &Bound<'py, Self>, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemList>> {
        arrow::from_arrow(slf, array)
    }

    /// Allocate many writable blocks in one call and return them as a list: all of them, or none.
    ///
    /// The list takes 16 bytes for each block, or none if all have one size.
    ///
    /// Args:
    ///     sizes: Sizes in bytes: a buffer of integers of any type (numpy array, array.array, ...), a sequence or any
    ///         iterable of ints.
    ///     count: Instead of `sizes`: how many blocks of one `size`.
    ///     size: Size in bytes of each of `count` blocks.
    ///     align: Every block's address is a multiple of this power of two, at most 4096.
    ///     zero: Whether to set every byte to 0.
    ///
    /// Raises:
    ///     TypeError: `sizes` are no integers, or both or neither of `sizes` and `count` with `size` are given.
    ///     ValueError: A size is negative, `sizes` has more than one dimension, `align` is no power of two up to 4096,
    ///         or the group is freed.
    ///     MemoryError: As `alloc`; then nothing is allocated.
    #[pyo3(
        signature = (sizes=None, *, count=None, size=None, align=Align::default(), zero=false),
        text_signature = "($self, sizes=None, *, count=None, size=None, align=16, zero=False)",
    )]
    fn alloc_many<'py>(
        slf: &Bound<'py, Self>,
        sizes: Option<&Bound<'py, PyAny>>,
        count: Option<Count>,
        size: Option<Size>,
        align: Align,
        #[pyo3(from_py_with = flags::zero)] zero: bool,
    ) -> PyResult<Bound<'py, MemList>> {
        slf.get().check_open(slf.py())?;
        let columns = match (sizes, count, size) {
            (Some(sizes), None, None) => sizes::columns(slf, sizes, align.0)?,
            (None, Some(count), Some(size)) => Columns::uniform(count.0, size.0, align.0, slf.get().largest(slf.py()))?,
            _ => return Err(PyTypeError::new_err("alloc_many() takes either sizes, or count= and size=")),
        };
        MemList::of(slf, columns, zero)
    }

    /// Return an iterator over the messages of a stream, with a block for each.
    ///
    /// A message is a header that contains the length, a payload and a trailer. The payload has as many bytes as the
    /// length says, plus `adjust`. The block shows the payload; with `skip` it can show the header, too.
    ///
    /// The kernel stores a large message directly in its block; small ones are read ahead, many at once. An unfinished
    /// message counts as a view, so `free` and `reset` refuse meanwhile.
    ///
    /// Args:
    ///     source: A socket, a pipe or another object with `fileno()`, or a descriptor. Or an SSL socket or object, a
    ///         buffered or compressed file, or another object with `recv_into()` or `readinto()`, which then stores
    ///         into the blocks.
    ///     prefix: Bytes of the length: from 1 to 8, unsigned.
    ///     byteorder: "big" (network order) or "little".
    ///     limit: The most bytes of a message, as the block shows it.
    ///     counts_prefix: Whether a length counts its own bytes too.
    ///     read_ahead: The most bytes to read behind the next message; with 0, the rest stays in the stream. A secret
    ///         group reads nothing ahead.
    ///     length: "fixed", or "varint": groups of 7 bits, the least significant first, as in protobuf.
    ///     length_size: The same as `prefix`.
    ///     length_offset: Bytes of the header before the length.
    ///     header: Bytes of the header, if it does not end with the length.
    ///     adjust: The number to add to a length to get the size of the payload: -4 if it counts its own 4 bytes.
    ///     skip: How many bytes of a message are not shown; by default, its header.
    ///     trailer: Bytes behind the payload that are not shown. If a length counts them, `adjust` subtracts them.
    ///     delimiter: Messages have no length, but end with these bytes, which are not shown.
    ///
    /// Raises:
    ///     TypeError: `source` is none of these, or an argument is of the wrong type.
    ///     ValueError: The stream has datagrams or cannot be read, an argument is out of range or does not apply to
    ///         such messages, or the group is freed.
    ///     OSError: The descriptor is closed.
    #[pyo3(
        signature = (source, *, read_ahead=ReadAhead(READ_AHEAD), **description),
        text_signature = "($self, source, *, prefix=4, byteorder='big', limit=16777216, counts_prefix=False, \
            read_ahead=65536, length='fixed', length_size=None, length_offset=0, header=None, adjust=0, skip=None, \
            trailer=0, delimiter=None)",
    )]
    fn frames<'py>(
        slf: &Bound<'py, Self>,
        source: &Bound<'py, PyAny>,
        read_ahead: ReadAhead,
        description: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<FrameReader> {
        FrameReader::new(slf, source, frames::arguments::decoder("frames", description)?, read_ahead)
    }

    /// Read many files whole, each into a block of its own.
    ///
    /// It gets their sizes, allocates the blocks, then reads. A file that grows or shrinks meanwhile is read whole, and
    /// so is a file without a size, as in /proc: up to 64 MiB beyond its size at first.
    ///
    /// Args:
    ///     paths: An iterable of paths: str, bytes or os.PathLike.
    ///     progress: Called with the number of files done and of all, a few times a second and at the end.
    ///
    /// Returns:
    ///     A ReadResult. Its `errors` has the error of each file that cannot be read; the others are read.
    ///
    /// Raises:
    ///     TypeError: `paths` are no paths.
    ///     ValueError: A path contains NUL, or the group is freed.
    ///     MemoryError: The group has no room for all of them; then nothing is read.
    #[pyo3(signature = (paths, /, *, progress=None))]
    fn read_files<'py>(
        slf: &Bound<'py, Self>,
        paths: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        reads::read_files(slf, paths, progress)
    }

    /// Read many ranges of one file, each into a block of its own.
    ///
    /// Ranges that lie close together are read in one call.
    ///
    /// Args:
    ///     file: A path, a file descriptor or an object with `fileno()`, whose position does not change.
    ///     offsets: The offset of each range: integers as `alloc_many` accepts sizes, in any order.
    ///     sizes: The size of each range in bytes.
    ///     progress: Called with the number of ranges done and of all, a few times a second and at the end.
    ///
    /// Returns:
    ///     A ReadResult. Its `errors` has an EOFError for each range beyond the end of the file.
    ///
    /// Raises:
    ///     TypeError: `file` is no file, or the numbers are no integers.
    ///     ValueError: A number is negative, the numbers of offsets and sizes differ, or the group is freed.
    ///     OSError: The file cannot be opened or read at all.
    ///     MemoryError: The group has no room for all of them; then nothing is read.
    #[pyo3(signature = (file, offsets, sizes, /, *, progress=None))]
    fn read_ranges<'py>(
        slf: &Bound<'py, Self>,
        file: &Bound<'py, PyAny>,
        offsets: &Bound<'py, PyAny>,
        sizes: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        reads::read_ranges(slf, file, offsets, sizes, progress)
    }

    /// Return a pool of objects of one size in this group, each with an end of its own.
    ///
    /// Args:
    ///     size: Size of each object in bytes.
    ///     align: Each object's address is a multiple of this power of two, at most 4096.
    ///     zero: Whether to set every byte to 0 in `alloc`.
    ///     capacity: The most objects in use at a time, or None.
    ///     debug: Whether to detect writes to free objects and behind the end of an object.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     ValueError: `size` or `capacity` is negative, `align` no power of two up to 4096, or the group is freed.
    ///     MemoryError: No slot is large enough for an object.
    #[pyo3(
        signature = (size, *, align=Align::default(), zero=false, capacity=None, debug=false),
        text_signature = "($self, size, *, align=16, zero=False, capacity=None, debug=False)",
    )]
    fn pool(
        slf: &Bound<'_, Self>,
        size: Size,
        align: Align,
        #[pyo3(from_py_with = flags::zero)] zero: bool,
        capacity: Option<Capacity>,
        #[pyo3(from_py_with = flags::debug)] debug: bool,
    ) -> PyResult<MemPool> {
        let capacity = capacity.map(|capacity| capacity.0);
        MemPool::new(slf, Request { size: size.0, align: align.0, zero, capacity, debug })
    }

    /// Send an object to the process at the other end of a Unix socket, without a copy.
    ///
    /// The other process calls `recv`. Its object is read-only and shows the same bytes, with later writes, until
    /// `freeze`. A slot's descriptor is sent once over each socket; each later message has little more than 64 bytes.
    /// `reset` reuses sent memory only when every receiver has released it by `send_releases`.
    ///
    /// Args:
    ///     sock: A connected Unix socket, or an object whose `fileno()` is one. Its timeout applies.
    ///     obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory.
    ///
    /// Raises:
    ///     TypeError: `obj` is none of these, its elements refer to objects, or `sock` has no descriptor.
    ///     ValueError: The group was made without `shared=True`, `obj` does not live in it, `sock` is no Unix socket,
    ///         or the group is freed.
    ///     OSError: The socket raises TimeoutError, BlockingIOError, BrokenPipeError or another error.
    ///     MemoryError: Memory that was never written cannot be committed, or there is none for the table of a list.
    #[pyo3(signature = (sock, obj, /))]
    fn send(slf: &Bound<'_, Self>, sock: &Bound<'_, PyAny>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        share::send::send(slf, sock, obj)
    }

    /// Receive the next object that the process at the other end of a Unix socket has sent.
    ///
    /// Waits for it, and copies nothing.
    ///
    /// It is a block, a list, a memoryview or an array, as it was sent. It is read-only, and borrowed by the group
    /// until the group is reset or ends. The sender is not trusted: a message that could make a read crash is refused,
    /// and the next call receives the message behind it.
    ///
    /// Args:
    ///     sock: A connected Unix socket, or an object whose `fileno()` is one. Its timeout applies.
    ///
    /// Raises:
    ///     TypeError: `sock` has no descriptor.
    ///     ValueError: The message is refused, `sock` is no Unix socket, the group is secret, or it is freed.
    ///     EOFError: The other end was closed.
    ///     ConnectionError: It was closed within a message.
    ///     OSError: The socket raises TimeoutError, BlockingIOError or another error, or there are too many open files.
    ///     ImportError: The object is an array, and numpy is not installed.
    ///     MemoryError: There is no memory for the columns of a list.
    #[pyo3(signature = (sock, /))]
    fn recv<'py>(slf: &Bound<'py, Self>, sock: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        share::receive::receive(slf, sock)
    }

    /// Make the group's memory read-only for this process and every other, for ever.
    ///
    /// It unmaps the read-write mirror and seals the memory (F_SEAL_WRITE), which every receiver can check. All objects
    /// are read-only from then on, and nothing can be allocated until a `reset`.
    ///
    /// Raises:
    ///     BufferError: Memoryviews, arrays, or blocks that ever gave out their address, can still write.
    ///     OSError: Another process, such as a forked child, can still write (EBUSY), or the kernel refuses it.
    ///     ValueError: The group was made without `shared=True`, or it is freed.
    fn freeze(&self, py: Python<'_>) -> PyResult<()> {
        self.make_immutable(py)
    }

    /// Whether the bytes of an object (a block, a list, or anything that exports a buffer) live in this group.
    fn __contains__(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<bool> {
        locate::holds(slf, obj)
    }

    /// Empty the group and keep its memory, warm, for later blocks. All its blocks are freed.
    ///
    /// Slots with live exporters (blocks that ever gave out their address) are set aside unchanged until the last
    /// exporter dies.
    ///
    /// Raises:
    ///     BufferError: There are live views; nothing has changed then.
    ///     ValueError: The group is freed.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.begin_anew(py)
    }

    /// Free all memory in one step. On a freed group it does nothing.
    ///
    /// A slot with a live exporter (a block that ever gave out its address) is set aside until the exporter dies: an
    /// object that holds the address without a view, as `np.ndarray(buffer=block)`, stays valid. Secrets are
    /// overwritten at once.
    ///
    /// Args:
    ///     force: Whether to free memory that live views and exporters show, too; not arrays that numpy allocated
    ///         within `numpy()`, and not borrowed memory. The addresses stay reserved until the views die: an access is
    ///         a crash, and never shows other data.
    ///
    /// Returns:
    ///     How many bytes exporters still hold: usually 0; with `force`, only those of such arrays.
    ///
    /// Raises:
    ///     BufferError: There are live views and `force` is false; nothing is freed then.
    #[pyo3(signature = (force=false))]
    fn free(&self, py: Python<'_>, #[pyo3(from_py_with = flags::force)] force: bool) -> PyResult<usize> {
        self.give_back(py, force)
    }

    fn __enter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> PyResult<&'a Bound<'py, Self>> {
        slf.get().check_open(slf.py())?;
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        _exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.end(py);
    }

    /// Return the group's figures; after a `with` block, those of memory that views and exporters keep.
    ///
    /// Raises:
    ///     ValueError: The group is freed.
    fn stats(&self, py: Python<'_>) -> PyResult<GroupStats> {
        let (stats, held, protected, receivers) = self.try_with_state(py, |state| {
            let (stats, held) = state.stats(py)?;
            Ok((stats, held, state.protected().collect::<Vec<_>>(), state.receivers().collect::<Vec<_>>()))
        })?;
        let slots = stats.slots.into_iter().zip(protected.iter().zip(receivers));
        let slots =
            slots.map(|(slot, (&protected, receivers))| Bound::new(py, SlotStats::new(slot, protected, receivers)));
        let slots = slots.collect::<PyResult<Vec<_>>>()?;
        Ok(GroupStats {
            slots: PyTuple::new(py, slots)?.unbind(),
            requested: self.requested(),
            allocated: stats.allocated,
            committed: stats.committed,
            huge: stats.huge,
            huge_obstacle: stats.huge_obstacle.map(|obstacle| obstacle.to_string()),
            mapped: stats.mapped,
            protected: protected.into_iter().fold(0, usize::saturating_add),
            blocks: self.blocks(),
            exports: self.uses().views(),
            held,
            borrowed: stats.borrowed,
        })
    }

    /// The group's name.
    #[getter]
    fn get_name(&self, py: Python<'_>) -> String {
        self.name(py)
    }

    /// Size of the first slot in bytes.
    #[getter]
    fn base(&self, py: Python<'_>) -> usize {
        self.with_state(py, |state| state.group().base())
    }

    /// The most bytes the group may commit, or None.
    #[getter]
    fn limit(&self, py: Python<'_>) -> Option<usize> {
        self.with_state(py, |state| state.group().limit())
    }

    /// Where the memory comes from: "memfd", "anonymous" or a directory.
    #[getter]
    fn backing(&self, py: Python<'_>) -> OsString {
        self.with_state(py, |state| match state.group().backing() {
            // As it is: its name need not be UTF-8.
            Backing::Directory(directory) => directory.clone().into_os_string(),
            backing => backing.describe().into(),
        })
    }

    /// Whether the group's memory is locked in RAM, left out of core dumps, and overwritten at the end.
    #[getter]
    fn secret(&self, py: Python<'_>) -> bool {
        self.is_secret(py)
    }

    /// Whether `send` can hand the group's objects to other processes.
    #[getter]
    fn shared(&self, py: Python<'_>) -> bool {
        self.with_state(py, |state| state.group().is_shared())
    }

    /// Whether no process can write to the group's memory, because of `freeze`.
    #[getter]
    fn frozen(&self) -> bool {
        self.is_frozen()
    }

    /// Whether the group has ended, gently or not.
    #[getter]
    fn freed(&self, py: Python<'_>) -> bool {
        self.with_state(py, |state| !state.is_open())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = self.name(py);
        let (is_open, stats) = self.with_state(py, |state| (state.is_open(), state.stats(py)));
        let Ok((stats, held)) = stats else { return format!("<MemGroup {name:?}, freed>") };
        if !is_open {
            let held = if held > 0 { format!(" but for {}", show_size(held)) } else { String::new() };
            return format!("<MemGroup {name:?}, freed{held}>");
        }
        let backing = self.with_state(py, |state| {
            let group = state.group();
            let kind = if group.is_secret() {
                ", secret"
            } else if group.is_shared() {
                ", shared"
            } else {
                ""
            };
            group.backing().describe() + kind + if self.is_frozen() { ", frozen" } else { "" }
        });
        let borrowed =
            if stats.borrowed > 0 { format!("{} borrowed, ", show_size(stats.borrowed)) } else { String::new() };
        format!(
            "<MemGroup {name:?}, {backing}: {}, {}, in {}, {} committed, {borrowed}{}>",
            show_number(self.blocks(), "block"),
            show_size(self.requested()),
            show_number(stats.slots.len(), "slot"),
            show_size(stats.committed),
            show_number(self.uses().views(), "view"),
        )
    }

    /// What rich shows: a map of the slots.
    fn __rich__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        display(slf.as_any(), "as_rich")
    }

    /// Return a map of the slots for Jupyter.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        display(slf.as_any(), "as_html")
    }

    /// Raises TypeError: blocks and lists can be pickled, their group cannot.
    fn __reduce__(&self) -> PyResult<()> {
        Err(pickle::no_copy_of_a_group())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit_lenders(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.end(py);
    }
}
