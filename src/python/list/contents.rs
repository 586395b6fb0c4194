//! The bytes of a list: compared, found, copied, filled and gathered.

use std::ptr::NonNull;

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::Error;
use crate::fallible;
use crate::layout::DEFAULT_ALIGN;
use crate::list::{Builder, Columns, ListLayout, Part};
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::MemBlock;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::raw::RawBlock;
use crate::python::list::live::LiveList;
use crate::python::list::object::MemList;
use crate::slot::{LiveSlots, Mirror};

impl MemList {
    /// The sum of all sizes.
    pub(crate) fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.access(py, None, self.len(), |list| list.nbytes())
    }

    /// The runs as `MemList.slots` shows them.
    pub(crate) fn slot_rows(&self, py: Python<'_>) -> PyResult<Vec<(isize, usize, usize, usize)>> {
        Ok(self.access(py, None, 0, |list| list.slots())??)
    }

    /// How many blocks have just the bytes of `value`.
    pub(crate) fn count_equal(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.check(py)?;
        let Some(value) = self.bytes_like(value)? else { return Ok(0) };
        self.access(py, Some(&value), self.many(value.len()), |list| {
            // SAFETY: the value is there, and each index is less than the length.
            (0..list.part.len()).filter(|&at| unsafe { list.has(at, list.other) }).count()
        })
    }

    /// Scatters the bytes of `data` into the blocks.
    pub(crate) fn fill(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_writable(py)?;
        let from = BytesLike::of(data, self.group())?;
        let nbytes = self.nbytes(py)?;
        if from.len() != nbytes {
            return Err(Error::Length { nbytes, given: from.len() }.into());
        }
        let from = from.in_order(py, self.group().get())?;
        // SAFETY: from is there, the list is writable, and they are equally long.
        self.access(py, Some(&from), nbytes, |list| unsafe { list.fill_from(list.other) })?.map_err(|error| match error
        {
            Error::Unlocked { .. } => error.into(),
            _ => PyMemoryError::new_err(format!(
                "no memory for a copy of {nbytes} bytes that overlap the list: pass fewer at once"
            )),
        })
    }

    /// The bytes of all blocks in one new block of the group.
    pub(crate) fn joined<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, MemBlock>> {
        let nbytes = self.nbytes(py)?;
        let group = self.group().bind(py);
        let joined = group.get().alloc_raw(py, nbytes, DEFAULT_ALIGN)?;
        let to = joined.bytes();
        // SAFETY: joined is there, writable, and has as many bytes as the list.
        self.access_claimed(py, Some(joined.claim()), nbytes, move |list| unsafe { list.gather_into(to) })?;
        MemBlock::new(group, joined, Mirror::ReadWrite)
    }

    /// The bytes of an object, in order, if it has any.
    pub(super) fn bytes_like<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<BytesLike<'py>>> {
        let bytes = BytesLike::if_exported(value, self.group())?;
        bytes.map(|bytes| bytes.in_order(value.py(), self.group().get())).transpose()
    }

    /// Index of the first of `len` blocks from `start` on that has just these bytes.
    pub(crate) fn find_equal(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        start: usize,
        len: usize,
    ) -> PyResult<Option<usize>> {
        self.check(py)?;
        let Some(value) = self.bytes_like(value)? else { return Ok(None) };
        self.access(py, Some(&value), self.many(value.len()), |list| {
            // SAFETY: the value is there while the list is accessed, and the callers pass indices within the list.
            (start..start + len).find(|&at| unsafe { list.has(at, list.other) })
        })
    }

    /// Whether two lists have the same bytes in blocks of the same sizes.
    pub(crate) fn equals(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        other.check(py)?;
        if self.len() != other.len() {
            return Ok(false);
        }
        if !other.belongs_to(self.group()) {
            // Nobody may hold two groups at once, so each block is borrowed as any bytes-like object is.
            for at in 0..self.len() {
                if !self.block(py, at)?.as_any().eq(other.block(py, at)?)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let (layout, part, mirror) = (&**other.layout(), other.part(), other.mirror());
        let nbytes = self.nbytes(py)?;
        self.access_claimed(py, Some(other.claim()), nbytes.max(part.len()), |list| {
            let theirs = LiveList { layout, part, mirror, ..*list };
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

    /// New blocks with the same bytes, through the same mirror.
    pub(crate) fn duplicate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        let new = self.copied(py, self.columns().align())?;
        if self.is_protected() { Self::through(self.group().bind(py), &new, Mirror::ReadOnly) } else { Ok(new) }
    }

    /// New writable blocks with the same bytes, at multiples of `align`.
    pub(super) fn copied<'py>(&self, py: Python<'py>, align: usize) -> PyResult<Bound<'py, Self>> {
        self.check(py)?;
        let group = self.group().bind(py);
        let columns = match self.columns().uniform_sizes() {
            Some((size, _)) => Columns::uniform(self.len(), size, align, group.get().largest(py))?,
            None => {
                let mut builder = Builder::new(align, group.get().largest(py));
                let sizes = (0..self.len()).map(|at| self.columns().size(self.part().object(at)));
                builder.extend(sizes).map_err(Error::from)?;
                builder.finish()
            }
        };
        let new = Self::of(group, columns, false)?;
        let copy = new.get();
        let (layout, part, mirror) = (&**copy.layout(), copy.part(), copy.mirror());
        self.access_claimed(py, Some(copy.claim()), self.many(16).saturating_add(layout.columns().nbytes()), |list| {
            let to = LiveList { layout, part, mirror, ..*list };
            for (from, into) in list.layout.objects(list.part).zip(layout.objects(part)) {
                // SAFETY: the one is of this list, the other of the new one, which was found there with it.
                let (from, into) = (unsafe { list.bytes(from) }, unsafe { to.bytes(into) });
                // SAFETY: both are mapped, the new one is writable, and its objects are as long.
                unsafe { into.copy_from(from) };
            }
        })?;
        Ok(new)
    }

    /// New writable blocks with the same bytes, one behind the other.
    pub(crate) fn packed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        self.copied(py, 1)
    }

    /// Whether the blocks are equal to the elements of one of Python's lists, which may change meanwhile.
    pub(crate) fn equals_list(&self, other: &Bound<'_, PyList>) -> PyResult<bool> {
        for at in 0..self.len() {
            let Ok(element) = other.get_item(at) else { return Ok(false) };
            if !self.block(other.py(), at)?.as_any().eq(element)? {
                return Ok(false);
            }
        }
        Ok(other.len() == self.len())
    }

    /// Copies the bytes of all blocks, in order, to where there is room for `nbytes`.
    ///
    /// # Safety
    /// There must be, and the list have as many.
    pub(crate) unsafe fn gather_into(&self, py: Python<'_>, to: *mut u8, nbytes: usize) -> PyResult<()> {
        let to = Bytes::new(to, nbytes);
        // SAFETY: there is room for nbytes, and the list has as many, by contract.
        self.access(py, None, nbytes, move |list| unsafe { list.gather_into(to) })
    }

    /// Makes sure that what lies between the objects can go where they go; false if it belongs to others.
    pub(crate) fn clear_gaps(&self, py: Python<'_>) -> PyResult<bool> {
        self.access(py, None, self.many(1), |list| {
            // SAFETY: the slots are those of the list, which is mapped while it is there.
            unsafe { list.layout.clear_gaps(list.slots, list.part) }
        })
    }

    /// What the list lies in, through its own mirror, if it skips no objects of another.
    pub(crate) fn stretches(&self, py: Python<'_>) -> PyResult<Option<Vec<Extent>>> {
        let (epoch, mirror) = (self.epoch(), self.mirror());
        self.access(py, None, 0, |list| {
            let Some(stretches) = list.layout.stretches(list.part)? else { return Ok(None) };
            let stretches = stretches.into_iter().map(|(first, span)| {
                // SAFETY: the span is of the list.
                let bytes = unsafe { list.bytes(span) };
                let address = NonNull::new(bytes.start).unwrap_or(NonNull::dangling());
                Extent { first, raw: RawBlock { address, len: span.len, slot: span.slot, epoch } }
            });
            debug_assert_eq!(list.mirror, mirror);
            fallible::collect(stretches).map(Some)
        })?
        .map_err(Error::into)
    }

    /// Works on where the records are, while other Python threads run if they are many.
    pub(crate) fn laid_out<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(LiveSlots<'_>, &ListLayout, Part) -> R + Send,
    ) -> PyResult<R> {
        let many = self.many(16).saturating_add(self.layout().columns().nbytes());
        self.access(py, None, many, |list| work(list.slots, list.layout, list.part))
    }
}

/// One of the stretches of memory that a list lies in.
pub(crate) struct Extent {
    /// Index of its first object.
    pub(crate) first: usize,
    pub(crate) raw: RawBlock,
}
