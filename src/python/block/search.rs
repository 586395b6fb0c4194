//! The methods of a block that find, count and compare, with the meaning that they have for bytes.

use std::ops::Range;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments;
use crate::python::ffi::methods::native_methods;

native_methods! {
    MemBlock;

    /// Return the offset of the first occurrence of `sub` in `self[start:end]`, or -1.
    find "($self, sub, start=None, end=None, /)" => by_position |block, args| offset_or_minus_one(block.get().search(block.py(), args, Side::Left));

    /// Return the offset of the last occurrence of `sub` in `self[start:end]`, or -1.
    rfind "($self, sub, start=None, end=None, /)" => by_position |block, args| offset_or_minus_one(block.get().search(block.py(), args, Side::Right));

    /// Return the offset that `find` returns; raise ValueError instead of returning -1.
    ///
    /// Raises:
    ///     ValueError: `sub` does not occur.
    index "($self, sub, start=None, end=None, /)" => by_position |block, args| offset_or_error(block.get().search(block.py(), args, Side::Left));

    /// Return the offset that `rfind` returns; raise ValueError instead of returning -1.
    ///
    /// Raises:
    ///     ValueError: `sub` does not occur.
    rindex "($self, sub, start=None, end=None, /)" => by_position |block, args| offset_or_error(block.get().search(block.py(), args, Side::Right));

    /// Return how often `sub` occurs in `self[start:end]` without overlapping itself.
    count "($self, sub, start=None, end=None, /)" => by_position |block, args| block.get().count_of(block.py(), args);

    /// Return whether `self[start:end]` begins with `prefix`: bytes-like, or a tuple of several.
    startswith "($self, prefix, start=None, end=None, /)" => by_position |block, args| block.get().has_at(block.py(), args, Side::Left);

    /// Return whether `self[start:end]` ends with `suffix`: bytes-like, or a tuple of several.
    endswith "($self, suffix, start=None, end=None, /)" => by_position |block, args| block.get().has_at(block.py(), args, Side::Right);
}

/// Where a search begins and ends, if these are given.
#[derive(Clone, Copy, Default)]
struct Bounds<'a, 'py> {
    start: Option<&'a Bound<'py, PyAny>>,
    end: Option<&'a Bound<'py, PyAny>>,
}

/// What is looked for, and where, from the arguments of a method.
fn sought<'a, 'py>(args: &'a [Bound<'py, PyAny>]) -> PyResult<(&'a Bound<'py, PyAny>, Bounds<'a, 'py>)> {
    match args {
        [sub] => Ok((sub, Bounds::default())),
        [sub, start] => Ok((sub, Bounds { start: Some(start), end: None })),
        [sub, start, end] => Ok((sub, Bounds { start: Some(start), end: Some(end) })),
        _ => Err(PyTypeError::new_err(format!(
            "expected 1 to 3 arguments, got {}: what to look for, start and end",
            args.len()
        ))),
    }
}

/// From which side.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

impl MemBlock {
    /// Whether a byte (an integer) or a run of bytes (a bytes-like object) occurs in the block.
    pub(crate) fn contains(&self, py: Python<'_>, sub: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.check(py)?;
        Ok(self.find_in(py, sub, 0..self.raw().len, Side::Left)?.is_some())
    }

    /// Offset of the first or last occurrence of something (bytes-like, or an integer).
    fn search(&self, py: Python<'_>, args: &[Bound<'_, PyAny>], side: Side) -> PyResult<Option<usize>> {
        self.check(py)?;
        let (sub, bounds) = sought(args)?;
        match self.range(bounds)? {
            Some(range) => self.find_in(py, sub, range, side),
            // What cannot be looked for is an error all the same.
            None => BytesLike::or_byte(sub, self.group()).map(|_| None),
        }
    }

    fn find_in(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        range: Range<usize>,
        side: Side,
    ) -> PyResult<Option<usize>> {
        let needle = BytesLike::or_byte(sub, self.group())?;
        let (start, len) = (range.start, range.len());
        self.access_with(py, &needle, len, move |block, needle| {
            let bytes = block.bytes().part(start, len);
            let found = match side {
                // SAFETY: access_with checks that both are there; the part is within the block.
                Side::Left => unsafe { bytes.find(needle) },
                // SAFETY: access_with checks that both are there; the part is within the block.
                Side::Right => unsafe { bytes.rfind(needle) },
            };
            found.map(|at| start + at)
        })
    }

    fn count_of(&self, py: Python<'_>, args: &[Bound<'_, PyAny>]) -> PyResult<usize> {
        self.check(py)?;
        let (sub, bounds) = sought(args)?;
        // Before the needle is borrowed: an `__index__` of the user's may free its group.
        let range = self.range(bounds)?;
        let needle = BytesLike::or_byte(sub, self.group())?;
        let Some(Range { start, end }) = range else { return Ok(0) };
        let len = end - start;
        // SAFETY: access_with checks that both are there; the part is within the block.
        self.access_with(py, &needle, len, move |block, needle| unsafe { block.bytes().part(start, len).count(needle) })
    }

    /// Whether part of the block begins or ends with something, or with one of several.
    fn has_at(&self, py: Python<'_>, args: &[Bound<'_, PyAny>], side: Side) -> PyResult<bool> {
        self.check(py)?;
        let (affix, bounds) = sought(args)?;
        let range = self.range(bounds)?;
        let Ok(several) = affix.cast::<PyTuple>() else { return self.has_one_at(py, affix, range, side) };
        for affix in several {
            if self.has_one_at(py, &affix, range.clone(), side)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_one_at(
        &self,
        py: Python<'_>,
        affix: &Bound<'_, PyAny>,
        range: Option<Range<usize>>,
        side: Side,
    ) -> PyResult<bool> {
        let affix = BytesLike::of_in_order(affix, self.group())?;
        let Some(range) = range.filter(|range| affix.len() <= range.len()) else { return Ok(false) };
        let start = match side {
            Side::Left => range.start,
            Side::Right => range.end - affix.len(),
        };
        self.access_with(py, &affix, affix.len(), move |block, affix| {
            // SAFETY: access_with checks that both are there; the part is within the block.
            unsafe { block.bytes().part(start, affix.len).compare(affix) }.is_eq()
        })
    }

    /// `self[start:end]` where both are within reach, as `bytes.find` has it.
    fn range(&self, bounds: Bounds<'_, '_>) -> PyResult<Option<Range<usize>>> {
        let len = self.raw().len as isize;
        let from_start = |at: Option<&Bound<'_, PyAny>>, otherwise| match at.filter(|at| !at.is_none()) {
            None => Ok(otherwise),
            Some(at) => arguments::integer(at, "start and end must be integers")
                .map(|at| if at < 0 { at.saturating_add(len).max(0) } else { at }),
        };
        let start = from_start(bounds.start, 0)?;
        let end = from_start(bounds.end, len)?.min(len);
        Ok((start <= end).then_some(start as usize..end as usize))
    }
}

fn offset_or_minus_one(found: PyResult<Option<usize>>) -> PyResult<isize> {
    Ok(found?.map_or(-1, |at| at as isize))
}

fn offset_or_error(found: PyResult<Option<usize>>) -> PyResult<usize> {
    found?.ok_or_else(|| PyValueError::new_err("subsection not found"))
}
