//! `MemGroup` for Python: allocation, protection, and the end of a group.

use std::convert::Infallible;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::io::framing::{ByteOrder, Format};
use crate::layout::DEFAULT_ALIGN;
use crate::list::Columns;
use crate::os::fork::{self, PerProcess};
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::MemBlock;
use crate::python::block::raw::{Claim, Held, LiveBlock, RawBlock, count};
use crate::python::export::pickle;
use crate::python::ffi::arguments::{self, Align, Base, Count, Limit, Size, flags};
use crate::python::ffi::errors::refused_by_kernel;
use crate::python::group::lock::GroupLock;
use crate::python::group::protect;
use crate::python::group::state::{GroupState, LetGo, Refusal, Runs, Unavailable, plural};
use crate::python::group::stats::{GroupStats, SlotStats, look, show_size};
use crate::python::list::object::MemList;
use crate::python::list::sizes;
use crate::python::stream::frames::{FrameReader, Prefix, ReadAhead};
use crate::python::stream::reads::{self, ReadResult};
use crate::slot::{LiveSlots, Mirror};
use crate::{Backing, Options};

/// Work on this many bytes lets other Python threads run meanwhile.
const DETACH_ABOVE_BYTES: usize = 256 * 1024;

/// Bytes of the largest message that `frames` receives unless it is told otherwise: what looks like a longer one is more often
/// a stream of another kind.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// How much `frames` reads ahead unless it is told otherwise: what a pipe holds.
const READ_AHEAD: usize = 64 * 1024;

/// A group of allocations that share one end: memory is handed out and freed in one shot, never singly.
///
/// Its memory is up to 32 slots, slot i of `base << i` bytes, each mapped twice: read-write and read-only. Protecting a
/// block is handing out its address in the read-only mirror. As a context manager the group ends gently: memory that a
/// memoryview or array still uses stays valid until that is gone.
///
/// Args:
///     base: Size of the first slot in bytes, rounded up to whole pages.
///     limit: The most bytes the group may commit, or None.
///     backing: Where the memory comes from: "memfd", "anonymous" (nothing can be protected), or a directory for
///         unlinked temporary files, by a path that is resolved now.
///     name: Shown in `repr`, in messages and in /proc/PID/maps (where memory kept from another group keeps its name).
///     secret: Whether what the group holds is locked in memory, left out of core dumps, and overwritten with zeros
///         when the group is reset, freed or ends.
///
/// Raises:
///     TypeError: An argument is of the wrong type.
///     ValueError: `base` is 0, negative or absurd, `limit` negative, `name` unusable, or `backing` a directory for
///         secrets.
///     OSError: `backing` names a directory that is missing or cannot be written to.
#[pyclass(frozen, weakref, module = "memgroup")]
pub(crate) struct MemGroup {
    lock: GroupLock<GroupState>,
    /// Shared with what outlives the group: memory lent to consumers that know nothing of Python.
    views: Arc<AtomicUsize>,
    /// Views that no object but a call of this process has: a child has none of its parent's threads, so none of theirs.
    pins: PerProcess<AtomicUsize>,
    blocks: Tally,
    requested: Tally,
}

/// A count that only attached threads inside the gate raise.
#[derive(Default)]
struct Tally(AtomicUsize);

impl Tally {
    #[inline(always)]
    fn add(&self, more: usize) {
        count(&self.0, more);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[pymethods]
impl MemGroup {
    #[new]
    #[pyo3(
        signature = (base=Base(crate::DEFAULT_BASE), limit=None, backing=Backing::Memfd, name=None, *, secret=false),
        text_signature = "(base=65536, limit=None, backing='memfd', name=None, *, secret=False)",
    )]
    fn new(
        base: Base,
        limit: Option<Limit>,
        backing: Backing,
        #[pyo3(from_py_with = arguments::name)] name: Option<String>,
        #[pyo3(from_py_with = flags::secret)] secret: bool,
    ) -> PyResult<Self> {
        let options = Options::new().base(base.0).limit(limit.map(|limit| limit.0));
        let options =
            options.name(name.as_deref().unwrap_or(if secret { "secret" } else { "memgroup" })).secret(secret);
        let group = options.backing(backing.clone()).open().map_err(|error| match backing {
            Backing::Directory(directory) => refused_by_kernel(error, Some(directory.into_os_string())),
            _ => error.into(),
        })?;
        Ok(Self {
            lock: GroupLock::new(GroupState::new(group))?,
            views: Arc::default(),
            pins: PerProcess::new(AtomicUsize::new(0)).map_err(crate::os::Refusal::in_preparation)?,
            blocks: Tally::default(),
            requested: Tally::default(),
        })
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
        let piece = this.alloc_raw(py, source.len(), align.0)?;
        let from = source.source();
        // SAFETY: the source keeps its bytes in place, and the piece is as long, new and in the read-write mirror.
        this.access(py, piece.into(), source.claim(), piece.len, move |to| unsafe { from.copy_to(to.bytes()) })?;
        MemBlock::new(slf, piece, Mirror::ReadWrite)
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

    /// Return the length-prefixed messages of a stream: an iterator of blocks, one for each message.
    ///
    /// A large message goes from the kernel straight into its block; small ones are read ahead, many at once.
    /// The group must not be freed or reset while a message is unfinished, which counts as a view.
    ///
    /// Args:
    ///     source: A socket, a pipe or anything else with `fileno()`, or a descriptor. What objects have in
    ///         buffers of their own (`socket.makefile()`, `Popen` without `bufsize=0`) is not seen.
    ///     prefix: Bytes of the length before each message: 1, 2, 4 or 8, unsigned.
    ///     byteorder: "big" (network order) or "little".
    ///     limit: Bytes of the largest message to be received.
    ///     counts_prefix: Whether a length counts its own prefix too.
    ///     read_ahead: The most bytes to read behind the message that is wanted; with 0, the stream is left
    ///         just there.
    ///
    /// Raises:
    ///     TypeError: `source` has no descriptor, or an argument is of the wrong type.
    ///     ValueError: The stream is one of messages (datagrams), an argument is out of range, or the group
    ///         is freed.
    ///     OSError: The descriptor is closed.
    #[pyo3(
        signature = (
            source, *, prefix=Prefix(4), byteorder=ByteOrder::Big, limit=Limit(MESSAGE_LIMIT), counts_prefix=false,
            read_ahead=ReadAhead(READ_AHEAD),
        ),
        text_signature = "($self, source, *, prefix=4, byteorder='big', limit=16777216, counts_prefix=False, \
            read_ahead=65536)",
    )]
    fn frames<'py>(
        slf: &Bound<'py, Self>,
        source: &Bound<'py, PyAny>,
        prefix: Prefix,
        byteorder: ByteOrder,
        limit: Limit,
        #[pyo3(from_py_with = flags::counts_prefix)] counts_prefix: bool,
        read_ahead: ReadAhead,
    ) -> PyResult<FrameReader> {
        let format = Format { width: prefix.0, order: byteorder, counts_prefix, limit: limit.0 };
        FrameReader::new(slf, source, format, read_ahead)
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
    ) -> PyResult<ReadResult> {
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
    ) -> PyResult<ReadResult> {
        reads::read_ranges(slf, file, offsets, sizes, progress)
    }

    /// Return the same bytes through the read-only mirror: no system call, any size.
    ///
    /// Args:
    ///     obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the
    ///         result is of the same kind, shape, strides and format.
    ///
    /// Raises:
    ///     TypeError: `obj` is none of these, or its elements refer to objects.
    ///     ValueError: It does not live in this group, the group is anonymous, or it is freed.
    #[pyo3(signature = (obj, /))]
    fn protect<'py>(slf: &Bound<'py, Self>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        protect::through(slf, obj, Mirror::ReadOnly)
    }

    /// Return the same bytes through the read-write mirror.
    ///
    /// Args:
    ///     obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the
    ///         result is of the same kind, shape, strides and format.
    ///
    /// Raises:
    ///     TypeError: `obj` is none of these, or its elements refer to objects.
    ///     ValueError: It does not live in this group, or the group is freed.
    #[pyo3(signature = (obj, /))]
    fn unprotect<'py>(slf: &Bound<'py, Self>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        protect::through(slf, obj, Mirror::ReadWrite)
    }

    /// Whether the bytes of an object (a block, a list, or anything that exports a buffer) live in this group.
    fn __contains__(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<bool> {
        protect::holds(slf, obj)
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
        let reset = |life: &mut GroupState| {
            let let_go = life.reset(py, self.views())?;
            self.blocks.clear();
            self.requested.clear();
            Ok(let_go)
        };
        self.let_go(py, reset, drop).map_err(|refusal: Refusal| refusal.error(&self.name(py)))
    }

    /// Free all memory in one shot. Freeing a freed group does nothing.
    ///
    /// A slot with a live exporter (a block that ever gave out its address) is set aside until the exporter dies: what holds
    /// the address without a view, as `np.ndarray(buffer=block)` does, stays valid. Secrets are overwritten at once.
    ///
    /// Args:
    ///     force: Free also what live views and exporters show, but for what numpy allocated within `numpy()`. Their addresses
    ///         stay reserved without access until they die: using one is a crash, never somebody else's data.
    ///
    /// Returns:
    ///     How many bytes exporters still hold: 0 as a rule, and with `force` but for such arrays.
    ///
    /// Raises:
    ///     BufferError: There are live views and `force` is false; nothing is freed then.
    #[pyo3(signature = (force=false))]
    fn free(&self, py: Python<'_>, #[pyo3(from_py_with = flags::force)] force: bool) -> PyResult<usize> {
        let held = self.let_go(py, |life| life.free(py, self.views(), force), LetGo::give_back);
        held.map_err(|refusal| refusal.error(&self.name(py)))
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
        let Ok(()) = self.let_go(py, |life| Ok::<_, Infallible>(life.end(py)), drop);
    }

    /// Return what the group holds; after a `with` block, the memory that views and exporters keep.
    ///
    /// Raises:
    ///     ValueError: The group is freed.
    fn stats(&self, py: Python<'_>) -> PyResult<GroupStats> {
        let (stats, held, protected) = self.within(py, |life| {
            let (stats, held) = life.stats(py)?;
            Ok((stats, held, life.protected().collect::<Vec<_>>()))
        })?;
        let slots = stats.slots.into_iter().zip(&protected);
        let slots = slots.map(|(slot, &protected)| Bound::new(py, SlotStats::new(slot, protected)));
        let slots = slots.collect::<PyResult<Vec<_>>>()?;
        Ok(GroupStats {
            slots: PyTuple::new(py, slots)?.unbind(),
            requested: self.requested.get(),
            allocated: stats.allocated,
            committed: stats.committed,
            mapped: stats.mapped,
            protected: protected.into_iter().fold(0, usize::saturating_add),
            blocks: self.blocks.get(),
            exports: self.views(),
            held,
        })
    }

    /// The group's name.
    #[getter]
    fn name(&self, py: Python<'_>) -> String {
        self.lock.with(py, |life| life.group().name().to_owned())
    }

    /// Size of the first slot in bytes.
    #[getter]
    fn base(&self, py: Python<'_>) -> usize {
        self.lock.with(py, |life| life.group().base())
    }

    /// The most bytes the group may commit, or None.
    #[getter]
    fn limit(&self, py: Python<'_>) -> Option<usize> {
        self.lock.with(py, |life| life.group().limit())
    }

    /// Where the memory comes from: "memfd", "anonymous" or a directory.
    #[getter]
    fn backing(&self, py: Python<'_>) -> OsString {
        self.lock.with(py, |life| match life.group().backing() {
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

    /// Whether the group has ended, gently or not.
    #[getter]
    fn freed(&self, py: Python<'_>) -> bool {
        self.lock.with(py, |life| !life.is_open())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = self.name(py);
        let (is_open, stats) = self.lock.with(py, |life| (life.is_open(), life.stats(py)));
        let Ok((stats, held)) = stats else { return format!("<MemGroup {name:?}, freed>") };
        if !is_open {
            let held = if held > 0 { format!(" but for {}", show_size(held)) } else { String::new() };
            return format!("<MemGroup {name:?}, freed{held}>");
        }
        let backing = self.lock.with(py, |life| {
            let group = life.group();
            group.backing().describe() + if group.is_secret() { ", secret" } else { "" }
        });
        let (blocks, slots, views) = (self.blocks.get(), stats.slots.len(), self.views());
        format!(
            "<MemGroup {name:?}, {backing}: {blocks} block{} of {} in {slots} slot{}, {} committed, {views} view{}>",
            plural(blocks),
            show_size(self.requested.get()),
            plural(slots),
            show_size(stats.committed),
            plural(views),
        )
    }

    /// What rich shows: a map of the slots.
    fn __rich__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        look(slf.as_any(), "as_rich")
    }

    /// Return what Jupyter shows: a map of the slots.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        look(slf.as_any(), "as_html")
    }

    /// Raises TypeError: blocks and lists can be pickled, their group cannot.
    fn __reduce__(&self) -> PyResult<()> {
        Err(pickle::no_copy_of_a_group())
    }
}

impl MemGroup {
    /// A writable block of `size` bytes, if nothing stands in the way: no error to be raised, no memory to be committed.
    #[inline(always)]
    pub(crate) fn try_alloc_block<'py>(slf: &Bound<'py, Self>, size: usize) -> Option<Bound<'py, MemBlock>> {
        let piece = slf.get().try_alloc(slf.py(), size, DEFAULT_ALIGN)?;
        MemBlock::new(slf, piece, Mirror::ReadWrite).ok()
    }

    /// A writable block of `size` bytes, zeroed if asked for.
    pub(crate) fn alloc<'py>(
        slf: &Bound<'py, Self>,
        size: usize,
        align: usize,
        zero: bool,
    ) -> PyResult<Bound<'py, MemBlock>> {
        let py = slf.py();
        let this = slf.get();
        let piece = this.alloc_raw(py, size, align)?;
        if zero {
            this.clear(py, piece)?;
        }
        MemBlock::new(slf, piece, Mirror::ReadWrite)
    }

    /// Takes bytes for a block and counts them.
    #[inline(always)]
    pub(crate) fn alloc_raw(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<RawBlock> {
        match self.try_alloc(py, size, align) {
            Some(piece) => Ok(piece),
            None => self.alloc_slow(py, size, align),
        }
    }

    /// The same where nothing stands in the way.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, py: Python<'_>, size: usize, align: usize) -> Option<RawBlock> {
        self.lock.with(py, |life| {
            let piece = life.try_alloc(py, size, align)?;
            self.count(size);
            Some(piece)
        })
    }

    /// The same where the chunk will not do.
    #[cold]
    fn alloc_slow(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<RawBlock> {
        if let Some(piece) = self.try_alloc_in_slot(py, size, align)? {
            return Ok(piece);
        }
        // Memory must be committed first: other Python threads run meanwhile.
        let taken = self.lock.detached(py, |life| life.alloc_slow(size, align));
        let piece = match self.unless_gone(py, taken)? {
            Ok(piece) => piece,
            // What a thread has taken ahead meanwhile must be used up before anyone hears of an error.
            Err(error) => return self.try_alloc_in_slot(py, size, align)?.ok_or_else(|| error.into()),
        };
        // Not if the group was reset or freed meanwhile: its figures begin anew then.
        self.within(py, |life| {
            life.check(piece.claim())?;
            self.count(size);
            life.fill_chunk(py);
            Ok(())
        })?;
        Ok(piece)
    }

    fn try_alloc_in_slot(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<Option<RawBlock>> {
        self.within(py, |life| {
            let piece = life.try_alloc_in_slot(py, size, align)?;
            if piece.is_some() {
                self.count(size);
            }
            Ok(piece)
        })
    }

    /// Takes room for the objects of a list and counts them.
    pub(crate) fn alloc_many_raw(&self, py: Python<'_>, columns: &Columns) -> PyResult<Runs> {
        let runs = match self.try_alloc_many(py, columns)? {
            Some(runs) => runs,
            None => {
                let taken = self.lock.detached(py, |life| life.alloc_many_slow(columns));
                match self.unless_gone(py, taken)? {
                    Ok(runs) => runs,
                    // As in alloc_slow.
                    Err(error) => self.try_alloc_many(py, columns)?.ok_or(error)?,
                }
            }
        };
        self.while_slots_there(py, runs.claim(), |_| {
            self.blocks.add(columns.len());
            self.requested.add(columns.nbytes());
        })?;
        Ok(runs)
    }

    fn try_alloc_many(&self, py: Python<'_>, columns: &Columns) -> PyResult<Option<Runs>> {
        self.within(py, |life| life.try_alloc_many(py, columns))
    }

    /// The largest size that can ever be served.
    pub(crate) fn largest(&self, py: Python<'_>) -> usize {
        self.lock.with(py, |life| life.group().largest())
    }

    /// Whether what the group holds is not to be shown.
    pub(crate) fn is_secret(&self, py: Python<'_>) -> bool {
        self.lock.with(py, |life| life.group().is_secret())
    }

    /// Counts a block.
    #[inline(always)]
    pub(crate) fn count(&self, size: usize) {
        self.blocks.add(1);
        self.requested.add(size);
    }

    /// Works on a piece of this group, if it and something else of the group are still there. Work on many bytes lets other
    /// Python threads run; the end of the group waits for it.
    #[inline(always)]
    pub(crate) fn access<R: Send>(
        &self,
        py: Python<'_>,
        held: Held,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(LiveBlock<'_>) -> R + Send,
    ) -> PyResult<R> {
        self.access_slots(py, held.claim(), other, many, move |slots| {
            // SAFETY: the piece is one of this group's, and was just found there.
            work(unsafe { LiveBlock::new(held.piece, slots) })
        })
    }

    /// The same with the slots of a list.
    #[inline(always)]
    pub(crate) fn access_slots<R: Send>(
        &self,
        py: Python<'_>,
        claim: Claim,
        other: Option<Claim>,
        many: usize,
        work: impl FnOnce(LiveSlots<'_>) -> R + Send,
    ) -> PyResult<R> {
        let run = |life: &GroupState| {
            if let Some(other) = other {
                life.check(other)?;
            }
            Ok(work(life.check(claim)?))
        };
        let result = if many < DETACH_ABOVE_BYTES { self.lock.with(py, run) } else { self.lock.detached(py, run) };
        self.unless_gone(py, result)
    }

    /// Short work on the group by an attached thread, with the exception for one that has ended.
    #[inline(always)]
    pub(crate) fn within<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&GroupState) -> Result<R, Unavailable>,
    ) -> PyResult<R> {
        self.unless_gone(py, self.lock.with(py, work))
    }

    #[inline(always)]
    fn unless_gone<R>(&self, py: Python<'_>, result: Result<R, Unavailable>) -> PyResult<R> {
        result.map_err(|gone| gone.error(&self.name(py)))
    }

    /// Sets the bytes of a piece that was just taken to 0, if they are not.
    pub(crate) fn clear(&self, py: Python<'_>, piece: RawBlock) -> PyResult<()> {
        self.access(py, piece.into(), None, piece.len, |piece| {
            if !piece.slot().is_fresh() {
                // SAFETY: the bytes are mapped, and writable: the piece is in the read-write mirror.
                unsafe { piece.bytes().clear() };
            }
        })
    }

    /// An error if a piece or a list of this group is not there any more.
    pub(crate) fn check(&self, py: Python<'_>, claim: Claim) -> PyResult<()> {
        self.while_slots_there(py, claim, |_| ())
    }

    /// Does something while a piece of this group is certainly there.
    #[inline(always)]
    pub(crate) fn while_there<R>(
        &self,
        py: Python<'_>,
        held: Held,
        work: impl FnOnce(LiveBlock<'_>) -> R,
    ) -> PyResult<R> {
        // SAFETY: the piece is one of this group's, and was just found there.
        self.while_slots_there(py, held.claim(), |slots| work(unsafe { LiveBlock::new(held.piece, slots) }))
    }

    /// The same with the slots of a list.
    #[inline(always)]
    pub(crate) fn while_slots_there<R>(
        &self,
        py: Python<'_>,
        claim: Claim,
        work: impl FnOnce(LiveSlots<'_>) -> R,
    ) -> PyResult<R> {
        self.within(py, |life| life.check(claim).map(work))
    }

    /// Does something while memory that the caller holds is certainly mapped; whether it was. For a thread that is detached.
    pub(crate) fn while_mapped(&self, work: impl FnOnce()) -> bool {
        self.lock.with_detached(|life| life.keeps_memory().then(work).is_some())
    }

    pub(crate) fn add_view(&self) {
        self.views.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_view(&self) {
        self.views.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a view of this process alone. Returns the process's generation, for [`remove_pin`](Self::remove_pin).
    pub(crate) fn add_pin(&self) -> u32 {
        // The page that tells processes apart is there since new(), so nothing is refused.
        if let Ok(pins) = self.pins.get_or_make(AtomicUsize::default) {
            pins.fetch_add(1, Ordering::Relaxed);
        }
        fork::generation()
    }

    /// Ends a view that [`add_pin`](Self::add_pin) counted, unless that was before a fork.
    pub(crate) fn remove_pin(&self, generation: u32) {
        if let Some(pins) = self.pins.get().filter(|_| generation == fork::generation()) {
            pins.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn views(&self) -> usize {
        let pins = self.pins.get().map_or(0, |pins| pins.load(Ordering::Relaxed));
        self.views.load(Ordering::Acquire) + pins
    }

    /// The count of views, to be raised and lowered by who must not need the group for it.
    pub(crate) fn shared_views(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.views)
    }

    /// Takes something away from the group and ends it while other threads run. A child has it in its copy of the group, or
    /// not at all: no fork comes in between.
    fn let_go<T: Send, R: Send, E>(
        &self,
        py: Python<'_>,
        take: impl FnOnce(&mut GroupState) -> Result<T, E>,
        end: impl FnOnce(T) -> R + Send,
    ) -> Result<R, E> {
        let (taken, no_fork) = self.lock.exclusive(py, |life| {
            let no_fork = fork::hold_off();
            take(life).map(|taken| (taken, no_fork))
        })?;
        // Whoever forks may have the GIL, so forks go on before this thread waits for it.
        Ok(py.detach(move || {
            let _no_fork = no_fork;
            end(taken)
        }))
    }

    pub(crate) fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.within(py, GroupState::check_open)
    }

    /// The same for a block that was taken back.
    pub(crate) fn uncount(&self, size: usize) {
        self.blocks.add(1_usize.wrapping_neg());
        self.recount(size, 0);
    }

    /// Counts a block that has `size` bytes instead of `before`.
    pub(crate) fn recount(&self, before: usize, size: usize) {
        self.requested.add(size.wrapping_sub(before));
    }

    /// Sees to it that there is memory for what numpy allocates.
    pub(crate) fn open_private(&self, py: Python<'_>) -> PyResult<()> {
        if self.whatever(py, |life| life.private().is_none()) {
            self.lock.exclusive(py, GroupState::open_private)?;
        }
        Ok(())
    }

    /// Short work on the group by an attached thread, whatever has become of it.
    pub(crate) fn whatever<R>(&self, py: Python<'_>, work: impl FnOnce(&GroupState) -> R) -> R {
        self.lock.with(py, work)
    }
}
