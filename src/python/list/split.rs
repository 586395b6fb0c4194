//! A block cut into parts: a list over the same bytes.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::list::ListLayout;
use crate::list::columns::Columns;
use crate::list::layout::Run;
use crate::list::split::{Cut, Splitter, split_from_end};
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments::{self, given};
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::list::object::MemList;
use crate::scratch::Scratch;

/// So many bytes are cut between two looks at whether a signal has come.
const SIGNAL_CHECK_BYTES: usize = 64 << 20;

native_methods! {
    MemBlock;

    /// Return the parts between occurrences of `sep` or of ASCII whitespace: a list over the same bytes.
    ///
    /// Args:
    ///     sep: A bytes-like object. None splits at runs of ASCII whitespace, and drops empty parts at the ends.
    ///     maxsplit: The most splits, from the left; -1 for all.
    ///
    /// Raises:
    ///     ValueError: `sep` is empty.
    split "($self, sep=None, maxsplit=-1)" => by_name(; sep, maxsplit;) |block| separated(block, given(sep), maxsplit, From::Left);

    /// Return the parts that `split` returns, with splits counted from the right.
    ///
    /// Raises:
    ///     ValueError: `sep` is empty.
    rsplit "($self, sep=None, maxsplit=-1)" => by_name(; sep, maxsplit;) |block| separated(block, given(sep), maxsplit, From::Right);

    /// Return the lines: a list over the same bytes, 16 bytes for each. They end with LF, CR or CR LF.
    ///
    /// Args:
    ///     keepends: Whether a line keeps its end.
    splitlines "($self, keepends=False)" => by_name(; keepends;) |block| lines(block, keepends);
}

/// A list of the parts that a block is cut into.
fn cut<'py>(block: &Bound<'py, MemBlock>, cut: Cut<'_>, most: usize) -> PyResult<Bound<'py, MemList>> {
    let (py, this) = (block.py(), block.get());
    let len = this.raw().len;
    let mut splitter = Splitter::new(cut, most)?;
    loop {
        let splitter = &mut splitter;
        let is_done = this.access(py, len.min(SIGNAL_CHECK_BYTES), move |bytes| {
            // SAFETY: access checks that the bytes are there, and keeps them for as long as this takes.
            splitter.run(unsafe { bytes.as_slice() }, SIGNAL_CHECK_BYTES)
        })??;
        if is_done {
            break;
        }
        py.check_signals()?;
    }
    list(block, splitter.finish()?)
}

/// A list of parts of a block, which begin where `columns` say.
fn list<'py>(block: &Bound<'py, MemBlock>, columns: Columns) -> PyResult<Bound<'py, MemList>> {
    let (py, this) = (block.py(), block.get());
    let run = this.run(py)?;
    let runs: Box<[Run]> = match columns.len() {
        0 => Box::default(),
        _ => [Run { offset: run.offset + columns.start(0), ..run }].into(),
    };
    let layout = ListLayout::new(columns, runs).with_foreign_gaps();
    let lease = this.lease_while_there(py)?;
    MemList::of_parts(this.group().bind(py), layout, this.raw().epoch, this.mirror(), lease)
}

/// Which end cuts are made from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Left,
    Right,
}

fn separated<'py>(
    block: &Bound<'py, MemBlock>,
    sep: Option<&Bound<'py, PyAny>>,
    maxsplit: Option<&Bound<'py, PyAny>>,
    from: From,
) -> PyResult<Bound<'py, MemList>> {
    let (py, this) = (block.py(), block.get());
    this.check(py)?;
    let most = maxsplit.map_or(Ok(-1), |most| arguments::integer(most, "maxsplit must be an integer"))?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let separator = sep.map(|sep| separator(this, py, sep)).transpose()?;
    match (from, &separator) {
        (From::Left, Some(separator)) => cut(block, Cut::Separator(separator), most),
        (From::Left, None) => cut(block, Cut::Whitespace, most),
        (From::Right, _) => {
            let separator = separator.as_deref();
            let split = move |bytes: Bytes| {
                // SAFETY: access checks that the bytes are there, and keeps them for as long as this takes.
                split_from_end(unsafe { bytes.as_slice() }, separator, most)
            };
            list(block, this.access(py, this.raw().len, split)??)
        }
    }
}

fn lines<'py>(block: &Bound<'py, MemBlock>, keepends: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, MemList>> {
    let keep_ends = keepends.map_or(Ok(false), |keepends| keepends.is_truthy())?;
    block.get().check(block.py())?;
    cut(block, Cut::Lines { keep_ends }, usize::MAX)
}

/// A copy of a separator, which nobody changes any more.
fn separator(this: &MemBlock, py: Python<'_>, sep: &Bound<'_, PyAny>) -> PyResult<Scratch<u8>> {
    let sep = BytesLike::of(sep, this.group())?.in_order(py, this.group().get())?;
    if sep.len() == 0 {
        return Err(PyValueError::new_err("empty separator"));
    }
    let mut copy = Scratch::zeroed(this.group().get().is_secret(py), sep.len())?;
    let to = Bytes::new(copy.as_mut_ptr(), copy.len());
    // SAFETY: access_with checks that the separator is there, and the copy is as long.
    this.access_with(py, &sep, to.len, move |_, sep| unsafe { to.copy_from(sep) })?;
    Ok(copy)
}
