//! The methods that a block has as bytes do, and with their meaning: what finds, what compares, what takes a part.
//!
//! A part of a block is a block over the same bytes; no byte is copied but by `decode` and `hex`.

use std::ops::Range;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{Borrowed, IntoPyObjectExt};

use crate::python::block::bytes_like::BytesLike;
use crate::python::block::call::{object, on_block};
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::trampoline::{NativeType, fast_method, fast_method_with_names};

/// Adds the methods to the type.
pub(super) fn add_to(kind: NativeType) -> NativeType {
    kind.method(fast_method(
        c"find",
        find,
        c"find($self, sub, start=None, end=None, /)
--

Return the offset of the first occurrence of `sub` in `self[start:end]`, or -1.",
    ))
    .method(fast_method(
        c"rfind",
        rfind,
        c"rfind($self, sub, start=None, end=None, /)
--

Return the offset of the last occurrence of `sub` in `self[start:end]`, or -1.",
    ))
    .method(fast_method(
        c"index",
        index,
        c"index($self, sub, start=None, end=None, /)
--

Return what `find` does, but what does not occur is an error.

Raises:
    ValueError: `sub` does not occur.",
    ))
    .method(fast_method(
        c"rindex",
        rindex,
        c"rindex($self, sub, start=None, end=None, /)
--

Return what `rfind` does, but what does not occur is an error.

Raises:
    ValueError: `sub` does not occur.",
    ))
    .method(fast_method(
        c"count",
        count,
        c"count($self, sub, start=None, end=None, /)
--

Return how often `sub` occurs in `self[start:end]` without overlapping itself.",
    ))
    .method(fast_method(
        c"startswith",
        startswith,
        c"startswith($self, prefix, start=None, end=None, /)
--

Return whether `self[start:end]` begins with `prefix`: bytes-like, or a tuple of several.",
    ))
    .method(fast_method(
        c"endswith",
        endswith,
        c"endswith($self, suffix, start=None, end=None, /)
--

Return whether `self[start:end]` ends with `suffix`: bytes-like, or a tuple of several.",
    ))
    .method(fast_method(
        c"strip",
        strip,
        c"strip($self, chars=None, /)
--

Return the part of the block without the leading and trailing bytes of `chars`.

Without `chars`, or with None, it is ASCII whitespace that is left out.",
    ))
    .method(fast_method(
        c"lstrip",
        lstrip,
        c"lstrip($self, chars=None, /)
--

Return the part of the block without the leading bytes of `chars`.

Without `chars`, or with None, it is ASCII whitespace that is left out.",
    ))
    .method(fast_method(
        c"rstrip",
        rstrip,
        c"rstrip($self, chars=None, /)
--

Return the part of the block without the trailing bytes of `chars`.

Without `chars`, or with None, it is ASCII whitespace that is left out.",
    ))
    .method(fast_method(
        c"removeprefix",
        removeprefix,
        c"removeprefix($self, prefix, /)
--

Return the part of the block behind `prefix` if the block begins with it, else the block.",
    ))
    .method(fast_method(
        c"removesuffix",
        removesuffix,
        c"removesuffix($self, suffix, /)
--

Return the part of the block before `suffix` if the block ends with it, else the block.",
    ))
    .method(fast_method(
        c"partition",
        partition,
        c"partition($self, sep, /)
--

Return the parts before, at and behind the first occurrence of `sep`.

They are the block and two empty ones where there is none.

Raises:
    ValueError: `sep` is empty.",
    ))
    .method(fast_method(
        c"rpartition",
        rpartition,
        c"rpartition($self, sep, /)
--

Return the parts before, at and behind the last occurrence of `sep`.

They are two empty ones and the block where there is none.

Raises:
    ValueError: `sep` is empty.",
    ))
    .method(fast_method_with_names(
        c"decode",
        decode,
        c"decode($self, encoding='utf-8', errors='strict')
--

Return the bytes as a str.

Raises:
    UnicodeDecodeError: The bytes are not text in that encoding.",
    ))
    .method(fast_method_with_names(
        c"hex",
        hex,
        c"hex($self, sep=None, bytes_per_sep=1)
--

Return the bytes as hexadecimal digits, with `sep` between each `bytes_per_sep` bytes.",
    ))
}

/// Where a search begins and ends, if these are given.
#[derive(Clone, Copy, Default)]
struct Bounds<'a, 'py> {
    start: Option<&'a Bound<'py, PyAny>>,
    end: Option<&'a Bound<'py, PyAny>>,
}

/// What is looked for, and where, from the arguments of a method.
fn operand<'a, 'py>(args: &'a [Bound<'py, PyAny>]) -> PyResult<(&'a Bound<'py, PyAny>, Bounds<'a, 'py>)> {
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
enum Side {
    Left,
    Right,
}

impl MemBlock {
    /// Whether a byte (an integer) or a run of bytes (a bytes-like object) occurs in the block.
    pub(super) fn contains(&self, py: Python<'_>, sub: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.check(py)?;
        Ok(self.find_in(py, sub, 0..self.piece().len, Side::Left)?.is_some())
    }

    /// Offset of the first or last occurrence of something (bytes-like, or an integer).
    fn search(&self, py: Python<'_>, args: &[Bound<'_, PyAny>], side: Side) -> PyResult<Option<usize>> {
        self.check(py)?;
        let (sub, bounds) = operand(args)?;
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
                // SAFETY: the same.
                Side::Right => unsafe { bytes.rfind(needle) },
            };
            found.map(|at| start + at)
        })
    }

    fn count_of(&self, py: Python<'_>, args: &[Bound<'_, PyAny>]) -> PyResult<usize> {
        self.check(py)?;
        let (sub, bounds) = operand(args)?;
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
        let (affix, bounds) = operand(args)?;
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
        let len = self.piece().len as isize;
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

/// A block that shows part of another: that other one if the part is all of it.
fn part<'py>(block: &Bound<'py, MemBlock>, range: Range<usize>) -> PyResult<Bound<'py, MemBlock>> {
    match range.len() == block.get().piece().len {
        true => Ok(block.clone()),
        false => block.get().part(block.py(), range.start, range.len()),
    }
}

/// A set of bytes.
#[derive(Clone, Copy)]
struct ByteSet([u64; 4]);

impl ByteSet {
    const WHITESPACE: Self = Self::EMPTY.with(b' ').with(b'\t').with(b'\n').with(b'\r').with(0x0b).with(0x0c);
    const EMPTY: Self = Self([0; 4]);

    const fn with(mut self, byte: u8) -> Self {
        self.0[byte as usize / 64] |= 1 << (byte % 64);
        self
    }

    const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize / 64] >> (byte % 64) & 1 == 1
    }

    /// # Safety
    /// The bytes must be mapped.
    unsafe fn of(bytes: Bytes) -> Self {
        // SAFETY: each offset is less than the length; the rest is the caller's promise.
        (0..bytes.len).fold(Self::EMPTY, |set, at| set.with(unsafe { bytes.get(at) }))
    }
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
    let ends = move |bytes: Bytes, set: ByteSet| {
        let mut range = 0..bytes.len;
        // SAFETY: both closures are asked for offsets within the bytes only, and the bytes are there.
        let is_in = |at| set.has(unsafe { bytes.get(at) });
        while left && !range.is_empty() && is_in(range.start) {
            range.start += 1;
        }
        while right && !range.is_empty() && is_in(range.end - 1) {
            range.end -= 1;
        }
        range
    };
    let range = match set {
        None => this.access(py, this.piece().len, move |bytes| ends(bytes, ByteSet::WHITESPACE))?,
        Some(set) => this.access_with(py, &set, this.piece().len, move |block, set| {
            // SAFETY: access_with checks that both are there.
            ends(block.bytes(), unsafe { ByteSet::of(set) })
        })?,
    };
    part(block, range)
}

/// The part of a block without something at one of its ends.
fn without<'py>(
    block: &Bound<'py, MemBlock>,
    args: &[Bound<'py, PyAny>],
    side: Side,
) -> PyResult<Bound<'py, MemBlock>> {
    let (py, this) = (block.py(), block.get());
    this.check(py)?;
    let [affix] = args else { return Err(one_argument(args.len())) };
    // Its length is read once: what is borrowed does not change it.
    let affix = BytesLike::of_in_order(affix, this.group())?;
    let len = this.piece().len;
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

fn one_argument(given: usize) -> PyErr {
    PyTypeError::new_err(format!("expected 1 argument, got {given}"))
}

/// The parts of a block before, at and behind a separator.
fn parted<'py>(block: &Bound<'py, MemBlock>, args: &[Bound<'py, PyAny>], side: Side) -> PyResult<Bound<'py, PyTuple>> {
    let (py, this) = (block.py(), block.get());
    this.check(py)?;
    let [separator] = args else { return Err(one_argument(args.len())) };
    let separator = BytesLike::of_in_order(separator, this.group())?;
    let (len, width) = (this.piece().len, separator.len());
    if width == 0 {
        return Err(PyValueError::new_err("empty separator"));
    }
    let found = this.access_with(py, &separator, len, move |block, separator| match side {
        // SAFETY: access_with checks that both are there.
        Side::Left => unsafe { block.bytes().find(separator) },
        // SAFETY: the same.
        Side::Right => unsafe { block.bytes().rfind(separator) },
    })?;
    let [head, middle, tail] = match (found, side) {
        (Some(at), _) => [0..at, at..at + width, at + width..len],
        (None, Side::Left) => [0..len, len..len, len..len],
        (None, Side::Right) => [0..0, 0..0, 0..len],
    };
    PyTuple::new(py, [part(block, head)?, part(block, middle)?, part(block, tail)?])
}

/// Bytes that are decoded or shown from a copy on the stack.
const STACK_COPY_BYTES: usize = 512;

/// Works on a copy of a block's bytes, if that is short enough for the stack.
fn with_short_copy<R>(block: &Bound<'_, MemBlock>, work: impl FnOnce(&[u8]) -> PyResult<R>) -> PyResult<Option<R>> {
    let len = block.get().piece().len;
    if len > STACK_COPY_BYTES {
        return Ok(None);
    }
    let mut copy = [0; STACK_COPY_BYTES];
    let to = Bytes::new(copy.as_mut_ptr(), len);
    // SAFETY: access checks that the bytes are there, and there is room for as many.
    block.get().access(block.py(), len, move |bytes| unsafe { to.copy_from(bytes) })?;
    work(&copy[..len]).map(Some)
}

/// What a method of bytes makes of a copy of a block.
fn from_bytes<'py>(
    block: &Bound<'py, MemBlock>,
    method: &str,
    args: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = block.py();
    let copy = block.get().tobytes(py)?;
    let (by_position, by_name) = args.split_at(args.len() - names.map_or(0, |names| names.len()));
    let named = PyDict::new(py);
    for (name, value) in names.into_iter().flatten().zip(by_name) {
        named.set_item(name, value)?;
    }
    copy.call_method(method, PyTuple::new(py, by_position)?, Some(&named))
}

fn decoded<'py>(
    block: &Bound<'py, MemBlock>,
    args: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    if args.is_empty() {
        let decode = |copy: &[u8]| {
            let len = copy.len() as ffi::Py_ssize_t;
            // SAFETY: the copy has as many bytes; no name of error handling means "strict".
            let text = unsafe { ffi::PyUnicode_DecodeUTF8(copy.as_ptr().cast(), len, std::ptr::null()) };
            // SAFETY: it is a new reference, or null with an exception set.
            unsafe { Bound::from_owned_ptr_or_err(block.py(), text) }
        };
        if let Some(text) = with_short_copy(block, decode)? {
            return Ok(text);
        }
    }
    from_bytes(block, "decode", args, names)
}

fn in_hex<'py>(
    block: &Bound<'py, MemBlock>,
    args: &[Bound<'py, PyAny>],
    names: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if args.is_empty() {
        let show = |copy: &[u8]| {
            let mut digits = [0; 2 * STACK_COPY_BYTES];
            for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(copy) {
                *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            }
            Ok(PyString::from_bytes(block.py(), &digits[..2 * copy.len()])?.into_any())
        };
        if let Some(text) = with_short_copy(block, show)? {
            return Ok(text);
        }
    }
    from_bytes(block, "hex", args, names)
}

/// Answers a call of a method with arguments by position.
///
/// # Safety
/// Python must be calling a method of the block, with `given` objects.
#[inline(always)]
unsafe fn answer<'a>(
    slf: *mut PyObject,
    args: *mut *mut PyObject,
    given: ffi::Py_ssize_t,
    body: impl for<'py> FnOnce(&Bound<'py, MemBlock>, &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyAny>> + 'a,
) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: the caller's promise.
        let args = unsafe { arguments::by_position(block.py(), args, given) };
        body(block, args).map(Bound::into_ptr)
    };
    // SAFETY: the caller's promise.
    unsafe { on_block(slf, body) }
}

/// The same where arguments may have names.
///
/// # Safety
/// As for `answer`; `names` must be null or a tuple of names, whose values come behind the `given` objects.
unsafe fn answer_named(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
    body: impl for<'py> FnOnce(
        &Bound<'py, MemBlock>,
        &[Bound<'py, PyAny>],
        Option<&Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>>,
) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>| {
        let py = block.py();
        // SAFETY: the caller's promise.
        let names = unsafe { Borrowed::from_ptr_or_opt(py, names) };
        let names = names.as_deref().map(|names| names.cast::<PyTuple>()).transpose()?;
        let named = names.map_or(0, |names| names.len()) as ffi::Py_ssize_t;
        // SAFETY: the caller's promise.
        let args = unsafe { arguments::by_position(py, args, given + named) };
        object(py, body(block, args, names)?)
    };
    // SAFETY: the caller's promise.
    unsafe { on_block(slf, body) }
}

fn offset_or_minus_one<'py>(py: Python<'py>, found: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
    found.map_or(-1, |at| at as isize).into_bound_py_any(py)
}

fn offset_or_error<'py>(py: Python<'py>, found: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
    found.ok_or_else(|| PyValueError::new_err("subsection not found"))?.into_bound_py_any(py)
}

/// Defines methods with arguments by position, as CPython calls them.
macro_rules! by_position {
    ($($name:ident => |$block:ident, $args:ident| $body:expr;)*) => {$(
        unsafe extern "C" fn $name(
            slf: *mut PyObject,
            args: *mut *mut PyObject,
            given: ffi::Py_ssize_t,
        ) -> *mut PyObject {
            // SAFETY: Python calls a method of the type with one of its objects, attached, and as many arguments as it says.
            unsafe { answer(slf, args, given, |$block, $args| $body) }
        }
    )*};
}

by_position! {
    find => |block, args| offset_or_minus_one(block.py(), block.get().search(block.py(), args, Side::Left)?);
    rfind => |block, args| offset_or_minus_one(block.py(), block.get().search(block.py(), args, Side::Right)?);
    index => |block, args| offset_or_error(block.py(), block.get().search(block.py(), args, Side::Left)?);
    rindex => |block, args| offset_or_error(block.py(), block.get().search(block.py(), args, Side::Right)?);
    count => |block, args| block.get().count_of(block.py(), args)?.into_bound_py_any(block.py());
    startswith => |block, args| block.get().has_at(block.py(), args, Side::Left)?.into_bound_py_any(block.py());
    endswith => |block, args| block.get().has_at(block.py(), args, Side::Right)?.into_bound_py_any(block.py());
    strip => |block, args| stripped(block, args, true, true).map(Bound::into_any);
    lstrip => |block, args| stripped(block, args, true, false).map(Bound::into_any);
    rstrip => |block, args| stripped(block, args, false, true).map(Bound::into_any);
    removeprefix => |block, args| without(block, args, Side::Left).map(Bound::into_any);
    removesuffix => |block, args| without(block, args, Side::Right).map(Bound::into_any);
    partition => |block, args| parted(block, args, Side::Left).map(Bound::into_any);
    rpartition => |block, args| parted(block, args, Side::Right).map(Bound::into_any);
}

unsafe extern "C" fn decode(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: Python calls a method of the type with one of its objects, attached, and the arguments that it says.
    unsafe { answer_named(slf, args, given, names, decoded) }
}

unsafe extern "C" fn hex(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as for decode.
    unsafe { answer_named(slf, args, given, names, in_hex) }
}
