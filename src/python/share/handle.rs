//! Handles: what `multiprocessing` sends of objects of shared groups. `memgroup._processes` asks for the descriptors.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::python::block::object::{Get, MemBlock};
use crate::python::group::object::MemGroup;
use crate::python::list::object::MemList;
use crate::python::share::receive::object_of;
use crate::python::share::send::outgoing;
use crate::python::stream::source::os_error;
use crate::python::view::locate::parent_of;
use crate::share::handles;
use crate::share::list::Outgoing;
use crate::share::wire::{Message, SegmentId};

/// Return the handle of an object of a shared group, or None for any other object.
#[pyfunction]
pub(crate) fn handle_of<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let Some(outgoing) = outgoing_of_shared(obj)? else { return Ok(None) };
    Ok(Some(PyBytes::new(obj.py(), &handles::encode(outgoing)?)))
}

/// What another process is told of an object of a shared group; `None` for any other object.
pub(super) fn outgoing_of_shared(obj: &Bound<'_, PyAny>) -> PyResult<Option<Outgoing>> {
    let Some(group) = group_of(obj)? else { return Ok(None) };
    match group.get().with_state(obj.py(), |state| state.group().is_shared()) {
        true => outgoing(&group, obj).map(Some),
        false => Ok(None),
    }
}

/// The group of a block or a list, or of the block that a memoryview or an array is made from.
fn group_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, MemGroup>>> {
    let py = object.py();
    if let Ok(list) = object.cast::<MemList>() {
        return Ok(Some(list.get().group().bind(py).clone()));
    }
    let mut nearest = object.clone();
    loop {
        if let Ok(block) = nearest.cast::<MemBlock>() {
            return Ok(Some(block.get().group().bind(py).clone()));
        }
        match parent_of(&nearest)? {
            Some(parent) => nearest = parent,
            None => return Ok(None),
        }
    }
}

/// Return the numbers of the memory that a handle names, and of memory that its sender has freed.
///
/// Raises:
///     ValueError: It is no handle.
#[pyfunction]
pub(crate) fn handle_segments<'py>(
    py: Python<'py>,
    handle: &[u8],
) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyTuple>)> {
    let handle = decoded(handle)?;
    let numbers =
        |segments: Vec<SegmentId>| PyTuple::new(py, segments.iter().map(|segment| PyBytes::new(py, &segment.0)));
    let named = handle.announced.iter().map(|announcement| announcement.segment).collect();
    Ok((numbers(named)?, numbers(handle.retired)?))
}

/// Return the object of a handle, borrowed by `group`.
///
/// Args:
///     group: The group that borrows it.
///     handle: What `handle_of` returned in another process.
///     fetch: Called with the numbers of memory that this process does not have; returns its descriptors, which are
///         closed here.
///
/// Raises:
///     ValueError: The handle is refused.
///     OSError: There are too many open files.
#[pyfunction]
pub(crate) fn object_of_handle<'py>(
    group: &Bound<'py, MemGroup>,
    handle: &[u8],
    fetch: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = group.py();
    let handle = decoded(handle)?;
    let missing = handles::missing(&handle)?;
    let mut new = Vec::new();
    if !missing.is_empty() {
        let numbers = PyTuple::new(py, missing.iter().map(|segment| PyBytes::new(py, &segment.0)))?;
        let descriptors: Vec<RawFd> = fetch.call1((numbers,))?.extract()?;
        // SAFETY: the function has just opened them, and has handed them over.
        new.extend(missing.into_iter().zip(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })));
    }
    object_of(group, handles::import(handle, new)?)
}

/// Return a new descriptor of memory for which this process has made a handle.
///
/// None if it has made none, or has freed the memory.
///
/// Raises:
///     OSError: There are too many open files.
#[pyfunction]
pub(crate) fn shared_descriptor(number: [u8; 16]) -> PyResult<Option<RawFd>> {
    let Some(file) = handles::exported(SegmentId(number)) else { return Ok(None) };
    let copy = file.reader().try_clone();
    let copy = copy.map_err(|error| os_error(error.raw_os_error().unwrap_or(libc::EMFILE), None))?;
    Ok(Some(copy.into_raw_fd()))
}

pub(super) fn decoded(handle: &[u8]) -> PyResult<Message> {
    Message::decode(handle).map_err(|why| PyValueError::new_err(format!("this is not a handle of memgroup: {why}")))
}
