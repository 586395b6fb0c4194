//! `Broken`: what the checker found.

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use super::machine::Machine;
use super::process::Process;
use crate::rmap::{self, PageId};

/// A broken invariant; its `str` has all attributes.
#[pyclass(frozen, module = "memgroup.rmap")]
pub(super) struct Broken {
    /// Its number, from 1 to 6.
    #[pyo3(get)]
    invariant: u8,
    /// The id of the page it is about, or None.
    #[pyo3(get)]
    page: Option<u64>,
    /// The process it is about, or None.
    #[pyo3(get)]
    process: Option<Py<Process>>,
    /// A description that names the objects.
    #[pyo3(get)]
    reason: String,
    /// All of it in a line.
    text: String,
}

impl Broken {
    pub(super) fn new(machine: &Bound<'_, Machine>, broken: rmap::Broken) -> PyResult<Self> {
        let process = broken.process.map(|process| Py::new(machine.py(), Process::new(machine, process)));
        Ok(Self {
            text: broken.to_string(),
            invariant: broken.invariant.number(),
            page: broken.page.map(PageId::number),
            process: process.transpose()?,
            reason: broken.reason,
        })
    }
}

#[pymethods]
impl Broken {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<Broken {}>", self.text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.process)
    }
}
