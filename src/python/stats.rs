//! `GroupStats` and `SlotStats`: what a group holds, as plain numbers.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyTuple};

/// One slot of a group.
#[pyclass(frozen, get_all, eq, module = "memgroup")]
#[derive(PartialEq, Eq)]
pub(super) struct SlotStats {
    /// Number of the slot; it holds `base << index` bytes.
    index: usize,
    /// Bytes it can hold.
    capacity: usize,
    /// Bytes handed out, the gaps between blocks among them.
    allocated: usize,
    /// Bytes accounted for as memory in use.
    committed: usize,
    /// Address space of its mirrors, in bytes.
    mapped: usize,
}

impl From<crate::SlotStats> for SlotStats {
    fn from(slot: crate::SlotStats) -> Self {
        let crate::SlotStats { index, capacity, allocated, committed, mapped } = slot;
        Self { index, capacity, allocated, committed, mapped }
    }
}

#[pymethods]
impl SlotStats {
    /// The same as a dict, for JSON.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.numbers().into_py_dict(py)
    }

    fn __repr__(&self) -> String {
        format!("SlotStats({})", listed(self.numbers()))
    }
}

impl SlotStats {
    fn numbers(&self) -> [(&'static str, usize); 5] {
        [
            ("index", self.index),
            ("capacity", self.capacity),
            ("allocated", self.allocated),
            ("committed", self.committed),
            ("mapped", self.mapped),
        ]
    }
}

/// Figures as a repr shows them.
pub(super) fn listed<const N: usize>(numbers: [(&'static str, usize); N]) -> String {
    numbers.map(|(name, number)| format!("{name}={number}")).join(", ")
}

/// A group. All figures but `slots`, `blocks` and `exports` are bytes.
#[pyclass(frozen, get_all, module = "memgroup")]
pub(super) struct GroupStats {
    /// The open slots, smallest first, as a tuple of `SlotStats`; in a forked child, behind them those of its parent.
    pub(super) slots: Py<PyTuple>,
    /// What was asked for.
    pub(super) requested: usize,
    /// What was handed out: `requested` and the gaps for alignment.
    pub(super) allocated: usize,
    /// What is accounted for as memory in use; what `limit` limits.
    pub(super) committed: usize,
    /// Address space taken by the mirrors.
    pub(super) mapped: usize,
    /// How many blocks were allocated since the group was made or reset.
    pub(super) blocks: usize,
    /// How many views (live buffer exports) there are.
    pub(super) exports: usize,
}

#[pymethods]
impl GroupStats {
    /// The same as a dict of numbers and, under `"slots"`, dicts; for JSON.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let slots: Vec<_> =
            self.slots.bind(py).iter().map(|slot| slot.call_method0("as_dict")).collect::<Result<_, _>>()?;
        let dict = PyDict::new(py);
        dict.set_item("slots", slots)?;
        for (name, number) in self.numbers() {
            dict.set_item(name, number)?;
        }
        Ok(dict)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("GroupStats({}, slots={})", listed(self.numbers()), self.slots.bind(py).as_any())
    }
}

impl GroupStats {
    fn numbers(&self) -> [(&'static str, usize); 6] {
        [
            ("requested", self.requested),
            ("allocated", self.allocated),
            ("committed", self.committed),
            ("mapped", self.mapped),
            ("blocks", self.blocks),
            ("exports", self.exports),
        ]
    }
}
