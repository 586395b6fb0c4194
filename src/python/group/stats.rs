//! `GroupStats` and `SlotStats`: what a group holds, as plain numbers.

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{IntoPyDict, PyDict, PyTuple};

use crate::python::ffi::text::{can_display, display, listed};

/// One slot of a group.
#[pyclass(frozen, get_all, eq, module = "memgroup")]
#[derive(PartialEq, Eq)]
pub(crate) struct SlotStats {
    /// Number of the slot; it holds `base << index` bytes.
    index: usize,
    /// Bytes it can hold.
    capacity: usize,
    /// Bytes handed out, including gaps between blocks.
    allocated: usize,
    /// Bytes accounted for as memory in use.
    committed: usize,
    /// Committed bytes that are in huge pages.
    huge: usize,
    /// Address space of its mirrors, in bytes.
    mapped: usize,
    /// Bytes that `protect` has handed out; bytes that were protected twice count twice.
    protected: usize,
    /// Sockets over which `send` has sent the slot to a process that has not released it.
    receivers: usize,
}

impl SlotStats {
    pub(crate) fn new(slot: crate::SlotStats, protected: usize, receivers: usize) -> Self {
        let crate::SlotStats { index, capacity, allocated, committed, huge, mapped } = slot;
        Self { index, capacity, allocated, committed, huge, mapped, protected, receivers }
    }
}

#[pymethods]
impl SlotStats {
    /// Return the same as a dict, for JSON.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.numbers().into_py_dict(py)
    }

    fn __repr__(&self) -> String {
        format!("SlotStats({})", listed(self.numbers()))
    }
}

impl SlotStats {
    fn numbers(&self) -> [(&'static str, usize); 8] {
        [
            ("index", self.index),
            ("capacity", self.capacity),
            ("allocated", self.allocated),
            ("committed", self.committed),
            ("huge", self.huge),
            ("mapped", self.mapped),
            ("protected", self.protected),
            ("receivers", self.receivers),
        ]
    }
}

/// A group. All figures but `slots`, `blocks` and `exports` are bytes. An ended group has no slots.
#[pyclass(frozen, get_all, module = "memgroup")]
pub(crate) struct GroupStats {
    /// The open slots, smallest first; in a forked child, followed by those of its parent.
    ///
    /// The slots of arrays that numpy allocated within `numpy()` come last.
    pub(crate) slots: Py<PyTuple>,
    /// Bytes that were requested.
    pub(crate) requested: usize,
    /// Bytes that were handed out: `requested` and the gaps for alignment.
    pub(crate) allocated: usize,
    /// Bytes accounted for as memory in use, which `limit` limits.
    pub(crate) committed: usize,
    /// Committed bytes that are in huge pages.
    pub(crate) huge: usize,
    /// Why not more of them are in huge pages; None if only sizes prevented it.
    pub(crate) huge_obstacle: Option<String>,
    /// Address space taken by the mirrors.
    pub(crate) mapped: usize,
    /// Bytes that `protect` has handed out since the group was made or reset.
    ///
    /// Bytes that were protected twice count twice.
    pub(crate) protected: usize,
    /// How many blocks were allocated since the group was made or reset.
    pub(crate) blocks: usize,
    /// How many views (live buffer exports) there are.
    pub(crate) exports: usize,
    /// Committed bytes in slots that a reset or the end has set aside until their exporters die.
    pub(crate) held: usize,
    /// Bytes of other objects that the group shows, see `borrow`. No other figure includes them.
    pub(crate) borrowed: usize,
}

#[pymethods]
impl GroupStats {
    /// Return the same as a dict of numbers and, under `"slots"`, dicts; for JSON.
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

    /// A map of the slots, for people; the repr where no memory is left to load what draws the map.
    fn __str__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        if can_display(slf.py())? { display(slf.as_any(), "as_text") } else { Ok(slf.repr()?.into_any()) }
    }

    /// What rich shows: a map of the slots.
    fn __rich__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        display(slf.as_any(), "as_rich")
    }

    /// Return a map of the slots for Jupyter.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        display(slf.as_any(), "as_html")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.slots)
    }
}

impl GroupStats {
    fn numbers(&self) -> [(&'static str, usize); 10] {
        [
            ("requested", self.requested),
            ("allocated", self.allocated),
            ("committed", self.committed),
            ("huge", self.huge),
            ("mapped", self.mapped),
            ("protected", self.protected),
            ("blocks", self.blocks),
            ("exports", self.exports),
            ("held", self.held),
            ("borrowed", self.borrowed),
        ]
    }
}
