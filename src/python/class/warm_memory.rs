//! What is kept warm between groups, and how much may be.

use pyo3::exceptions::{PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

use crate::python::block::object::life::SLABS;
use crate::python::ffi::arguments::{PrewarmSize, WarmLimit, flags};
use crate::python::ffi::text::listed;
use crate::slot::cache::{self, limit};

/// The memory of ended groups that this process keeps for later groups.
#[pyclass(frozen, get_all, eq, module = "memgroup")]
#[derive(PartialEq, Eq)]
pub(crate) struct WarmMemory {
    /// The most bytes that are kept, as `set_warm_limit` sets it.
    limit: usize,
    /// Bytes kept: the committed part of the slots.
    committed: usize,
    /// How many slots are kept.
    slots: usize,
    /// How many dead `MemBlock` objects are kept, of 72 bytes each, in pieces of 2 MiB without a live one.
    ///
    /// They are not counted in `committed`; but for one piece, they take at most a quarter of the limit.
    handles: usize,
}

#[pymethods]
impl WarmMemory {
    /// Return the same as a dict, for JSON.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.numbers().into_py_dict(py)
    }

    fn __repr__(&self) -> String {
        format!("WarmMemory({})", listed(self.numbers()))
    }
}

impl WarmMemory {
    fn numbers(&self) -> [(&'static str, usize); 4] {
        [("limit", self.limit), ("committed", self.committed), ("slots", self.slots), ("handles", self.handles)]
    }
}

/// Return the figures of the memory that this process keeps for later groups.
#[pyfunction]
pub(crate) fn warm_memory(py: Python<'_>) -> WarmMemory {
    // Looking may unmap what a fork has made useless.
    let cache::WarmMemory { limit, committed, slots } = py.detach(cache::warm_memory);
    WarmMemory { limit, committed, slots, handles: SLABS.many(py) }
}

/// Set the most bytes that are kept warm for the next groups; 0 keeps none.
///
/// Memory above the limit returns to the kernel at once, the oldest first. The Python objects of dead blocks are kept,
/// too, up to a quarter of the limit. The limit starts as the environment variable MEMGROUP_WARM_LIMIT says, otherwise
/// as 256 MiB or a sixteenth of the memory that the machine and its cgroups allow, whichever is less.
///
/// Args:
///     bytes: The limit.
///
/// Raises:
///     TypeError: `bytes` is no integer.
///     ValueError: It is negative.
#[pyfunction]
#[pyo3(signature = (bytes))]
pub(crate) fn set_warm_limit(py: Python<'_>, bytes: WarmLimit) {
    py.detach(|| cache::set_warm_limit(bytes.0));
    limit_handles(py);
}

/// Fill the warm memory, so that the next groups have no page faults.
///
/// It serves groups with the default `base`. Memory that is kept already may be freed to make room.
///
/// Args:
///     bytes: How many, at most the limit of `set_warm_limit`.
///     background: Whether a thread does it while the caller continues. If the machine has less memory, less becomes
///         warm, and no error is raised.
///
/// Raises:
///     MemoryError: The machine has less memory. All that it had is warm.
///     OSError: No thread can be started.
///     TypeError: `bytes` is no integer, or `background` no bool.
///     ValueError: `bytes` is negative or more than the limit.
#[pyfunction]
#[pyo3(signature = (bytes, *, background=false), text_signature = "(bytes, *, background=False)")]
pub(crate) fn prewarm(
    py: Python<'_>,
    bytes: PrewarmSize,
    #[pyo3(from_py_with = flags::background)] background: bool,
) -> PyResult<()> {
    let (bytes, limit) = (bytes.0, py.detach(cache::warm_memory).limit);
    if bytes > limit {
        let message =
            format!("prewarm({bytes}): no more than {limit} bytes are kept warm; raise that by set_warm_limit()");
        return Err(PyValueError::new_err(message));
    }
    match background {
        true => Ok(crate::prewarm_in_background(bytes)?),
        false => Ok(py.detach(|| crate::prewarm(bytes))?),
    }
}

/// Makes the limit count for the objects of dead blocks too.
pub(crate) fn limit_handles(py: Python<'_>) {
    // A block of a hundred bytes has an object of seventy-two.
    SLABS.limit(py, cache::warm_memory().limit / 4);
}

/// Warns of a limit in the environment that is none, while whoever set it is likely to look.
pub(crate) fn check_environment(py: Python<'_>) -> PyResult<()> {
    limit::leave_complaints_to_caller();
    let Err(complaint) = limit::limit_in_environment() else { return Ok(()) };
    // The complaint quotes the value in Rust's way, which leaves no NUL in it.
    let complaint = std::ffi::CString::new(complaint)?;
    PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &complaint, 1)
}
