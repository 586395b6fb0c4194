//! The name of a VMA. What Python calls is in `class::vma`.

use pyo3::prelude::*;

use super::machine::Machine;
use crate::rmap::{ProcessId, VmaId, VmaRow};

/// A range of pages of one process with the same permissions. Its attributes show its current state.
///
/// Once it is unmapped or merged into a neighbour, or its process has exited, they raise ValueError.
#[pyclass(frozen, module = "memgroup.rmap")]
pub(super) struct Vma {
    pub(super) machine: Py<Machine>,
    pub(super) owner: ProcessId,
    pub(super) id: VmaId,
}

impl Vma {
    pub(super) fn new(machine: &Bound<'_, Machine>, owner: ProcessId, id: VmaId) -> Self {
        Self { machine: machine.clone().unbind(), owner, id }
    }

    /// What it is like now.
    pub(super) fn row(&self, py: Python<'_>) -> PyResult<VmaRow> {
        Ok(self.machine.get().with(py, |model| model.vma(self.id))??)
    }
}
