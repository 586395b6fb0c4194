//! Reports of crashes: switching them on and off.

use std::ffi::CString;

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

use crate::fault;
use crate::python::ffi::errors::refused_by_kernel;

/// The environment variable that switches reports on, for programs that cannot be changed.
const VARIABLE: &str = "MEMGROUP_FAULT_REPORT";

/// Have the process say on standard error what happened before it dies of an access to a group's memory.
///
/// That is: a store into a read-only mirror, an access to the guard pages around a mirror, or to what a group has given back.
/// The report names the group, the slot, the offset and the object (one whose address was given out since this was called),
/// and the remedy. The process dies all the same, of the same signal, and faulthandler and other handlers still run, whether
/// they were installed before or after. Faults elsewhere are passed on in silence.
///
/// The environment variable MEMGROUP_FAULT_REPORT=1 does this as memgroup is imported.
///
/// Raises:
///     OSError: The kernel does not let the signals be handled.
#[pyfunction]
pub(crate) fn enable_fault_report() -> PyResult<()> {
    fault::enable_fault_report().map_err(|error| refused_by_kernel(error, None))
}

/// Undo `enable_fault_report`.
#[pyfunction]
pub(crate) fn disable_fault_report() {
    fault::disable_fault_report();
}

/// Does what the environment says.
pub(crate) fn look_at_environment(py: Python<'_>) -> PyResult<()> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(()) };
    match value.to_str().map_or("?", str::trim) {
        "" | "0" => Ok(()),
        "1" => enable_fault_report(),
        _ => {
            let complaint = format!("memgroup: {VARIABLE} must be 1 or 0, not {value:?}: it is ignored");
            // It quotes the value in Rust's way, which leaves no NUL in it.
            PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &CString::new(complaint)?, 1)
        }
    }
}
