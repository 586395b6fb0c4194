//! Python objects that there may be no memory for: pyo3 panics where Python has none for an integer or a tuple.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySequence, PyTuple};

use crate::fallible;

/// Says whether so many bytes of small objects can be had: memory that is there is not used up by asking.
///
/// # Errors
/// MemoryError: they cannot.
pub(crate) fn has_memory_for_objects(bytes: usize) -> PyResult<()> {
    // The interpreter takes memory for small objects in pieces of so many bytes.
    const ARENA: usize = 1 << 20;
    let mut probe: Vec<u8> = Vec::new();
    Ok(fallible::reserve(&mut probe, bytes.max(ARENA))?)
}

/// A tuple of integers.
///
/// # Errors
/// MemoryError: there is no memory for it.
pub(crate) fn tuple_of_numbers<'py>(py: Python<'py>, numbers: &[usize]) -> PyResult<Bound<'py, PyTuple>> {
    let list = PyList::empty(py);
    for &number in numbers {
        // SAFETY: the thread is attached, as py shows.
        let number = unsafe { ffi::PyLong_FromSize_t(number) };
        // SAFETY: it is a new reference, or null with an exception set.
        list.append(unsafe { Bound::from_owned_ptr_or_err(py, number) }?)?;
    }
    list.cast::<PySequence>()?.to_tuple()
}
