//! How Python calls a block: the trampoline of each slot and method of the type.

use std::ops::Deref;

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::{Borrowed, IntoPyObjectExt};

use crate::python::block::object::MemBlock;
use crate::python::ffi::trampoline::{TrampolineResult, trampoline};

/// Runs what Python called of a block.
///
/// # Safety
/// Python must be calling, and `slf` be a block.
#[inline(always)]
pub(super) unsafe fn on_block<A: TrampolineResult>(
    slf: *mut PyObject,
    body: impl FnOnce(&Bound<'_, MemBlock>) -> PyResult<A>,
) -> A {
    let body = |py: Python<'_>| {
        // SAFETY: the caller's promise.
        let object = unsafe { Borrowed::from_ptr(py, slf) };
        // SAFETY: the same.
        body(unsafe { object.cast_unchecked::<MemBlock>() }.deref())
    };
    // SAFETY: Python calls with the thread attached.
    unsafe { trampoline(body) }
}

/// The same with another object.
///
/// # Safety
/// As for `on_block`; `other` must be an object too.
#[inline(always)]
pub(super) unsafe fn on_block_with<A: TrampolineResult>(
    slf: *mut PyObject,
    other: *mut PyObject,
    body: impl FnOnce(&Bound<'_, MemBlock>, &Bound<'_, PyAny>) -> PyResult<A>,
) -> A {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: the caller's promise.
        let other = unsafe { Borrowed::from_ptr(block.py(), other) };
        body(block, &other)
    };
    // SAFETY: the caller's promise.
    unsafe { on_block(slf, body) }
}

pub(super) fn object<'py>(py: Python<'py>, value: impl IntoPyObjectExt<'py>) -> PyResult<*mut PyObject> {
    Ok(value.into_bound_py_any(py)?.into_ptr())
}
