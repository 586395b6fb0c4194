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
    ///     MemoryError: As `alloc`. All are copied or none.
    #[pyo3(signature = (items, *, align=Align::default()), text_signature = "($self, items, *, align=16)")]
    fn copy_many<'py>(
        slf: &Bound<'py, Self>,
        items: &Bound<'py, PyAny>,
        align: Align,
    ) -> PyResult<Bound<'py, MemList>> {
        copying::copy_many(slf, items, align.0)
    }

    /// Return a writable block with the same bytes as `data`, any bytes-like object.
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
        // SAFETY: the source keeps its bytes in place, and the raw block is as long, new and in the read-write mirror.
        this.access(py, raw.into(), source.claim(), raw.len, move |to| unsafe { from.copy_to(to.bytes()) })?;
        MemBlock::new(slf, raw, Mirror::ReadWrite)
    }

    /// Return a block that shows the memory of another object, without a copy: writable if the object is.
    ///
    /// The object is kept until the group is reset or ends and, if a block of its memory ever gave out its address, until
    /// that block dies. Its memory counts neither against `limit` nor as committed.
    ///
    /// Args:
    ///     buffer: Anything that exports its bytes in one piece: a mmap, bytes, a bytearray, an array, an Arrow buffer. What
    ///         lives in this group already is shown where it is.
    ///
    /// Raises:
    ///     TypeError: `buffer` exports no bytes, or its elements refer to objects.
    ///     ValueError: Its bytes do not lie one behind the other, the group is secret, or it is freed.
    #[pyo3(signature = (buffer, /))]
    fn borrow<'py>(slf: &Bound<'py, Self>, buffer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemBlock>> {
        borrow::borrow(slf, buffer)
    }

    /// Return a list of the records of an Arrow array of bytes or text, without a copy.
    ///
    /// The list shows the array's memory, which the group borrows: it is read-only, and the array is kept until the group is
    /// reset or ends.
    ///
    /// Args:
    ///     array: Anything with `__arrow_c_array__` or `__arrow_c_stream__`, as arrays and chunked arrays of pyarrow and
    ///         series of polars: binary, string, their large and view forms, or binary of a fixed size.
    ///
    /// Raises:
    ///     TypeError: `array` is no Arrow array, or one of another type.
    ///     ValueError: A record is null, the group is secret, or it is freed.
    #[pyo3(signature = (array, /))]
    fn from_arrow<'py>(slf: &Bound<'py, Self>, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemList>> {
        arrow::from_arrow(slf, array)
    }

    /// Return many writable blocks from one call: all of them are allocated, or none.
    ///
    /// The list takes 16 bytes for each block, or none where all are of one size.
    ///
    /// Args:
    ///     sizes: Sizes in bytes: a buffer of integers of any type (numpy array, array.array, ...), a
    ///         sequence or any iterable of ints.
    ///     count: Instead of `sizes`: how many blocks of one `size`.
    ///     size: Size in bytes of each of `count` blocks.
    ///     align: Every block's address is a multiple of this power of two, at most 4096.
    ///     zero: Whether to set every byte to 0.
    ///
    /// Raises:
    ///     TypeError: `sizes` are no integers, or not exactly one of `sizes` and `count` with `size` is
    ///         given.
    ///     ValueError: A size is negative, `sizes` has more than one dimension, `align` is no power of two up
    ///         to 4096, or the group is freed.
    ///     MemoryError: More than the group can hold, than `limit`, or than the kernel gives. The group stays
    ///         usable, and nothing is allocated.
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

    /// Return the messages of a stream, told apart by their lengths: an iterator of blocks, one for each.
    ///
    /// A message is a header, which has the length in it, a payload and a trailer. The payload has as many
    /// bytes as the length says, plus `adjust`. The block shows the payload; `skip` may add the header.
    ///
    /// A large message goes from the kernel straight into its block; small ones are read ahead, many at once.
    /// The group must not be freed or reset while a message is unfinished, which counts as a view.
    ///
    /// Args:
    ///     source: A socket, a pipe or anything else with `fileno()`, or a descriptor. Or an SSL socket or
    ///         object, a buffered or compressed file, or anything else with `recv_into()` or `readinto()`:
    ///         its own method stores into the blocks.
    ///     prefix: Bytes of the length: from 1 to 8, unsigned.
    ///     byteorder: "big" (network order) or "little".
    ///     limit: Bytes of the largest message to be received, as far as it is shown.
    ///     counts_prefix: Whether a length counts its own bytes too.
    ///     read_ahead: The most bytes to read behind the message that is wanted; with 0, the stream is left
    ///         just there. A secret group reads nothing ahead.
    ///     length: "fixed", or "varint": groups of 7 bits, the least significant first, as protobuf has them.
    ///     length_size: The same as `prefix`.
    ///     length_offset: Bytes of the header before the length.
    ///     header: Bytes of the header, if it does not end with the length.
    ///     adjust: What to add to a length for the size of the payload: -4 if it counts its own 4 bytes.
    ///     skip: How many bytes of a message are not shown; its header, unless this is given.
    ///     trailer: Bytes behind the payload that are not shown. If a length counts them, `adjust`
    ///         subtracts them.
    ///     delimiter: Messages have no length, but end with these bytes, which are not shown.
    ///
    /// Raises:
    ///     TypeError: `source` is none of these, or an argument is of the wrong type.
    ///     ValueError: The stream is one of datagrams or not read, an argument is out of range or has no
    ///         meaning for such messages, or the group is freed.
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
    /// First their sizes are asked, then room is made for all, then they are read. A file that has become
    /// longer or shorter by the time that it is read is whole all the same, and so is one that announces no
    /// size, as those of /proc: up to 64 MiB beyond what was announced.
    ///
    /// Args:
    ///     paths: An iterable of paths: str, bytes or os.PathLike.
    ///     progress: Called with the number of files done and of all, a few times a second and at the end.
    ///
    /// Returns:
    ///     A ReadResult. What cannot be read is one of its `errors` and ends nothing.
    ///
    /// Raises:
    ///     TypeError: `paths` are no paths.
    ///     ValueError: A path contains NUL, or the group is freed.
    ///     MemoryError: There is no room for all of them; nothing is read then.
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
    /// Those that lie close together are read in one call.
    ///
    /// Args:
    ///     file: A path, a file descriptor or an object with `fileno()`; the position of the latter stays as
    ///         it is.
    ///     offsets: Where each range begins: integers in any form that `alloc_many` takes sizes in, and any
    ///         order.
    ///     sizes: How long each range is, in bytes.
    ///     progress: Called with the number of ranges done and of all, a few times a second and at the end.
    ///
    /// Returns:
    ///     A ReadResult. A range that the file ends before or in is an EOFError among its `errors`.
    ///
    /// Raises:
    ///     TypeError: `file` is no file, or the numbers are no integers.
    ///     ValueError: A number is negative, there are not as many offsets as sizes, or the group is freed.
    ///     OSError: The file cannot be opened or read at all.
    ///     MemoryError: There is no room for all of them; nothing is read then.
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
    ///     debug: Whether to detect writes to free objects and behind the end of one.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     ValueError: `size` or `capacity` is negative, `align` no power of two up to 4096, or the group is freed.
    ///     MemoryError: No slot can ever hold an object.
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

    /// Hand an object to the process at the other end of a Unix socket, which takes it by `recv`: no copy.
    ///
    /// What arrives is read-only, and shows the same bytes: what is written to them later the other process sees, until
    /// `freeze`. A slot's descriptor goes over a socket once; each later message has 64 bytes and a few more. `reset` uses
    /// memory that was sent again when every receiver has said by `send_releases` that it is done.
    ///
    /// Args:
    ///     sock: A connected Unix socket, or anything else with `fileno()` that is one. The socket's timeout holds.
    ///     obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory.
    ///
    /// Raises:
    ///     TypeError: `obj` is none of these, its elements refer to objects, or `sock` has no descriptor.
    ///     ValueError: The group was made without `shared=True`, `obj` does not live in it, `sock` is no Unix
    ///         socket, or the group is freed.
    ///     OSError: The socket refuses it: TimeoutError, BlockingIOError, BrokenPipeError and others.
    ///     MemoryError: What of the memory was never touched cannot be committed, or the table of a list.
    #[pyo3(signature = (sock, obj, /))]
    fn send(slf: &Bound<'_, Self>, sock: &Bound<'_, PyAny>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        share::send::send(slf, sock, obj)
    }

    /// Receive the next object that the process at the other end of a Unix socket has sent.
    ///
    /// Waits for it, and copies nothing.
    ///
    /// It is a block, a list, a memoryview or an array, as it was sent; read-only, and borrowed by the group until this is
    /// reset or ends. Nothing is taken on trust: what could make reading it a crash is refused, and the next message is the
    /// one behind it.
    ///
    /// Args:
    ///     sock: A connected Unix socket, or anything else with `fileno()` that is one. The socket's timeout holds.
    ///
    /// Raises:
    ///     TypeError: `sock` has no descriptor.
    ///     ValueError: What came is refused, `sock` is no Unix socket, the group is secret, or it is freed.
    ///     EOFError: The other end was closed.
    ///     ConnectionError: It was closed in the midst of a message.
    ///     OSError: The socket refuses it (TimeoutError, BlockingIOError and others), or there are too many open files.
    ///     ImportError: What came is an array, and numpy is not installed.
    ///     MemoryError: There is no memory for the columns of a list.
    #[pyo3(signature = (sock, /))]
    fn recv<'py>(slf: &Bound<'py, Self>, sock: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        share::receive::receive(slf, sock)
    }

    /// Make the group's memory what nobody can write to any more, in this process or another, for ever.
    ///
    /// The read-write mirror is given up and the memory sealed (F_SEAL_WRITE), which every process that has it can check. All
    /// objects are read-only from then on, and nothing can be allocated until a `reset`.
    ///
    /// Raises:
    ///     BufferError: Memoryviews, arrays or blocks that ever gave out their address can still write.
    ///     OSError: Another process, such as a forked child, can still write (EBUSY), or the kernel refuses it.
    ///     ValueError: The group was made without `shared=True`, or it is freed.
    fn freeze(&self, py: Python<'_>) -> PyResult<()> {
        self.make_immutable(py)
    }

    /// Whether the bytes of an object (a block, a list, or anything that exports a buffer) live in this group.
    fn __contains__(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<bool> {
        locate::holds(slf, obj)
    }

    /// Empty the group and keep its memory, warm, for what comes next. Blocks from before are freed.
    ///
    /// Slots with live exporters (blocks that ever gave out their address) are set aside untouched until the
    /// last dies.
    ///
    /// Raises:
    ///     BufferError: There are live views; nothing has changed then.
    ///     ValueError: The group is freed.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.begin_anew(py)
    }

    /// Free all memory in one shot. Freeing a freed group does nothing.
    ///
    /// A slot with a live exporter (a block that ever gave out its address) is set aside until the exporter dies: what holds
    /// the address without a view, as `np.ndarray(buffer=block)` does, stays valid. Secrets are overwritten at once.
    ///
    /// Args:
    ///     force: Free also what live views and exporters show, but for what numpy allocated within `numpy()` and what is
    ///         borrowed. Their addresses stay reserved without access until they die: using one is a crash, never somebody
    ///         else's data.
    ///
    /// Returns:
    ///     How many bytes exporters still hold: 0 as a rule, and with `force` but for such arrays.
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

    /// Return what the group holds; after a `with` block, the memory that views and exporters keep.
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

    /// Whether what it holds is locked in memory, left out of core dumps, and overwritten at the end.
    #[getter]
    fn secret(&self, py: Python<'_>) -> bool {
        self.is_secret(py)
    }

    /// Whether other processes may be given what it holds, by `send`.
    #[getter]
    fn shared(&self, py: Python<'_>) -> bool {
        self.with_state(py, |state| state.group().is_shared())
    }

    /// Whether nobody can write to what it holds.
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

    /// Return what Jupyter shows: a map of the slots.
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
