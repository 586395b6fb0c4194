//! The bytes of a block: indexed, sliced, assigned, compared, copied and shown.

use pyo3::IntoPyObjectExt;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use crate::layout::DEFAULT_ALIGN;
use crate::python::block::bytes_like::{BytesLike, Source};
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::text::plural;
use crate::python::group::raw::LiveBlock;
use crate::scratch::Scratch;
use crate::slot::Mirror;

/// How many bytes a repr shows.
const PREVIEW_BYTES: usize = 32;

impl MemBlock {
    /// `self[key]` for an integer or a slice.
    pub(crate) fn get_item<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if let Some(at) = arguments::plain_integer(key) {
            return this.byte_at(py, at)?.into_bound_py_any(py);
        }
        this.check(py)?;
        let Ok(slice) = key.cast::<PySlice>() else {
            return this.byte_at(py, this.offset_of(key)?)?.into_bound_py_any(py);
        };
        match this.contiguous_range(slice)? {
            Some((start, len)) => Ok(this.part(py, start, len)?.into_any()),
            None => PyMemoryView::from(slf.as_any())?.get_item(key),
        }
    }

    /// The byte at an offset that a negative index was made into already, as CPython does for sequences.
    #[inline(always)]
    pub(crate) fn byte_at(&self, py: Python<'_>, at: isize) -> PyResult<u8> {
        let at = self.within(at);
        // SAFETY: `within` says what is within the block, and access checks that its bytes are there.
        let byte = self.access(py, 1, |bytes| at.map(|at| unsafe { bytes.get(at) }))?;
        byte.ok_or_else(|| self.out_of_range())
    }

    /// Sets the byte at such an offset.
    pub(crate) fn set_byte_at(&self, py: Python<'_>, at: isize, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_writable(py)?;
        let at = self.within(at).ok_or_else(|| self.out_of_range())?;
        let byte = arguments::byte(value)?;
        // SAFETY: `within` checked that at is within the block, access that its bytes are there, and check_writable that
        // they are in the read-write mirror.
        self.access(py, 1, |bytes| unsafe { bytes.set(at, byte) })
    }

    /// `self[key] = value` for an integer or a slice.
    pub(crate) fn set_item(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        this.check_writable(py)?;
        let Ok(slice) = key.cast::<PySlice>() else {
            return this.set_byte_at(py, this.offset_of(key)?, value);
        };
        let range = slice.indices(this.raw().len as isize)?;
        let (start, len) = (range.start as usize, range.slicelength);
        let from = BytesLike::of(value, this.group())?;
        if from.len() != len {
            let given = from.len();
            return Err(PyValueError::new_err(format!(
                "cannot assign {given} bytes to a slice of {len}: a block cannot change its size"
            )));
        }
        if range.step != 1 {
            return this.set_each(py, &from, (0..len as isize).map(|index| range.start + index * range.step));
        }
        let from = from.apart(py, this.group().get())?;
        let (claim, from) = (from.claim(), from.source());
        this.group().get().access(py, this.held(), claim, len, move |to| {
            let from = match from {
                // memmove is safe where ranges of addresses overlap. These may be the same bytes at other addresses.
                Source::InOrder(from) => Source::InOrder(to.in_read_write_mirror(from)),
                apart => apart,
            };
            // SAFETY: both sides are there, as many bytes each, and these writable.
            unsafe { from.copy_to(to.bytes().part(start, len)) }
        })
    }

    /// Sets the bytes at some offsets, all of which are within the block, to those of a bytes-like object that is as
    /// long.
    ///
    /// They are copied before, for they may be the same bytes, of which one would be read after it was set.
    fn set_each(
        &self,
        py: Python<'_>,
        from: &BytesLike<'_>,
        offsets: impl Iterator<Item = isize> + Send,
    ) -> PyResult<()> {
        let len = from.len();
        let mut copy = Scratch::<u8>::zeroed(self.group().get().is_secret(py), len)?;
        let copied = Bytes::new(copy.as_mut_ptr(), len);
        let (claim, from) = (from.claim(), from.source());
        self.group().get().access(py, self.held(), claim, len, move |to| {
            // SAFETY: access has just checked that the bytes-like object is there; the copy is as long, and new.
            unsafe { from.copy_to(copied) };
            for (index, at) in offsets.enumerate() {
                // SAFETY: there are as many offsets as bytes, which were just copied.
                let byte = unsafe { copied.get(index) };
                // SAFETY: access has checked that the block is there; the caller, that it is writable and holds the offsets.
                unsafe { to.bytes().set(at as usize, byte) };
            }
        })
    }

    pub(crate) fn iter<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().check(slf.py())?;
        // SAFETY: slf is a sequence, and alive.
        let iterator = unsafe { ffi::PySeqIter_New(slf.as_ptr()) };
        // SAFETY: it is a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(slf.py(), iterator) }
    }

    /// A copy of the bytes.
    pub(crate) fn tobytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, self.raw().len, |copy| {
            let copy = Bytes::new(copy.as_mut_ptr(), copy.len());
            // SAFETY: access checks that the bytes are there; the copy is as long, and nobody else knows it yet.
            self.access(py, copy.len, move |bytes| unsafe { copy.copy_from(bytes) })
        })
    }

    pub(crate) fn compare<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
        operator: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check(py)?;
        let Some(other) = BytesLike::if_exported(other, self.group())? else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        if matches!(operator, CompareOp::Eq | CompareOp::Ne) && other.len() != self.raw().len {
            return matches!(operator, CompareOp::Ne).into_bound_py_any(py);
        }
        let (len, theirs) = (self.raw().len, other.source());
        let compare = move |block: LiveBlock<'_>| {
            // SAFETY: access has just checked that both are there.
            unsafe { theirs.compared_by(block.bytes()) }
        };
        let order = self.group().get().access(py, self.held(), other.claim(), len, compare)?;
        operator.matches(order).into_bound_py_any(py)
    }

    /// A new block of the group with the same bytes, writable.
    pub(crate) fn copied<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        let group = self.group().bind(py);
        let len = self.raw().len;
        self.check(py)?;
        let copy = group.get().alloc_raw(py, len, DEFAULT_ALIGN)?;
        let to = copy.bytes();
        group.get().access(py, self.held(), Some(copy.claim()), len, move |from| {
            // SAFETY: access has just checked that both are there; the copy is writable, and as long.
            unsafe { to.copy_from(from.bytes()) }
        })?;
        Self::new(group, copy, Mirror::ReadWrite)
    }

    /// A new block of the group with the same bytes, through the same mirror.
    pub(crate) fn duplicate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        let copy = self.copied(py)?;
        if !self.is_protected() {
            return Ok(copy);
        }
        let protected = copy.get().protected(py)?;
        protected.ok_or_else(|| crate::Error::NoMirror.into())
    }

    pub(crate) fn repr(&self, py: Python<'_>) -> PyResult<String> {
        let is_secret = self.group().get().is_secret(py);
        let shown = if is_secret { 0 } else { self.raw().len.min(PREVIEW_BYTES) };
        let preview = PyBytes::new_with(py, shown, |copy| {
            let copy = Bytes::new(copy.as_mut_ptr(), shown);
            // SAFETY: access checks that the block is there; the copy is new and as long as the first bytes that are
            // shown.
            self.access(py, shown, move |bytes| unsafe { copy.copy_from(bytes.part(0, shown)) })
        });
        let Ok(preview) = preview else { return Ok("<MemBlock, freed>".into()) };
        let protected = if self.is_protected() { ", protected" } else { "" };
        let more = if shown < self.raw().len { "..." } else { "" };
        let (len, bytes) = (self.raw().len, plural(self.raw().len));
        if is_secret {
            return Ok(format!("<MemBlock, {len} byte{bytes}{protected}, secret>"));
        }
        Ok(format!("<MemBlock, {len} byte{bytes}{protected}: {}{more}>", preview.repr()?))
    }

    /// Works on the block and on a bytes-like object, if both are still there.
    pub(crate) fn access_with<R: Send>(
        &self,
        py: Python<'_>,
        other: &BytesLike<'_>,
        many: usize,
        work: impl FnOnce(LiveBlock<'_>, Bytes) -> R + Send,
    ) -> PyResult<R> {
        let theirs = other.bytes();
        self.group().get().access(py, self.held(), other.claim(), many, move |live| work(live, theirs))
    }

    /// An index as an offset from the start; still out of range if it was.
    fn offset_of(&self, key: &Bound<'_, PyAny>) -> PyResult<isize> {
        let index = arguments::integer(key, "block indices must be integers or slices")?;
        Ok(if index < 0 { index.saturating_add(self.raw().len as isize) } else { index })
    }

    fn within(&self, at: isize) -> Option<usize> {
        usize::try_from(at).ok().filter(|&at| at < self.raw().len)
    }

    #[cold]
    fn out_of_range(&self) -> PyErr {
        PyIndexError::new_err(format!("index out of range for a block of {} bytes", self.raw().len))
    }

    /// Start and length of a slice, unless it skips bytes.
    fn contiguous_range(&self, slice: &Bound<'_, PySlice>) -> PyResult<Option<(usize, usize)>> {
        let range = slice.indices(self.raw().len as isize)?;
        Ok((range.step == 1).then_some((range.start as usize, range.slicelength)))
    }
}
