//! The name of a process. What Python calls is in `class::process`.

use pyo3::prelude::*;

use super::machine::Machine;
use crate::rmap::ProcessId;

/// A process of a machine: what `Machine.spawn` and `Process.fork` make.
///
/// Addresses are counted in pages. Every page in memory or swap has an id. Once the process has exited, every use of it
/// but `pid`, `alive` and `machine` raises ValueError.
#[pyclass(frozen, module = "memgroup.rmap")]
pub(super) struct Process {
    pub(super) machine: Py<Machine>,
    pub(super) id: ProcessId,
}

impl Process {
    pub(super) fn new(machine: &Bound<'_, Machine>, id: ProcessId) -> Self {
        Self { machine: machine.clone().unbind(), id }
    }
}
