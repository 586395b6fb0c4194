//! `MemGroup` for Python: allocation, protection, and the end of a group.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use pyo3::exceptions::{PyBufferError, PyOSError, PyResourceWarning, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};

use super::arguments::{Align, Base, Limit, Size, Source, checked_name, type_name};
use super::block::MemBlock;
use super::gate::Gate;
use super::raw::Bytes;
use super::stats::{GroupStats, SlotStats};
use super::window;
use crate::slot::{Mirror, Slot};
use crate::{Backing, Error, Options};

/// Work on this many bytes lets other Python threads run meanwhile.
const LONG: usize = 256 * 1024;

/// A group of allocations that share one end: memory is handed out, never taken back singly, and freed in one shot.
///
/// Its memory is up to 32 slots, slot i of `base << i` bytes, each mapped twice: read-write and read-only. Protecting a
/// block is handing out its address in the read-only mirror. As a context manager the group ends gently: what is
/// still looked at stays until nobody looks any more.
///
/// Args:
///     base: Size of the first slot in bytes, rounded up to whole pages.
///     limit: The most bytes the group may commit, or None.
///     backing: Where the memory comes from: "memfd", "anonymous" (nothing can be protected), or a directory for
///         unlinked temporary files.
///     name: Shown in `repr`, in messages and in /proc/PID/maps.
///
/// Raises:
///     TypeError: An argument is of the wrong type.
///     ValueError: `base` is 0, negative or absurd, `limit` negative, or `name` unusable.
///     OSError: `backing` names a directory that is missing or cannot be written to.
#[pyclass(frozen, weakref, module = "memgroup")]
pub(super) struct MemGroup {
    gate: Gate<State>,
    views: AtomicUsize,
    blocks: Tally,
    requested: Tally,
}

/// What the gate guards.
struct State {
    group: crate::MemGroup,
    phase: Phase,
    /// Grows with every reset: a block is good in the era that it was made in.
    era: u32,
    /// Slots that the group has let go and that exporters keep.
    aside: Vec<Weak<Slot>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Ended gently: exporters live on.
    Ended,
    Freed,
}

/// Where a block's bytes are.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// In the mirror that the block shows.
    pub(super) address: NonNull<u8>,
    pub(super) len: usize,
    /// Valid while the era lasts, and beyond it for those who hold a reference.
    pub(super) slot: NonNull<Slot>,
    era: u32,
}

// SAFETY: slots may be shared between threads, and an address is only a number until somebody argues otherwise.
unsafe impl Send for Piece {}
// SAFETY: as for Send.
unsafe impl Sync for Piece {}

impl Piece {
    pub(super) fn bytes(self) -> Bytes {
        Bytes::new(self.address.as_ptr(), self.len)
    }

    /// The `len` bytes from `start` on; they must be within the piece.
    pub(super) fn part(self, start: usize, len: usize) -> Self {
        debug_assert!(start + len <= self.len);
        // SAFETY: start is within the piece or at its end.
        let address = unsafe { self.address.add(start) };
        Self { address, len, ..self }
    }

    /// # Safety
    /// The piece must be there: its era lasts, or somebody holds a reference to the slot.
    unsafe fn slot(&self) -> &Slot {
        // SAFETY: the caller's promise.
        unsafe { self.slot.as_ref() }
    }

    /// The same bytes in another mirror, if there is one.
    ///
    /// # Safety
    /// As for `slot`, and the address must lie in mirror `from`.
    unsafe fn move_to(self, from: Mirror, to: Mirror) -> Option<Self> {
        // SAFETY: the caller's promise.
        let slot = unsafe { self.slot() };
        let address = match (from, to) {
            // SAFETY: the address of a piece lies in the mirror that it was made for.
            (Mirror::ReadWrite, Mirror::ReadOnly) => unsafe { slot.to_read_only(self.address) }?,
            // SAFETY: the same.
            (Mirror::ReadOnly, Mirror::ReadWrite) => unsafe { slot.to_read_write(self.address) },
            _ => self.address,
        };
        Some(Self { address, ..self })
    }
}

/// A piece, and whether its holder is an exporter: what such a one holds outlasts a gentle end.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) piece: Piece,
    pub(super) by_exporter: bool,
}

impl From<Piece> for Held {
    fn from(piece: Piece) -> Self {
        Self { piece, by_exporter: false }
    }
}

/// Why a block or a group cannot be used any more.
#[derive(Clone, Copy)]
pub(super) enum Gone {
    Reset,
    Ended,
    Freed,
}

impl Gone {
    #[cold]
    fn error(self, group: &str) -> PyErr {
        PyValueError::new_err(match self {
            Self::Reset => format!("this block was freed when its group {group:?} was reset: allocate a new one"),
            Self::Ended => format!("the group {group:?} has ended and is freed: use it within its with block"),
            Self::Freed => format!("the group {group:?} is freed: make a new one"),
        })
    }
}

impl State {
    fn check_open(&self) -> Result<(), Gone> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Ended => Err(Gone::Ended),
            Phase::Freed => Err(Gone::Freed),
        }
    }

    /// Whether the bytes of a piece may be touched.
    #[inline(always)]
    fn check(&self, held: Held) -> Result<(), Gone> {
        if self.phase == Phase::Open && self.era == held.piece.era {
            return Ok(());
        }
        match self.phase {
            Phase::Freed => Err(Gone::Freed),
            _ if self.era != held.piece.era => Err(Gone::Reset),
            Phase::Ended if !held.by_exporter => Err(Gone::Ended),
            _ => Ok(()),
        }
    }

    fn piece(&self, taken: crate::group::Taken<'_>, len: usize) -> Piece {
        Piece { address: taken.address, len, slot: taken.slot.into(), era: self.era }
    }

    fn find(&self, addresses: Range<usize>) -> Option<(Piece, Mirror)> {
        let (slot, mirror) = self.group.find(addresses.clone())?;
        let address = slot.address_in(mirror, addresses.start)?;
        Some((Piece { address, len: addresses.len(), slot: slot.into(), era: self.era }, mirror))
    }
}

/// A count that only threads inside the gate raise.
#[derive(Default)]
struct Tally(AtomicUsize);

impl Tally {
    #[inline(always)]
    fn add(&self, _attached: Python<'_>, more: usize) {
        #[cfg(Py_GIL_DISABLED)]
        self.0.fetch_add(more, Ordering::Relaxed);
        // The GIL makes the pair one step, for a fraction of what an atomic addition costs.
        #[cfg(not(Py_GIL_DISABLED))]
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
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
    #[pyo3(signature = (base=Base(crate::DEFAULT_BASE), limit=None, backing=Backing::Memfd, name=None))]
    fn new(base: Base, limit: Option<Limit>, backing: Backing, name: Option<&str>) -> PyResult<Self> {
        let name = checked_name(name.unwrap_or("memgroup"))?;
        let options = Options::new().base(base.0).limit(limit.map(|limit| limit.0)).name(name);
        let group = options.backing(backing.clone()).open().map_err(|error| construction_error(error, &backing))?;
        Ok(Self {
            gate: Gate::new(State { group, phase: Phase::Open, era: 0, aside: Vec::new() })?,
            views: AtomicUsize::new(0),
            blocks: Tally::default(),
            requested: Tally::default(),
        })
    }

    /// A writable block of `n` bytes. Their contents are unspecified unless `zero` is true.
    ///
    /// Args:
    ///     n: Size in bytes; 0 gives an empty block.
    ///     align: The block's address is a multiple of this power of two, at most 4096.
    ///     zero: Whether to set every byte to 0.
    ///
    /// Raises:
    ///     TypeError: `n` or `align` is no integer.
    ///     ValueError: `n` is negative, `align` no power of two up to 4096, or the group is freed.
    ///     MemoryError: More than the group can hold, than `limit`, or than the kernel gives. The group stays usable.
    #[pyo3(signature = (n, *, align=Align::default(), zero=false))]
    fn alloc<'py>(slf: &Bound<'py, Self>, n: Size, align: Align, zero: bool) -> PyResult<Bound<'py, MemBlock>> {
        let py = slf.py();
        let this = slf.get();
        let piece = this.take(py, n.0, align.0)?;
        if zero {
            this.access(py, piece.into(), None, piece.len, move |bytes| {
                // SAFETY: access has just checked that the piece is there.
                if !unsafe { piece.slot() }.is_fresh() {
                    // SAFETY: the bytes are mapped, and writable: the piece is in the read-write mirror.
                    unsafe { bytes.clear() };
                }
            })?;
        }
        MemBlock::new(slf, piece, Mirror::ReadWrite)
    }

    /// A writable block with the same bytes as `data`, any bytes-like object.
    ///
    /// Raises:
    ///     TypeError: `data` has no bytes, or `align` is no integer.
    ///     ValueError, MemoryError: As `alloc`.
    #[pyo3(signature = (data, *, align=Align::default()))]
    fn copy<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyAny>, align: Align) -> PyResult<Bound<'py, MemBlock>> {
        let py = slf.py();
        let this = slf.get();
        let source = Source::of(data)?;
        let from = source.bytes();
        let piece = this.take(py, from.len, align.0)?;
        // SAFETY: the source keeps its bytes in place, and the piece is as long and in the read-write mirror.
        this.access(py, piece.into(), None, from.len, move |bytes| unsafe { bytes.copy_from(from) })?;
        MemBlock::new(slf, piece, Mirror::ReadWrite)
    }

    /// The same bytes through the read-only mirror: no system call, any size.
    ///
    /// Args:
    ///     obj: A MemBlock of this group, or a memoryview of one; the result is of the same kind, shape and format.
    ///
    /// Raises:
    ///     TypeError: `obj` is neither.
    ///     ValueError: It does not live in this group, the group is anonymous, or it is freed.
    fn protect<'py>(slf: &Bound<'py, Self>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::through(slf, obj, Mirror::ReadOnly)
    }

    /// The same bytes through the read-write mirror.
    ///
    /// Args:
    ///     obj: A MemBlock of this group, or a memoryview of one; the result is of the same kind, shape and format.
    ///
    /// Raises:
    ///     TypeError: `obj` is neither.
    ///     ValueError: It does not live in this group, or the group is freed.
    fn unprotect<'py>(slf: &Bound<'py, Self>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::through(slf, obj, Mirror::ReadWrite)
    }

    /// Whether the bytes of an object (a block, or anything that exports a buffer) live in this group.
    fn __contains__(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<bool> {
        let this = slf.get();
        if let Ok(block) = obj.cast::<MemBlock>() {
            this.check_open(slf.py())?;
            let block = block.get();
            return Ok(block.belongs_to(slf) && this.while_there(slf.py(), block.held(), || ()).is_ok());
        }
        match window::Layout::of(obj) {
            Ok(layout) => Ok(this.find(slf.py(), layout.addresses())?.is_some()),
            Err(_) => this.check_open(slf.py()).map(|()| false),
        }
    }

    /// Empties the group and keeps its memory, warm, for what is allocated next. Blocks from before are freed.
    ///
    /// Slots with live exporters (blocks that ever gave out their address) are set aside untouched until the last dies.
    ///
    /// Raises:
    ///     BufferError: There are live views; nothing has changed then.
    ///     ValueError: The group is freed.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.gate
            .exclusive(py, |state| {
                state.check_open().map_err(Refusal::Gone)?;
                self.check_unseen()?;
                state.era = state.era.wrapping_add(1);
                let aside = state.group.rewind();
                state.aside.retain(|slot| slot.strong_count() > 0);
                state.aside.extend(aside.iter().map(Arc::downgrade));
                self.blocks.clear();
                self.requested.clear();
                Ok(aside)
            })
            .map(|aside| py.detach(|| drop(aside)))
            .map_err(|refusal: Refusal| refusal.error(&self.name(py)))
    }

    /// Frees all memory in one shot. Freeing a freed group does nothing.
    ///
    /// Where an exporter (a block that ever gave out its address) still lives, the addresses stay reserved without access
    /// until it dies: using one is a crash, never somebody else's data.
    ///
    /// Args:
    ///     force: Free even what live views show.
    ///
    /// Raises:
    ///     BufferError: There are live views and `force` is false; nothing is freed then.
    #[pyo3(signature = (force=false))]
    fn free(&self, py: Python<'_>, force: bool) -> PyResult<()> {
        let slots = self.gate.exclusive(py, |state| {
            if state.phase != Phase::Freed {
                if !force {
                    self.check_unseen()?;
                }
                state.phase = Phase::Freed;
            }
            let mut slots = state.group.release();
            slots.extend(state.aside.drain(..).filter_map(|slot| slot.upgrade()));
            Ok(slots)
        });
        let slots = slots.map_err(|refusal: Refusal| refusal.error(&self.name(py)))?;
        py.detach(|| {
            for slot in slots.iter().filter(|slot| Arc::strong_count(slot) > 1) {
                // SAFETY: the group has let go of the slot, so nobody bumps it; no Rust reference into group memory is
                // made by this layer, and its raw accesses are over: they hold the gate, or a view that was forced.
                unsafe { slot.revoke() };
            }
            drop(slots);
        });
        Ok(())
    }

    fn __enter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> PyResult<&'a Bound<'py, Self>> {
        slf.get().check_open(slf.py())?;
        Ok(slf)
    }

    fn __exit__<'py>(
        slf: &Bound<'py, Self>,
        exc_type: &Bound<'py, PyAny>,
        _exc_value: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if this.end(py) == 0 {
            return Ok(());
        }
        // A warning may be an error (python -W error), which must not hide what happened in the body.
        match warn_of_views(py, &this.name(py), this.views.load(Ordering::Relaxed)) {
            Err(error) if !exc_type.is_none() => {
                error.write_unraisable(py, Some(slf.as_any()));
                Ok(())
            }
            result => result,
        }
    }

    /// What the group holds: `GroupStats`.
    ///
    /// Raises:
    ///     ValueError: The group is freed.
    fn stats(&self, py: Python<'_>) -> PyResult<GroupStats> {
        let stats = self.gate.with(py, |state| match state.phase {
            Phase::Freed => Err(Gone::Freed),
            _ => Ok(state.stats()),
        });
        let stats = stats.map_err(|gone| gone.error(&self.name(py)))?;
        let slots = stats.slots.into_iter().map(|slot| Bound::new(py, SlotStats::from(slot)));
        let slots = slots.collect::<PyResult<Vec<_>>>()?;
        Ok(GroupStats {
            slots: PyTuple::new(py, slots)?.unbind(),
            requested: self.requested.get(),
            allocated: stats.allocated,
            committed: stats.committed,
            mapped: stats.mapped,
            blocks: self.blocks.get(),
            exports: self.views.load(Ordering::Relaxed),
        })
    }

    /// The group's name.
    #[getter]
    fn name(&self, py: Python<'_>) -> String {
        self.gate.with(py, |state| state.group.name().to_owned())
    }

    /// Size of the first slot in bytes.
    #[getter]
    fn base(&self, py: Python<'_>) -> usize {
        self.gate.with(py, |state| state.group.base())
    }

    /// The most bytes the group may commit, or None.
    #[getter]
    fn limit(&self, py: Python<'_>) -> Option<usize> {
        self.gate.with(py, |state| state.group.limit())
    }

    /// Where the memory comes from: "memfd", "anonymous" or a directory.
    #[getter]
    fn backing(&self, py: Python<'_>) -> String {
        self.gate.with(py, |state| state.group.backing().describe())
    }

    /// Whether the group has ended, gently or not.
    #[getter]
    fn freed(&self, py: Python<'_>) -> bool {
        self.gate.with(py, |state| state.phase != Phase::Open)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (phase, stats) = self.gate.with(py, |state| (state.phase, state.stats()));
        let name = self.name(py);
        if phase != Phase::Open {
            return format!("<MemGroup {name:?}, freed>");
        }
        format!(
            "<MemGroup {name:?}, {}: {} blocks of {} bytes in {} slots, {} bytes committed, {} views>",
            self.backing(py),
            self.blocks.get(),
            self.requested.get(),
            stats.slots.len(),
            stats.committed,
            self.views.load(Ordering::Relaxed),
        )
    }
}

impl State {
    /// What the group holds, with what it has let go and exporters still keep.
    fn stats(&self) -> crate::Stats {
        let mut stats = self.group.stats();
        for slot in self.aside.iter().filter_map(Weak::upgrade) {
            stats.mapped += slot.stats().mapped;
        }
        stats
    }
}

/// Why the end of a group was refused.
enum Refusal {
    Gone(Gone),
    Views(usize),
}

impl Refusal {
    fn error(self, group: &str) -> PyErr {
        match self {
            Self::Gone(gone) => gone.error(group),
            Self::Views(views) => PyBufferError::new_err(format!(
                "the group {group:?} has {views} live view{}: release memoryviews and delete arrays made from its \
                 blocks, or pass force=True to free()",
                plural(views),
            )),
        }
    }
}

impl MemGroup {
    /// Takes bytes for a block and counts them.
    #[inline(always)]
    fn take(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<Piece> {
        let fast = self.gate.with(py, |state| {
            state.check_open()?;
            Ok(state.group.bump(size, align).map(|taken| state.piece(taken, size)))
        });
        let piece = match fast {
            Ok(Some(piece)) => piece,
            Ok(None) => self.take_slowly(py, size, align)?,
            Err(gone) => return Err(Gone::error(gone, &self.name(py))),
        };
        self.blocks.add(py, 1);
        self.requested.add(py, size);
        Ok(piece)
    }

    /// The same where memory must be committed first: other Python threads run meanwhile.
    #[cold]
    fn take_slowly(&self, py: Python<'_>, size: usize, align: usize) -> PyResult<Piece> {
        let taken = self.gate.detached(py, |state| {
            state.check_open()?;
            Ok(state.group.take_slowly(size, align).map(|taken| state.piece(taken, size)))
        });
        Ok(taken.map_err(|gone: Gone| gone.error(&self.name(py)))??)
    }

    /// Works on the bytes of a piece, if they and those of another are still there. Work on many bytes lets other Python
    /// threads run.
    #[inline(always)]
    pub(super) fn access<R: Send>(
        &self,
        py: Python<'_>,
        held: Held,
        other: Option<Held>,
        many: usize,
        work: impl FnOnce(Bytes) -> R + Send,
    ) -> PyResult<R> {
        let run = |state: &State| {
            state.check(held)?;
            other.map_or(Ok(()), |other| state.check(other))?;
            Ok(work(held.piece.bytes()))
        };
        let result = if many < LONG { self.gate.with(py, run) } else { self.gate.detached(py, run) };
        result.map_err(|gone: Gone| gone.error(&self.name(py)))
    }

    /// Where bytes lie in the read-write mirror, if they live in this group; else where they are.
    pub(super) fn in_read_write_mirror(&self, py: Python<'_>, bytes: Bytes) -> PyResult<Bytes> {
        let start = bytes.start.addr();
        let Some((piece, mirror)) = self.find(py, start..start + bytes.len)? else { return Ok(bytes) };
        // SAFETY: find found it in that mirror; whoever passed the bytes keeps them in place, and with them the slot.
        Ok(unsafe { piece.move_to(mirror, Mirror::ReadWrite) }.map_or(bytes, Piece::bytes))
    }

    /// Does something while a piece is certainly there.
    pub(super) fn while_there(&self, py: Python<'_>, held: Held, work: impl FnOnce()) -> PyResult<()> {
        let done = self.gate.with(py, |state| state.check(held).map(|()| work()));
        done.map_err(|gone| gone.error(&self.name(py)))
    }

    pub(super) fn add_view(&self) {
        self.views.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_view(&self) {
        self.views.fetch_sub(1, Ordering::Relaxed);
    }

    fn check_unseen(&self) -> Result<(), Refusal> {
        match self.views.load(Ordering::Relaxed) {
            0 => Ok(()),
            views => Err(Refusal::Views(views)),
        }
    }

    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.gate.with(py, State::check_open).map_err(|gone| gone.error(&self.name(py)))
    }

    /// The gentle end: what exporters hold stays until they die. Says how many views there are.
    fn end(&self, py: Python<'_>) -> usize {
        let slots = self.gate.exclusive(py, |state| {
            if state.phase != Phase::Open {
                return None;
            }
            state.phase = Phase::Ended;
            let slots = state.group.release();
            state.aside.extend(slots.iter().map(Arc::downgrade));
            Some(slots)
        });
        match slots {
            None => 0,
            Some(slots) => {
                py.detach(|| drop(slots));
                self.views.load(Ordering::Relaxed)
            }
        }
    }

    /// A piece of the group as seen through a mirror of the caller's choice.
    fn through<'py>(slf: &Bound<'py, Self>, obj: &Bound<'py, PyAny>, to: Mirror) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(block) = obj.cast::<MemBlock>() {
            return Self::block_through(slf, block, to).map(Bound::into_any);
        }
        if let Ok(view) = obj.cast::<PyMemoryView>() {
            return Self::view_through(slf, view, to).map(Bound::into_any);
        }
        let verb = if to == Mirror::ReadOnly { "protect" } else { "unprotect" };
        Err(PyTypeError::new_err(format!(
            "{verb}() takes a MemBlock or a memoryview, not {}: pass memoryview(object) for other views of a block",
            type_name(obj)
        )))
    }

    fn block_through<'py>(
        slf: &Bound<'py, Self>,
        block: &Bound<'py, MemBlock>,
        to: Mirror,
    ) -> PyResult<Bound<'py, MemBlock>> {
        let (this, block) = (slf.get(), block.get());
        if !block.belongs_to(slf) {
            this.check_open(slf.py())?;
            return Err(Error::Foreign.into());
        }
        let piece = this.gate.with(slf.py(), |state| {
            state.check_open()?;
            state.check(block.held())?;
            // SAFETY: check has just found it there, and a block's piece lies in the block's mirror.
            Ok(unsafe { block.piece().move_to(block.mirror(), to) })
        });
        let piece = piece.map_err(|gone: Gone| gone.error(&this.name(slf.py())))?;
        MemBlock::new(slf, piece.ok_or(Error::NoMirror)?, to)
    }

    fn view_through<'py>(
        slf: &Bound<'py, Self>,
        view: &Bound<'py, PyMemoryView>,
        to: Mirror,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        let layout = window::Layout::of(view)?;
        let (piece, from) = slf.get().find(slf.py(), layout.addresses())?.ok_or(Error::Foreign)?;
        // SAFETY: the view keeps its exporter, and that the slot, for as long as this takes; find found it in `from`.
        let piece = unsafe { piece.move_to(from, to) }.ok_or(Error::NoMirror)?;
        layout.view_of(MemBlock::new(slf, piece, to)?)
    }

    fn find(&self, py: Python<'_>, addresses: Range<usize>) -> PyResult<Option<(Piece, Mirror)>> {
        let found = self.gate.with(py, |state| state.check_open().map(|()| state.find(addresses)));
        found.map_err(|gone| gone.error(&self.name(py)))
    }
}

/// The exception for a group that could not be made: where a directory is to blame, as `open` would put it.
fn construction_error(error: Error, backing: &Backing) -> PyErr {
    match (&error, backing) {
        (Error::Os { errno, .. }, Backing::Directory(directory)) => {
            PyOSError::new_err((*errno as i32, error.to_string(), directory.clone().into_os_string()))
        }
        _ => error.into(),
    }
}

fn warn_of_views(py: Python<'_>, group: &str, views: usize) -> PyResult<()> {
    let message = format!(
        "the group {group:?} ended with {views} live view{}: its memory stays until they are gone",
        plural(views)
    );
    let message = std::ffi::CString::new(message).map_err(|_| PyValueError::new_err("name contains NUL"))?;
    PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &message, 1)
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}
