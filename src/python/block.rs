//! `MemBlock`: one allocation as a bytes-like object.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyBufferError, PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use pyo3::{IntoPyObjectExt, ffi};

use super::arguments;
use super::group::MemGroup;
use super::life::plural;
use super::operand::{Operand, if_any};
use super::piece::{Held, Piece};
use super::raw::Bytes;
use crate::slot::Mirror;

/// How many bytes a repr shows.
const PREVIEW: usize = 32;

/// One allocation of a group: a bytes-like object, writable unless protected, that compares by content.
///
/// Indexing gives integers; a slice shares the block's bytes. Blocks are made by a group's `alloc`, `copy`, `protect` and
/// `unprotect`, and keep their group alive. Every use of a block of a freed group raises ValueError.
#[pyclass(frozen, sequence, module = "memgroup")]
pub(super) struct MemBlock {
    group: Py<MemGroup>,
    piece: Piece,
    mirror: Mirror,
    /// Whether the block ever gave out its address. It then holds a reference to its slot for as long as it lives: who
    /// took the address (`np.ndarray(buffer=block)`, say) may have kept nothing but the block.
    is_exporter: AtomicBool,
}

impl Drop for MemBlock {
    fn drop(&mut self) {
        if *self.is_exporter.get_mut() {
            // SAFETY: hold_slot took the reference that is given back here.
            unsafe { Arc::decrement_strong_count(self.piece.slot.as_ptr().cast_const()) };
        }
    }
}

#[pymethods]
impl MemBlock {
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.access(py, 0, |bytes| bytes.len)
    }

    /// Size in bytes.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.__len__(py)
    }

    /// Whether the block shows the read-only mirror.
    #[getter]
    fn readonly(&self, py: Python<'_>) -> PyResult<bool> {
        self.access(py, 0, |_| self.is_protected())
    }

    /// Address of the first byte, for C code. It stays reserved for as long as the block lives.
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<usize> {
        self.group.get().while_there(py, self.held(), || self.hold_slot())?;
        Ok(self.piece.address.addr().get())
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        this.check(py)?;
        let Ok(slice) = key.cast::<PySlice>() else {
            let at = this.at(key)?;
            // SAFETY: `at` checked that at is within the block, and access that its bytes are there.
            return this.access(py, 1, |bytes| unsafe { bytes.get(at) })?.into_bound_py_any(py);
        };
        match this.contiguous_range(slice)? {
            Some((start, len)) => Ok(this.part(py, start, len)?.into_any()),
            None => PyMemoryView::from(slf.as_any())?.get_item(key),
        }
    }

    fn __setitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.check_writable(py)?;
        let Ok(slice) = key.cast::<PySlice>() else {
            let at = this.at(key)?;
            let byte = arguments::byte(value)?;
            // SAFETY: `at` checked that at is within the block, access that its bytes are there, and check_writable that
            // they are in the read-write mirror.
            return this.access(py, 1, |bytes| unsafe { bytes.set(at, byte) });
        };
        let Some((start, len)) = this.contiguous_range(slice)? else {
            return PyMemoryView::from(slf.as_any())?.set_item(key, value);
        };
        let from = Operand::of(value, &this.group)?;
        if from.len() != len {
            let given = from.len();
            return Err(PyValueError::new_err(format!(
                "cannot assign {given} bytes to a slice of {len}: a block cannot change its size"
            )));
        }
        let from = from.in_order(py)?;
        let piece = this.piece;
        this.access_with(py, &from, len, move |bytes, from| {
            // memmove is safe where ranges of addresses overlap. These may be the same bytes at other addresses.
            // SAFETY: access_with has just checked that the piece is there.
            let from = unsafe { piece.in_read_write_mirror(from) };
            // SAFETY: both sides are there, as many bytes each, and these writable.
            unsafe { bytes.part(start, len).copy_from(from) }
        })
    }

    fn __delitem__(&self, _key: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("cannot delete bytes of a block: its size is fixed"))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().check(slf.py())?;
        // SAFETY: slf is a sequence, and alive.
        let iterator = unsafe { ffi::PySeqIter_New(slf.as_ptr()) };
        // SAFETY: it is a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(slf.py(), iterator) }
    }

    /// Whether a byte (an integer) or a run of bytes (a bytes-like object) occurs in the block.
    fn __contains__(&self, py: Python<'_>, sub: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find_in(py, sub, 0, self.piece.len)?.is_some())
    }

    /// Offset of the first occurrence of `sub` (a bytes-like object or an integer) in `self[start:end]`, or -1.
    #[pyo3(signature = (sub, start=None, end=None))]
    fn find(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<isize> {
        self.check(py)?;
        let Some((start, len)) = self.span(start, end)? else { return Ok(-1) };
        let found = self.find_in(py, sub, start, len)?;
        Ok(found.map_or(-1, |offset| (start + offset) as isize))
    }

    /// As `find`, but what does not occur is an error.
    ///
    /// Raises:
    ///     ValueError: `sub` does not occur.
    #[pyo3(signature = (sub, start=None, end=None))]
    fn index(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<isize> {
        match self.find(py, sub, start, end)? {
            -1 => Err(PyValueError::new_err("subsection not found")),
            found => Ok(found),
        }
    }

    /// How often `sub` (a bytes-like object or an integer) occurs in `self[start:end]` without overlapping itself.
    #[pyo3(signature = (sub, start=None, end=None))]
    fn count(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        self.check(py)?;
        let needle = Operand::or_byte(sub, &self.group)?;
        let Some((start, len)) = self.span(start, end)? else { return Ok(0) };
        // SAFETY: access_with checks that both are there; the part is within the block.
        self.access_with(py, &needle, len, move |bytes, needle| unsafe { bytes.part(start, len).count(needle) })
    }

    /// A copy of the bytes.
    fn tobytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, self.piece.len, |copy| {
            let copy = Bytes::new(copy.as_mut_ptr(), copy.len());
            // SAFETY: access checks that the bytes are there; the copy is as long, and nobody else knows it yet.
            self.access(py, copy.len, move |bytes| unsafe { copy.copy_from(bytes) })
        })
    }

    fn __richcmp__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
        operator: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check(py)?;
        let Some(other) = if_any(py, Operand::of(other, &self.group))? else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        if matches!(operator, CompareOp::Eq | CompareOp::Ne) && other.len() != self.piece.len {
            return matches!(operator, CompareOp::Ne).into_bound_py_any(py);
        }
        let other = other.in_order(py)?;
        // SAFETY: access_with checks that both are there.
        let order = self.access_with(py, &other, self.piece.len, |bytes, other| unsafe { bytes.compare(other) })?;
        operator.matches(order).into_bound_py_any(py)
    }

    /// Raises TypeError: a copy elsewhere would not be a block of this group.
    fn __reduce__(&self) -> PyResult<()> {
        let remedy = "its bytes live in a group of this process; pass bytes(block)";
        Err(PyTypeError::new_err(format!("cannot pickle or copy a MemBlock: {remedy}")))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let shown = self.piece.len.min(PREVIEW);
        let preview = PyBytes::new_with(py, shown, |copy| {
            let copy = Bytes::new(copy.as_mut_ptr(), shown);
            // SAFETY: as in tobytes, for the first bytes only.
            self.access(py, shown, move |bytes| unsafe { copy.copy_from(bytes.part(0, shown)) })
        });
        let Ok(preview) = preview else { return Ok("<MemBlock, freed>".into()) };
        let protected = if self.is_protected() { ", protected" } else { "" };
        let more = if shown < self.piece.len { "..." } else { "" };
        let (len, bytes) = (self.piece.len, plural(self.piece.len));
        Ok(format!("<MemBlock, {len} byte{bytes}{protected}: {}{more}>", preview.repr()?))
    }

    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        // SAFETY: CPython passes a Py_buffer to be filled; obj must be null where that fails.
        unsafe { (*view).obj = std::ptr::null_mut() };
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE && this.is_protected() {
            return Err(PyBufferError::new_err(READ_ONLY));
        }
        this.add_view(slf.py())?;
        let Bytes { start, len } = this.piece.bytes();
        // SAFETY: the view and the block are alive, and its bytes stay mapped for as long as the block, which the view
        // holds: add_view has seen to that. A length fits, for no slot is larger than 2^46 bytes.
        let filled = unsafe {
            let readonly = c_int::from(this.is_protected());
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast(), len as ffi::Py_ssize_t, readonly, flags)
        };
        if filled != 0 {
            this.group.get().remove_view();
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.group.get().remove_view();
    }
}

const READ_ONLY: &str = "this block is protected: the group's unprotect() gives a writable one";

impl MemBlock {
    #[inline(always)]
    pub(super) fn new<'py>(group: &Bound<'py, MemGroup>, piece: Piece, mirror: Mirror) -> PyResult<Bound<'py, Self>> {
        let block = Self { group: group.clone().unbind(), piece, mirror, is_exporter: AtomicBool::new(false) };
        Bound::new(group.py(), block)
    }

    /// Whether the block is of that group.
    pub(super) fn belongs_to(&self, group: &Py<MemGroup>) -> bool {
        self.group.is(group)
    }

    pub(super) fn piece(&self) -> Piece {
        self.piece
    }

    pub(super) fn mirror(&self) -> Mirror {
        self.mirror
    }

    /// Counts a view, and holds the slot from now on.
    pub(super) fn add_view(&self, py: Python<'_>) -> PyResult<()> {
        let group = self.group.get();
        group.while_there(py, self.held(), || {
            self.hold_slot();
            group.add_view();
        })
    }

    /// Ends a view that [`add_view`](Self::add_view) counted.
    pub(super) fn remove_view(&self) {
        self.group.get().remove_view();
    }

    /// To be called while the slot certainly lives.
    fn hold_slot(&self) {
        if !self.is_exporter.swap(true, Ordering::Relaxed) {
            // SAFETY: slots are made by Arc, and the caller says that this one lives.
            unsafe { Arc::increment_strong_count(self.piece.slot.as_ptr().cast_const()) };
        }
    }

    pub(super) fn held(&self) -> Held {
        Held { piece: self.piece, by_exporter: self.is_exporter.load(Ordering::Relaxed) }
    }

    /// Works on the bytes, if they are still there.
    #[inline(always)]
    fn access<R: Send>(&self, py: Python<'_>, many: usize, work: impl FnOnce(Bytes) -> R + Send) -> PyResult<R> {
        self.group.get().access(py, self.held(), None, many, work)
    }

    /// The same with a second operand.
    fn access_with<R: Send>(
        &self,
        py: Python<'_>,
        other: &Operand,
        many: usize,
        work: impl FnOnce(Bytes, Bytes) -> R + Send,
    ) -> PyResult<R> {
        let theirs = other.bytes();
        self.group.get().access(py, self.held(), other.held(), many, move |bytes| work(bytes, theirs))
    }

    /// Whether the block shows the read-only mirror.
    pub(super) fn is_protected(&self) -> bool {
        self.mirror == Mirror::ReadOnly
    }

    /// Whether the bytes are still there: asked before anything else, so that no use of a freed block goes unnoticed.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.access(py, 0, drop)
    }

    fn check_writable(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        if self.is_protected() { Err(PyTypeError::new_err(READ_ONLY)) } else { Ok(()) }
    }

    /// The block that shares `len` bytes from `start` on. What an exporter is part of must last as long as the exporter.
    pub(super) fn part<'py>(&self, py: Python<'py>, start: usize, len: usize) -> PyResult<Bound<'py, Self>> {
        let part = Self::new(self.group.bind(py), self.piece.part(start, len), self.mirror)?;
        self.group.get().while_there(py, self.held(), || {
            if self.is_exporter.load(Ordering::Relaxed) {
                part.get().hold_slot();
            }
        })?;
        Ok(part)
    }

    fn at(&self, key: &Bound<'_, PyAny>) -> PyResult<usize> {
        let len = self.piece.len;
        let index = arguments::integer(key, "block indices must be integers or slices")?;
        let from_start = if index < 0 { index.saturating_add(len as isize) } else { index };
        let at = usize::try_from(from_start).ok().filter(|&at| at < len);
        at.ok_or_else(|| PyIndexError::new_err(format!("index out of range for a block of {len} bytes")))
    }

    /// Start and length of a slice, unless it skips bytes.
    fn contiguous_range(&self, slice: &Bound<'_, PySlice>) -> PyResult<Option<(usize, usize)>> {
        let range = slice.indices(self.piece.len as isize)?;
        Ok((range.step == 1).then_some((range.start as usize, range.slicelength)))
    }

    /// Start and length of `self[start:end]` where both are within reach, as `bytes.find` has it.
    fn span(
        &self,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(usize, usize)>> {
        let len = self.piece.len as isize;
        let from_start = |at: Option<&Bound<'_, PyAny>>, otherwise| match at {
            None => Ok(otherwise),
            Some(at) => arguments::integer(at, "start and end must be integers")
                .map(|at| if at < 0 { at.saturating_add(len).max(0) } else { at }),
        };
        let start = from_start(start.filter(|at| !at.is_none()), 0)?;
        let end = from_start(end.filter(|at| !at.is_none()), len)?.min(len);
        Ok((start <= end).then_some((start as usize, (end - start) as usize)))
    }

    fn find_in(&self, py: Python<'_>, sub: &Bound<'_, PyAny>, start: usize, len: usize) -> PyResult<Option<usize>> {
        let needle = Operand::or_byte(sub, &self.group)?;
        // SAFETY: access_with checks that both are there; the part is within the block.
        self.access_with(py, &needle, len, move |bytes, needle| unsafe { bytes.part(start, len).find(needle) })
    }
}
