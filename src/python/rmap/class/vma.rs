//! The class `Vma`: what a VMA is like now.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::PyTuple;

use crate::python::rmap::process::Process;
use crate::python::rmap::vma::Vma;
use crate::rmap::AnonVmaId;

#[pymethods]
impl Vma {
    /// Its id, as in `Machine.graph`.
    #[getter]
    fn id(&self) -> u64 {
        self.id.number()
    }

    /// The process that it belongs or belonged to.
    #[getter]
    fn process(&self, py: Python<'_>) -> Process {
        Process::new(self.machine.bind(py), self.owner)
    }

    /// Its first page address.
    #[getter]
    fn start(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.row(py)?.start)
    }

    /// The page address behind its last.
    #[getter]
    fn stop(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.row(py)?.end)
    }

    /// How many pages it has.
    #[getter]
    fn pages(&self, py: Python<'_>) -> PyResult<u64> {
        let row = self.row(py)?;
        Ok(row.end - row.start)
    }

    /// The index of its first page: its address, unless `mremap` has moved a VMA with pages.
    #[getter]
    fn index(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.row(py)?.index)
    }

    /// Their permissions: letters of "rwx".
    #[getter]
    fn prot(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.row(py)?.prot.letters())
    }

    /// Whether children see its writes, and it theirs.
    #[getter]
    fn shared(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.row(py)?.shared)
    }

    /// The id of its own anon_vma, or None before the first write.
    #[getter]
    fn anon_vma(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.row(py)?.anon_vma.map(AnonVmaId::number))
    }

    /// The ids of the anon_vmas of its chain, newest first if copies keep the order.
    #[getter]
    fn chain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let row = self.row(py)?;
        PyTuple::new(py, row.chain.into_iter().map(AnonVmaId::number))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.id == other.id && self.machine.is(&other.machine)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.id, self.machine.as_ptr().addr()).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let pid = self.owner.pid();
        match self.machine.get().with(py, |model| model.vma(self.id)) {
            Ok(Ok(row)) => format!("<Vma {}:{} {} of process {pid}>", row.start, row.end, row.prot),
            _ => format!("<Vma of process {pid}, gone>"),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.machine)
    }
}
