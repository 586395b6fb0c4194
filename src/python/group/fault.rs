//! Reports of crashes: switching them on and off.

use std::ffi::CString;

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

use crate::fault;
use crate::python::ffi::errors::refused_by_kernel;

/// The environment variable that switches reports on, for programs that cannot be changed.
const VARIABLE: &str = "MEMGROUP_FAULT_REPORT";

/// Report on standard error what happened before the process dies of an access to a group's memory.
///
/// Such accesses are a store into a read-only mirror, any access to the guard pages around a mirror, and any access to
/// memory that a group has freed. The report names the group, the slot, the offset, the object (if its address was
/// given out after this call) and the remedy. The process still dies of the same signal, and faulthandler and other
/// handlers still run, whether they were installed before or after. Faults outside groups are passed on without a
/// report.
///
/// The environment variable MEMGROUP_FAULT_REPORT=1 does this when memgroup is imported.
///
/// Raises:
///     OSError: The kernel refuses the signal handlers.
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
