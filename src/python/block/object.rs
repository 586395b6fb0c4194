//! `MemBlock`: one allocation as a Python object, and how its memory is reached.
//!
//! What is done with the bytes is in `contents`, `search`, `parts` and `text`, and what Python calls in `class`.

pub(crate) mod life;
mod views;

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{DerefToPyAny, PyType};

use crate::list::layout::Run;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::block_flags::BlockFlags;
use crate::python::group::lease::Lease;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Held, LiveBlock, RawBlock};
use crate::slot::Mirror;

/// One allocation of a group: a bytes-like object, writable unless protected, that compares by content.
///
/// Indexing gives integers; a slice shares the block's bytes. Blocks are made by a group's `alloc`, `copy`, `protect` and
/// `unprotect`, and keep their group alive. Every use of a block of a freed group raises ValueError.
#[repr(C)]
pub(crate) struct MemBlock {
    /// Python's part: the type and the reference count. The rest is never seen by Python.
    head: ffi::PyObject,
    /// The list of weak references, which is Python's too: null if there are none.
    weak_references: AtomicPtr<ffi::PyObject>,
    body: Body,
}

pub(super) struct Body {
    group: Py<MemGroup>,
    raw: RawBlock,
    mirror: Mirror,
    /// Whether the block ever gave out its address, among others. It then holds a reference to its slot for as long as it
    /// lives: who took the address (`np.ndarray(buffer=block)`, say) may have kept nothing but the block.
    flags: BlockFlags,
    /// Whether an array shows the block's bytes and holds it: such an exporter is itself a view, for as long as it lives.
    is_view: AtomicBool,
}

/// What a block was, once it has ended.
pub(super) struct Ended {
    pub(super) was_exporter: bool,
    /// Whether it counted as a view.
    pub(super) was_view: bool,
    /// Whether it was given back to its pool, and held nothing of that any more.
    pub(super) was_released: bool,
}

impl Body {
    #[inline(always)]
    pub(super) fn new(group: &Bound<'_, MemGroup>, raw: RawBlock, mirror: Mirror, is_pooled: bool) -> Self {
        let (flags, is_view) = (BlockFlags::new(is_pooled), AtomicBool::new(false));
        Self { group: group.clone().unbind(), raw, mirror, flags, is_view }
    }

    /// Ends what an exporter has begun. The reference to the group is the caller's.
    #[inline(always)]
    pub(super) fn end(self) -> (Py<MemGroup>, Ended) {
        let Self { group, raw, mirror, flags, is_view } = self;
        let was_given_back = flags.is_given_back();
        let was_exporter = flags.end();
        let was_released = was_given_back && !was_exporter;
        let ended = Ended { was_exporter, was_view: is_view.into_inner(), was_released };
        if ended.was_exporter {
            if mirror == Mirror::ReadWrite {
                group.get().uses().remove_writer();
            }
            if ended.was_view {
                views::remove_view(group.get(), mirror);
            }
            // SAFETY: hold_slot took the reference that is given back here.
            unsafe { Arc::decrement_strong_count(raw.slot.as_ptr().cast_const()) };
        }
        (group, ended)
    }
}

/// Made by the class when the module is initialised.
pub(crate) static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

// SAFETY: the type is made once; it cannot be subclassed, and all its objects are MemBlocks.
unsafe impl PyTypeInfo for MemBlock {
    #[inline(always)]
    fn type_object_raw(py: Python<'_>) -> *mut ffi::PyTypeObject {
        // The module makes the type before anyone can have a group to make a block of.
        let made = TYPE.get(py).unwrap_or_else(|| unreachable!("the module was initialised"));
        made.as_ptr().cast()
    }
}

impl DerefToPyAny for MemBlock {}

/// The Rust side of a block, as pyo3's `get` gives it for a frozen class.
pub(crate) trait Get {
    fn get(&self) -> &MemBlock;
}

impl Get for Bound<'_, MemBlock> {
    #[inline(always)]
    fn get(&self) -> &MemBlock {
        // SAFETY: every object of the type is a MemBlock, and a reference keeps it alive. None is ever changed but through
        // what may be shared.
        unsafe { &*self.as_ptr().cast::<MemBlock>() }
    }
}

impl Get for Py<MemBlock> {
    #[inline(always)]
    fn get(&self) -> &MemBlock {
        // SAFETY: every object of the type is a MemBlock, and a reference keeps it alive. None is ever changed but
        // through what may be shared.
        unsafe { &*self.as_ptr().cast::<MemBlock>() }
    }
}

/// What Python calls.
impl MemBlock {
    #[inline(always)]
    pub(crate) fn len(&self, py: Python<'_>) -> PyResult<usize> {
        self.access(py, 0, |bytes| bytes.len)
    }

    /// Whether the block shows the read-only mirror.
    pub(crate) fn readonly(&self, py: Python<'_>) -> PyResult<bool> {
        self.check(py).map(|()| self.is_protected())
    }

    /// The same bytes through the read-only mirror, if there is one.
    pub(crate) fn protected<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Self>>> {
        let Some(raw) = self.raw_through(py, Mirror::ReadOnly)? else { return Ok(None) };
        self.sharing(py, raw, Mirror::ReadOnly).map(Some)
    }

    /// The same bytes through a mirror of the caller's choice, if there is that mirror.
    pub(crate) fn raw_through(&self, py: Python<'_>, to: Mirror) -> PyResult<Option<RawBlock>> {
        // SAFETY: a block's address lies in the block's mirror.
        self.while_there(py, |live| unsafe { live.move_to(self.body.mirror, to) })
    }
}

impl MemBlock {
    /// Where in an object Python keeps the list of its weak references.
    pub(crate) const WEAK_REFERENCES: usize = std::mem::offset_of!(Self, weak_references);

    /// Whether it is of no pool and has never given out its address, as most blocks.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.body.flags.are_none()
    }

    /// Whether there is a [`Hold`](crate::python::group::lease::Hold) behind it.
    #[inline(always)]
    pub(crate) fn is_pooled(&self) -> bool {
        self.body.flags.is_pooled()
    }

    /// Whether there is one behind it, it was not given back, and never gave out its address.
    #[inline(always)]
    pub(super) fn is_only_pooled(&self) -> bool {
        self.body.flags.is_only_pooled()
    }

    /// Whether it was given back to its pool.
    pub(crate) fn is_given_back(&self) -> bool {
        self.body.flags.is_given_back()
    }

    pub(super) fn flags(&self) -> &BlockFlags {
        &self.body.flags
    }

    /// Whether it has ever given out its address.
    #[inline(always)]
    pub(crate) fn is_exporter(&self) -> bool {
        self.body.flags.is_exporter()
    }

    /// Whether weak references refer to it.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        !self.weak_references.load(Ordering::Relaxed).is_null()
    }

    /// Keeps a pointer where nobody needs the list of weak references any more.
    #[inline(always)]
    pub(super) fn set_link(&self, link: *mut c_void) {
        self.weak_references.store(link.cast(), Ordering::Relaxed);
    }

    /// Takes that pointer. The list of weak references is empty then.
    #[inline(always)]
    pub(super) fn take_link(&self) -> *mut c_void {
        let link = self.weak_references.load(Ordering::Relaxed);
        self.weak_references.store(std::ptr::null_mut(), Ordering::Relaxed);
        link.cast()
    }

    /// The mirror that it shows.
    #[inline(always)]
    pub(crate) fn mirror(&self) -> Mirror {
        self.body.mirror
    }

    /// Whether the block is of that group.
    pub(crate) fn belongs_to(&self, group: &Py<MemGroup>) -> bool {
        self.body.group.is(group)
    }

    #[inline(always)]
    pub(crate) fn group(&self) -> &Py<MemGroup> {
        &self.body.group
    }

    #[inline(always)]
    pub(crate) fn raw(&self) -> RawBlock {
        self.body.raw
    }

    /// The run of a list that begins where the block does.
    pub(crate) fn run(&self, py: Python<'_>) -> PyResult<Run> {
        self.while_there(py, |live| live.run(0))
    }

    fn while_there<R>(&self, py: Python<'_>, work: impl FnOnce(LiveBlock<'_>) -> R) -> PyResult<R> {
        self.body.group.get().while_there(py, self.held(), work)
    }

    #[inline(always)]
    pub(crate) fn held(&self) -> Held {
        Held { raw: self.body.raw, flags: self.body.flags.by_reference() }
    }

    /// Works on the bytes, if they are still there.
    #[inline(always)]
    pub(crate) fn access<R: Send>(
        &self,
        py: Python<'_>,
        many: usize,
        work: impl FnOnce(Bytes) -> R + Send,
    ) -> PyResult<R> {
        self.body.group.get().access(py, self.held(), None, many, move |live| work(live.bytes()))
    }

    /// Whether nobody can write to the bytes where the block shows them.
    #[inline(always)]
    pub(crate) fn is_protected(&self) -> bool {
        self.body.mirror == Mirror::ReadOnly || self.body.group.get().is_frozen()
    }

    /// Whether the bytes are still there: asked before anything else, so that no use of a freed block goes unnoticed.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.access(py, 0, drop)
    }

    pub(crate) fn check_writable(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        if self.is_protected() { Err(PyTypeError::new_err(self.why_read_only(py))) } else { Ok(()) }
    }

    /// Why a protected block cannot be written, and what can.
    #[cold]
    fn why_read_only(&self, py: Python<'_>) -> &'static str {
        match self.while_there(py, |live| live.slot().is_writable()) {
            Ok(false) => {
                "this block shows memory that was borrowed read-only: the group's copy(block) gives a writable one"
            }
            _ if self.body.group.get().is_frozen() => "the group of this block is frozen: its memory cannot be written",
            _ => "this block is protected: the group's unprotect() gives a writable one",
        }
    }

    /// Another lease of the block's object, if it holds one.
    pub(crate) fn lease_while_there(&self, py: Python<'_>) -> PyResult<Option<Lease>> {
        let Some(hold) = self.hold() else { return Ok(None) };
        self.while_there(py, |_| Some(hold.lease().share()))
    }

    /// A block over bytes of the same object, which it holds if this one does.
    #[inline(always)]
    pub(crate) fn over<'py>(&self, py: Python<'py>, raw: RawBlock, mirror: Mirror) -> PyResult<Bound<'py, Self>> {
        if self.is_pooled() {
            return self.over_pooled(py, raw, mirror);
        }
        Self::new(self.body.group.bind(py), raw, mirror)
    }

    #[cold]
    fn over_pooled<'py>(&self, py: Python<'py>, raw: RawBlock, mirror: Mirror) -> PyResult<Bound<'py, Self>> {
        let lease = self.lease_while_there(py)?;
        Self::with_lease(self.body.group.bind(py), raw, mirror, lease)
    }

    /// The block that shares `len` bytes from `start` on. What an exporter is part of must last as long as the exporter.
    pub(crate) fn part<'py>(&self, py: Python<'py>, start: usize, len: usize) -> PyResult<Bound<'py, Self>> {
        self.sharing(py, self.body.raw.part(start, len), self.body.mirror)
    }

    /// The same of a block that was found to be there just now.
    pub(super) fn part_there<'py>(&self, py: Python<'py>, start: usize, len: usize) -> PyResult<Bound<'py, Self>> {
        if self.is_plain() {
            return Self::new(self.body.group.bind(py), self.body.raw.part(start, len), self.body.mirror);
        }
        self.part(py, start, len)
    }

    /// The block that shares a raw block of these bytes, through any mirror.
    #[inline]
    fn sharing<'py>(&self, py: Python<'py>, raw: RawBlock, mirror: Mirror) -> PyResult<Bound<'py, Self>> {
        let sharing = self.over(py, raw, mirror)?;
        // Whoever asks for a part hears that its group has ended, though nobody looks at the bytes yet.
        self.while_there(py, |live| {
            if self.is_exporter() {
                sharing.get().hold_slot(live);
            }
        })?;
        Ok(sharing)
    }
}
