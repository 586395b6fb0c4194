//! The methods of a block that give a part of it, with the meaning that they have for bytes. A part is a block over the
//! same bytes.

use std::ops::Range;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::{Get, MemBlock};
use crate::python::block::search::Side;
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::raw_bytes::Bytes;

native_methods! {
    MemBlock;

    /// Return the part of the block without the leading and trailing bytes of `chars`.
    ///
    /// Without `chars`, or with None, ASCII whitespace is left out.
    strip "($self, chars=None, /)" => by_position |block, args| stripped(block, args, true, true);

    /// Return the part of the block without the leading bytes of `chars`.
    ///
    /// Without `chars`, or with None, ASCII whitespace is left out.
    lstrip "($self, chars=None, /)" => by_position |block, args| stripped(block, args, true, false);

    /// Return the part of the block without the trailing bytes of `chars`.
    ///
    /// Without `chars`, or with None, ASCII whitespace is left out.
    rstrip "($self, chars=None, /)" => by_position |block, args| stripped(block, args, false, true);

    /// Return the part of the block behind `prefix` if the block begins with it, else the block.
    removeprefix "($self, prefix, /)" => one_argument |block, arg| without(block, arg, Side::Left);

    /// Return the part of the block before `suffix` if the block ends with it, else the block.
    removesuffix "($self, suffix, /)" => one_argument |block, arg| without(block, arg, Side::Right);

    /// Return the parts before, at and behind the first occurrence of `sep`.
    ///
    /// Without an occurrence they are the block and two empty blocks.
    ///
    /// Raises:
    ///     ValueError: `sep` is empty.
    partition "($self, sep, /)" => one_argument |block, arg| parted(block, arg, Side::Left);

    /// Return the parts before, at and behind the last occurrence of `sep`.
    ///
    /// Without an occurrence they are two empty blocks and the block.
    ///
    /// Raises:
    ///     ValueError: `sep` is empty.
    rpartition "($self, sep, /)" => one_argument |block, arg| parted(block, arg, Side::Right);
}

/// A block that shows part of another, which was found to be there: that other one if the part is all of it.
fn part<'py>(block: &Bound<'py, MemBlock>, range: Range<usize>) -> PyResult<Bound<'py, MemBlock>> {
    match range.len() == block.get().raw().len {
        true => Ok(block.clone()),
        false => block.get().part_there(block.py(), range.start, range.len()),
    }
}

/// So many bytes are looked through in less time than it takes to make a set of them.
const FEW: usize = 8;

/// A set of bytes.
#[derive(Clone, Copy)]
struct ByteSet([u64; 4]);

impl ByteSet {
    const WHITESPACE: Self = Self::EMPTY.with(b' ').with(b'\t').with(b'\n').with(b'\r').with(0x0b).with(0x0c);
    const EMPTY: Self = Self([0; 4]);

    const fn with(mut self, byte: u8) -> Self {
        self.add(byte);
        self
    }

    // In place: a set that is passed on and back for each byte is copied each time.
    #[inline(always)]
    const fn add(&mut self, byte: u8) {
        self.0[byte as usize / 64] |= 1 << (byte % 64);
    }

    #[inline(always)]
    const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize / 64] >> (byte % 64) & 1 == 1
    }

    /// # Safety
    /// The bytes must be mapped.
    unsafe fn of(bytes: Bytes) -> Self {
        let mut set = Self::EMPTY;
        for at in 0..bytes.len {
            // SAFETY: each offset is less than the length, and the bytes are mapped, by contract.
            set.add(unsafe { bytes.get(at) });
        }
        set
    }
}

/// What of some bytes is left without those of a set at their ends.
///
/// # Safety
/// The bytes must be mapped.
#[inline(always)]
unsafe fn ends(bytes: Bytes, left: bool, right: bool, has: impl Fn(u8) -> bool) -> Range<usize> {
    let mut range = 0..bytes.len;
    // SAFETY: it is asked for offsets within the bytes only, and they are mapped, by contract.
    let is_in = |at| has(unsafe { bytes.get(at) });
    while left && !range.is_empty() && is_in(range.start) {
        range.start += 1;
    }
    while right && !range.is_empty() && is_in(range.end - 1) {
        range.end -= 1;
    }
    range
}

/// The part of a block without the bytes of a set at its ends.
fn stripped<'py>(
    block: &Bound<'py, MemBlock>,
    args: &[Bound<'py, PyAny>],
    left: bool,
    right: bool,
) -> PyResult<Bound<'py, MemBlock>> {
    let (py, this) = (block.py(), block.get());
    this.check(py)?;
    let set = match args {
        [] => None,
        [set] => Some(set).filter(|set| !set.is_none()),
        _ => return Err(PyTypeError::new_err(format!("expected at most 1 argument, got {}", args.len()))),
    };
    let set = set.map(|set| BytesLike::of_in_order(set, this.group())).transpose()?;
    let range = match set {
        None => this.access(py, this.raw().len, move |bytes| {
            // SAFETY: access checks that they are there.
            unsafe { ends(bytes, left, right, |byte| ByteSet::WHITESPACE.has(byte)) }
        })?,
        Some(set) if set.len() <= FEW => this.access_with(py, &set, this.raw().len, move |block, set| {
            // SAFETY: each offset is less than the length, and access_with checks that the bytes are there.
            let has = |byte| (0..set.len).any(|at| unsafe { set.get(at) } == byte);
            // SAFETY: access_with checks that they are there.
            unsafe { ends(block.bytes(), left, right, has) }
        })?,
        Some(set) => this.access_with(py, &set, this.raw().len, move |block, set| {
            // SAFETY: access_with checks that they are there.
            let set = unsafe { ByteSet::of(set) };
            // SAFETY: access_with checks that they are there.
            unsafe { ends(block.bytes(), left, right, |byte| set.has(byte)) }
        })?,
    };
    part(block, range)
}

/// The part of a block without something at one of its ends.
fn without<'py>(block: &Bound<'py, MemBlock>, affix: &Bound<'py, PyAny>, side: Side) -> PyResult<Bound<'py, MemBlock>> {
    let (py, this) = (block.py(), block.get());
    this.check(py)?;
    // Its length is read once: what is borrowed does not change it.
    let affix = BytesLike::of_in_order(affix, this.group())?;
    let len = this.raw().len;
    let Some(rest) = len.checked_sub(affix.len()) else { return Ok(block.clone()) };
    let start = match side {
        Side::Left => 0,
        Side::Right => rest,
    };
    let has = this.access_with(py, &affix, affix.len(), move |block, affix| {
        // SAFETY: access_with checks that both are there; the part is within the block.
        unsafe { block.bytes().part(start, affix.len).compare(affix) }.is_eq()
    })?;
    match side {
        _ if !has => Ok(block.clone()),
        Side::Left => part(block, affix.len()..len),
        Side::Right => part(block, 0..rest),
    }
}

/// The parts of a block before, at and behind a separator.
fn parted<'py>(
    block: &Bound<'py, MemBlock>,
    separator: &Bound<'py, PyAny>,
    side: Side,
) -> PyResult<Bound<'py, PyTuple>> {
    let (py, this) = (block.py(), block.get());
    this.check(py)?;
    let separator = BytesLike::of_in_order(separator, this.group())?;
    let (len, width) = (this.raw().len, separator.len());
    if width == 0 {
        return Err(PyValueError::new_err("empty separator"));
    }
    let found = this.access_with(py, &separator, len, move |block, separator| match side {
        // SAFETY: access_with checks that both are there.
        Side::Left => unsafe { block.bytes().find(separator) },
        // SAFETY: access_with checks that both are there.
        Side::Right => unsafe { block.bytes().rfind(separator) },
    })?;
    let [head, middle, tail] = match (found, side) {
        (Some(at), _) => [0..at, at..at + width, at + width..len],
        (None, Side::Left) => [0..len, len..len, len..len],
        (None, Side::Right) => [0..0, 0..0, 0..len],
    };
    PyTuple::new(py, [part(block, head)?, part(block, middle)?, part(block, tail)?])
}
