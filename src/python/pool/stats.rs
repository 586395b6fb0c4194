//! `PoolStats`: what a pool holds, as plain numbers.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// A pool.
#[pyclass(frozen, get_all, eq, module = "memgroup")]
#[derive(PartialEq, Eq)]
pub(crate) struct PoolStats {
    /// Bytes of each object.
    pub(crate) size: usize,
    /// Each object's address is a multiple of this.
    pub(crate) align: usize,
    /// Bytes from one object to the next.
    pub(crate) stride: usize,
    /// The most objects in use at a time, or None.
    pub(crate) capacity: Option<usize>,
    /// Objects in use.
    pub(crate) used: usize,
    /// Objects that are ready to be handed out.
    pub(crate) free: usize,
    /// Objects that are never handed out again.
    ///
    /// Either a child that was forked while they were in use may still use them, or they were found damaged.
    pub(crate) retired: usize,
}

#[pymethods]
impl PoolStats {
    /// Return the same as a dict, for JSON.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.numbers().into_py_dict(py)
    }

    fn __repr__(&self) -> String {
        let numbers = self.numbers().map(|(name, number)| {
            format!("{name}={}", number.map_or_else(|| "None".into(), |number| number.to_string()))
        });
        format!("PoolStats({})", numbers.join(", "))
    }
}

impl PoolStats {
    fn numbers(&self) -> [(&'static str, Option<usize>); 7] {
        [
            ("size", Some(self.size)),
            ("align", Some(self.align)),
            ("stride", Some(self.stride)),
            ("capacity", self.capacity),
            ("used", Some(self.used)),
            ("free", Some(self.free)),
            ("retired", Some(self.retired)),
        ]
    }
}
