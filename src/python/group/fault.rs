//! Reports of crashes: switching them on and off, and which objects they can name.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

use crate::fault::{self, objects};
use crate::python::ffi::errors::refused_by_kernel;
use crate::python::group::raw::RawBlock;

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

/// Whether a block ever gave out its address, and if reports were on then, where that is written down. Beside it, whether the block
/// is of a pool.
pub(crate) struct Exported(AtomicU32);

/// It did, and nothing is written down. A number above it is that of a note, and this more.
const UNNOTED: u32 = 1;

/// The bit that says that the block is of a pool.
const POOLED: u32 = 1 << 31;

impl Exported {
    pub(crate) fn not_yet(is_pooled: bool) -> Self {
        Self(AtomicU32::new(if is_pooled { POOLED } else { 0 }))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !POOLED != 0
    }

    #[inline(always)]
    pub(crate) fn is_pooled(&self) -> bool {
        self.0.load(Ordering::Relaxed) & POOLED != 0
    }

    /// Says that it does; returns whether it did before.
    #[inline(always)]
    pub(crate) fn swap(&self, raw: &RawBlock) -> bool {
        let pooled = self.0.load(Ordering::Relaxed) & POOLED;
        let did = self.0.compare_exchange(pooled, pooled | UNNOTED, Ordering::Relaxed, Ordering::Relaxed).is_err();
        if !did && fault::is_enabled() {
            self.note(raw, pooled);
        }
        did
    }

    /// Only the thread that was the first to say so comes here.
    #[cold]
    fn note(&self, raw: &RawBlock, pooled: u32) {
        if let Some(number) = objects::note(raw.address.addr().get(), raw.len) {
            self.0.store(pooled | (UNNOTED + 1 + number), Ordering::Relaxed);
        }
    }

    /// At the end of the block: whether it did. What was written down is struck out.
    #[inline(always)]
    pub(crate) fn end(self) -> bool {
        let state = self.0.into_inner() & !POOLED;
        if let Some(number) = state.checked_sub(UNNOTED + 1) {
            objects::forget(number);
        }
        state != 0
    }
}
