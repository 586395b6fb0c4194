//! Lists inspected as a whole, and lists of some of another's records.
//!
//! Long work goes in pieces: in each the group is kept, other Python threads run, and signals are heard in between. Whatever a handler
//! does to the group, the next piece notices.

use std::ops::Range;

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyList, PyMemoryView, PyString};

use crate::fallible;
use crate::list::inspect::{Records, taken};
use crate::list::rounds::{self, Rounds};
use crate::python::block::buffer::Buffer;
use crate::python::block::bytes_like::BytesLike;
use crate::python::ffi::arguments::{self, Threads, type_name};
use crate::python::ffi::memory::has_memory_for_objects;
use crate::python::ffi::progress::Progress;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::text::plural;
use crate::python::list::answers::{Answer, Answers};
use crate::python::list::object::MemList;
use crate::python::list::sizes;
use crate::scratch::Scratch;

/// What is looked for, in a copy that nobody changes meanwhile.
fn needle(list: &MemList, value: &Bound<'_, PyAny>) -> PyResult<Scratch<u8>> {
    let py = value.py();
    list.check(py)?;
    let value = BytesLike::of(value, list.group())?.in_order(py, list.group().get())?;
    let mut copy = Scratch::zeroed(list.group().get().is_secret(py), value.len())?;
    let (to, from) = (Bytes::new(copy.as_mut_ptr(), copy.len()), value.bytes());
    list.with_records(py, value.claim(), to.len, move |_| {
        // SAFETY: the value is there, for its claim was checked or it is held, and the copy is as long.
        unsafe { to.copy_from(from) };
    })?;
    Ok(copy)
}

/// How a list is inspected.
#[derive(Default)]
pub(crate) struct How<'a, 'py> {
    /// As many threads as the machine has processors for, where nobody says how many.
    pub(crate) threads: Option<Threads>,
    pub(crate) progress: Option<&'a Bound<'py, PyAny>>,
}

/// One answer for each record, which is `otherwise` unless the work on some of them says something else.
fn in_rounds<'py, T: Answer>(
    list: &MemList,
    py: Python<'py>,
    how: &How<'_, 'py>,
    otherwise: T,
    work: impl Fn(Records<'_>, Range<usize>, &mut [T]) + Sync,
) -> PyResult<Bound<'py, PyMemoryView>> {
    let progress = Progress::new(py, how.progress, list.len())?;
    let nbytes = list.nbytes(py)?;
    let threads = how.threads.map_or_else(|| rounds::threads_for(list.len(), nbytes), |Threads(threads)| threads);
    let mut answers = fallible::filled(otherwise, list.len())?;
    let rounds = Rounds::new(&mut answers, nbytes);
    let mut is_done = false;
    while !is_done {
        let (rounds, work) = (&rounds, &work);
        is_done = list.with_records(py, None, list.many(nbytes / list.len().max(1)), move |records| {
            rounds.run(threads, |indices, some| work(records, indices, some))
        })?;
        py.check_signals()?;
        progress.tell(rounds.done())?;
    }
    Answers::view(py, answers)
}

/// The same for what is done with a needle.
fn answers<'py, T: Answer>(
    list: &MemList,
    value: &Bound<'py, PyAny>,
    how: &How<'_, 'py>,
    otherwise: T,
    work: impl Fn(Records<'_>, Range<usize>, &[u8], &mut [T]) + Sync,
) -> PyResult<Bound<'py, PyMemoryView>> {
    let needle = needle(list, value)?;
    in_rounds(list, value.py(), how, otherwise, |records, indices, some| work(records, indices, &needle, some))
}

pub(crate) fn contains<'py>(
    list: &MemList,
    value: &Bound<'py, PyAny>,
    how: &How<'_, 'py>,
) -> PyResult<Bound<'py, PyMemoryView>> {
    answers(list, value, how, false, |records, indices, needle, mask| records.contains(indices, needle, mask))
}

pub(crate) fn startswith<'py>(
    list: &MemList,
    value: &Bound<'py, PyAny>,
    how: &How<'_, 'py>,
) -> PyResult<Bound<'py, PyMemoryView>> {
    answers(list, value, how, false, |records, indices, needle, mask| {
        records.each(indices, |at, record| mask[at] = record.starts_with(needle));
    })
}

pub(crate) fn endswith<'py>(
    list: &MemList,
    value: &Bound<'py, PyAny>,
    how: &How<'_, 'py>,
) -> PyResult<Bound<'py, PyMemoryView>> {
    answers(list, value, how, false, |records, indices, needle, mask| {
        records.each(indices, |at, record| mask[at] = record.ends_with(needle));
    })
}

pub(crate) fn find<'py>(
    list: &MemList,
    value: &Bound<'py, PyAny>,
    how: &How<'_, 'py>,
) -> PyResult<Bound<'py, PyMemoryView>> {
    answers(list, value, how, -1_i64, |records, indices, needle, offsets| {
        records.find(indices, needle, |at, offset| offsets[at] = offset as i64);
    })
}

pub(crate) fn count_in<'py>(
    list: &MemList,
    value: &Bound<'py, PyAny>,
    how: &How<'_, 'py>,
) -> PyResult<Bound<'py, PyMemoryView>> {
    answers(list, value, how, 0_i64, |records, indices, needle, counts| {
        records.count(indices, needle, counts, |count| count as i64);
    })
}

/// Which blocks some work says yes to.
pub(crate) fn mask<'py>(
    list: &MemList,
    py: Python<'py>,
    is_so: impl Fn(&[u8]) -> bool + Sync,
) -> PyResult<Bound<'py, PyMemoryView>> {
    in_rounds(list, py, &How::default(), false, |records, indices, mask| {
        records.each(indices, |at, record| mask[at] = is_so(record));
    })
}

/// The blocks that a mask or indices name, as a list over the same bytes.
pub(crate) fn take<'py>(list: &MemList, which: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemList>> {
    let py = which.py();
    list.check(py)?;
    let indices = chosen(list.len(), which)?;
    let layout = py.detach(|| {
        let (layout, part) = (&**list.layout(), list.part());
        taken(layout, part, indices.iter().copied())
    })?;
    list.check(py)?;
    list.of_taken(py, layout)
}

/// Each block as a bytes object.
pub(crate) fn tolist<'py>(list: &MemList, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
    list.check(py)?;
    has_memory_for_objects(list.nbytes(py)?.saturating_add(list.len().saturating_mul(BYTES_OBJECT)))?;
    let all = PyList::empty(py);
    for start in (0..list.len()).step_by(TOLIST_RECORDS) {
        let indices = start..(start + TOLIST_RECORDS).min(list.len());
        let (layout, part) = (&**list.layout(), list.part());
        let mut made: Vec<Bound<'py, PyBytes>> = Vec::new();
        let mut places: Vec<Bytes> = Vec::new();
        fallible::reserve(&mut made, indices.len())?;
        fallible::reserve(&mut places, indices.len())?;
        for index in indices.clone() {
            let len = layout.columns().size(part.object(index));
            made.push(PyBytes::new_with(py, len, |bytes| {
                places.push(Bytes::new(bytes.as_mut_ptr(), bytes.len()));
                Ok(())
            })?);
        }
        list.with_records(py, None, 0, move |records| {
            records.each(indices, |at, record| {
                let from = Bytes::new(record.as_ptr().cast_mut(), record.len());
                // SAFETY: the record is there, the place is a new bytes object's of its size, and nobody else knows that yet.
                unsafe { places[at].copy_from(from) };
            });
        })?;
        made.into_iter().try_for_each(|bytes| all.append(bytes))?;
        py.check_signals()?;
    }
    Ok(all)
}

/// So many bytes objects are made in one go.
const TOLIST_RECORDS: usize = 1024;

/// What a bytes object and its place in a list take beside its bytes, about.
const BYTES_OBJECT: usize = 56;

/// The indices that a mask or integers name.
fn chosen(len: usize, which: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    if which.is_instance_of::<PyString>() || which.is_instance_of::<PyBytes>() || which.is_instance_of::<PyByteArray>()
    {
        return Err(neither(which));
    }
    if Buffer::is_exported_by(which) {
        let buffer = Buffer::of(which)?;
        return match buffer.format().to_bytes() {
            b"?" | b"@?" | b"=?" | b"<?" | b">?" | b"!?" => {
                marked(len, sizes::bytes_of(&buffer, "a mask")?.into_iter())
            }
            _ => indices(len, sizes::integers(&buffer, "indices")?.into_iter()),
        };
    }
    let no_iterable =
        |error: PyErr| if error.is_instance_of::<PyTypeError>(which.py()) { neither(which) } else { error };
    let (mut mask, mut numbers) = (Vec::new(), Vec::new());
    for (at, item) in which.try_iter().map_err(no_iterable)?.enumerate() {
        let item = item?;
        match item.cast_exact::<PyBool>() {
            Ok(flag) => fallible::push(&mut mask, u8::from(flag.is_true()))?,
            Err(_) => {
                let rule = format!("indices[{at}] must be an integer");
                fallible::push(&mut numbers, arguments::integer(&item, &rule)?)?;
            }
        }
        if !mask.is_empty() && !numbers.is_empty() {
            return Err(PyTypeError::new_err("take() was given both booleans and integers: pass a mask or indices"));
        }
    }
    if mask.is_empty() { indices(len, numbers.into_iter()) } else { marked(len, mask.into_iter()) }
}

fn neither(which: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "take() needs a mask or indices: a buffer or an iterable of booleans or integers, not {}",
        type_name(which)
    ))
}

fn marked(len: usize, mask: impl ExactSizeIterator<Item = u8>) -> PyResult<Vec<usize>> {
    if mask.len() != len {
        let given = mask.len();
        return Err(PyValueError::new_err(format!(
            "a mask of {given} does not fit a list of {len} block{}: pass one boolean for each",
            plural(len)
        )));
    }
    let mut marked = Vec::new();
    mask.enumerate().filter(|&(_, flag)| flag != 0).try_for_each(|(at, _)| fallible::push(&mut marked, at))?;
    Ok(marked)
}

fn indices(len: usize, numbers: impl ExactSizeIterator<Item = isize>) -> PyResult<Vec<usize>> {
    let mut indices = Vec::new();
    fallible::reserve(&mut indices, numbers.len())?;
    for (at, number) in numbers.enumerate() {
        let from_start = if number < 0 { number.saturating_add(len as isize) } else { number };
        let index = usize::try_from(from_start).ok().filter(|&index| index < len).ok_or_else(|| {
            PyIndexError::new_err(format!(
                "indices[{at}] is {number}: out of range for a list of {len} block{}",
                plural(len)
            ))
        })?;
        indices.push(index);
    }
    Ok(indices)
}
