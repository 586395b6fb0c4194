//! numpy, which need not be there: arrays made in a group, arrays through its other mirror, and numpy allocating in it.
//!
//! `api` finds numpy's functions when they are first needed, `array` reads an array, `make` makes them, `signature` reads the
//! arguments for that, `protect` protects and unprotects, and `handler` gives numpy memory while a `context` says so.

mod api;
pub(crate) mod array;
mod context;
mod handler;
mod make;
pub(crate) mod protect;
mod signature;

use pyo3::prelude::*;
use pyo3::types::PyType;

/// Adds what is for numpy to the class `MemGroup`.
pub(super) fn add_to(class: &Bound<'_, PyType>) -> PyResult<()> {
    make::add_to(class)?;
    context::add_to(class)
}
