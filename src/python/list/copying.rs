//! `copy_many`: many bytes-like objects copied into one list.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString, PyTuple};

use crate::fallible;
use crate::list::{Builder, Span};
use crate::prefetch::{PREFETCH_RECORDS, prefetch};
use crate::python::block::bytes_like::BytesLike;
use crate::python::block::object::MemBlock;
use crate::python::ffi::arguments::type_name;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::list::object::MemList;

/// So many objects are looked at between two looks at whether a signal has come.
const SIGNAL_CHECK_OBJECTS: usize = 64 * 1024;

/// Behind so many bytes the processor has seen where a copy goes.
const PREFETCH_STRIDE: usize = 64;

/// So many bytes are copied in between.
const SIGNAL_CHECK_BYTES: usize = 64 << 20;

/// New blocks with the bytes of many objects.
pub(crate) fn copy_many<'py>(
    group: &Bound<'py, MemGroup>,
    items: &Bound<'py, PyAny>,
    align: usize,
) -> PyResult<Bound<'py, MemList>> {
    let py = group.py();
    group.get().check_open(py)?;
    // A tuple keeps all objects, whatever becomes of the list that they were in.
    let items = tuple(items)?;
    let mut builder = Builder::new(align, group.get().largest(py));
    builder.reserve(items.len())?;
    let mut sources: Vec<Bytes> = Vec::new();
    fallible::reserve(&mut sources, items.len())?;
    let mut lent: Vec<BytesLike<'py>> = Vec::new();
    let mut ahead = items.iter_borrowed().skip(PREFETCH_RECORDS);
    for (index, item) in items.iter_borrowed().enumerate() {
        if let Some(item) = ahead.next() {
            prefetch(item.as_ptr().cast());
        }
        let source = match item.cast_exact::<PyBytes>() {
            Ok(bytes) => {
                let bytes = bytes.as_bytes();
                Bytes::new(bytes.as_ptr().cast_mut(), bytes.len())
            }
            Err(_) => {
                let bytes = BytesLike::of(&item, group.as_unbound())
                    .map_err(|error| at(index, &item, error))?
                    .in_order(py, group.get())?;
                let source = bytes.bytes();
                fallible::push(&mut lent, bytes)?;
                source
            }
        };
        builder.push(source.len).map_err(crate::Error::from)?;
        sources.push(source);
        if index % SIGNAL_CHECK_OBJECTS == SIGNAL_CHECK_OBJECTS - 1 {
            py.check_signals()?;
        }
    }
    let list = MemList::of(group, builder.finish(), false)?;
    // Blocks of this group are there while the new list is, for they are of its epoch.
    lent.iter().filter_map(BytesLike::claim).try_for_each(|claim| group.get().check(py, claim))?;
    let mut done = 0;
    while done < sources.len() {
        done = copy_some(list.get(), py, &sources, done)?;
        py.check_signals()?;
    }
    Ok(list)
}

/// Copies objects from one on, about [`SIGNAL_CHECK_BYTES`]; which is the next.
fn copy_some(list: &MemList, py: Python<'_>, sources: &[Bytes], from: usize) -> PyResult<usize> {
    let sources = Sources(sources);
    list.laid_out(py, move |slots, layout, part| {
        let Sources(sources) = { sources };
        let (mut run, mut index, mut copied) = (0, from, 0);
        while index < sources.len() && copied < SIGNAL_CHECK_BYTES {
            if let Some(ahead) = sources.get(index + PREFETCH_RECORDS) {
                prefetch(ahead.start);
                prefetch(ahead.start.wrapping_add(PREFETCH_STRIDE));
            }
            let Span { slot, offset, len } = layout.object_near(&mut run, part.object(index));
            // SAFETY: it is a slot of the list, which laid_out has found there.
            let slot = unsafe { slots.get(slot) };
            // SAFETY: the objects of a list lie within their slots.
            let to = Bytes::new(unsafe { slot.at(offset) }.as_ptr(), len);
            // SAFETY: the object was made as long as its source, which the caller keeps, and nobody else knows it yet.
            unsafe { to.copy_from(sources[index]) };
            (index, copied) = (index + 1, copied + len);
        }
        index
    })
}

/// Where many objects' bytes are, on the way to a thread that is detached.
#[derive(Clone, Copy)]
struct Sources<'a>(&'a [Bytes]);

// SAFETY: addresses and lengths, which nobody changes; what makes an access safe is argued where it is made.
unsafe impl Send for Sources<'_> {}

/// What an iterable yields.
fn tuple<'py>(items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let is_one = items.is_instance_of::<PyBytes>()
        || items.is_instance_of::<PyByteArray>()
        || items.is_instance_of::<PyString>()
        || items.is_instance_of::<MemBlock>();
    if is_one {
        return Err(PyTypeError::new_err(format!(
            "copy_many() takes an iterable of bytes-like objects, not {}: use copy() for one",
            type_name(items)
        )));
    }
    if let Ok(tuple) = items.cast_exact::<PyTuple>() {
        return Ok(tuple.clone());
    }
    // SAFETY: the object is alive, and the thread attached.
    let made = unsafe { pyo3::ffi::PySequence_Tuple(items.as_ptr()) };
    // SAFETY: it is a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(items.py(), made) }?;
    Ok(made.cast_into()?)
}

/// Says which object has no bytes.
fn at(index: usize, item: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    match error.is_instance_of::<PyTypeError>(item.py()) {
        true => PyTypeError::new_err(format!("items[{index}] must be a bytes-like object, not {}", type_name(item))),
        false => error,
    }
}
