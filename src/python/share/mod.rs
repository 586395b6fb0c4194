//! Objects of a group in other processes: what is told of each kind, and what is made of that.

mod array;
mod error;
pub(crate) mod handle;
pub(crate) mod parcel;
pub(crate) mod receive;
pub(crate) mod releases;
pub(crate) mod send;
mod waiting;

use pyo3::prelude::*;

/// Has `multiprocessing` send objects of shared groups by handle, from now on.
pub(crate) fn register_reducers(py: Python<'_>) -> PyResult<()> {
    py.import("memgroup._processes")?.call_method0("register").map(drop)
}
