//! Results as plain Python values.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyList};

use crate::fallible;
use crate::rmap::{AnonVmaId, Counts, Error, Graph, ProcessId, VmaId};

pub(super) fn counts_dict(py: Python<'_>, counts: Counts) -> PyResult<Bound<'_, PyDict>> {
    let numbers = [
        ("anon_vmas", counts.anon_vmas),
        ("chains", counts.chains),
        ("anon_vmas_total", counts.anon_vmas_total),
        ("chains_total", counts.chains_total),
        ("copies", counts.copies),
        ("visits", counts.visits),
        ("processes", counts.processes),
        ("processes_total", counts.processes_total),
        ("vmas", counts.vmas),
        ("vmas_total", counts.vmas_total),
        ("pages", counts.pages),
        ("pages_total", counts.pages_total),
    ];
    numbers.into_py_dict(py)
}

pub(super) fn graph_dict(py: Python<'_>, graph: Graph) -> PyResult<Bound<'_, PyDict>> {
    let pids = |processes: Vec<ProcessId>| processes.into_iter().map(ProcessId::pid).collect::<Vec<_>>();
    let processes = listed(py, graph.processes, |row, dict| {
        dict.set_item("pid", row.process.pid())?;
        dict.set_item("parent", row.parent)
    })?;
    let vmas = listed(py, graph.vmas, |row, dict| {
        dict.set_item("id", row.vma.number())?;
        dict.set_item("process", row.process.pid())?;
        dict.set_item("start", row.start)?;
        dict.set_item("stop", row.end)?;
        dict.set_item("index", row.index)?;
        dict.set_item("prot", row.prot.letters())?;
        dict.set_item("shared", row.shared)?;
        dict.set_item("accounted", row.accounted)?;
        dict.set_item("dontfork", row.dont_fork)?;
        dict.set_item("wipeonfork", row.wipe_on_fork)?;
        dict.set_item("anon_vma", row.anon_vma.map(AnonVmaId::number))?;
        dict.set_item("chain", row.chain.into_iter().map(AnonVmaId::number).collect::<Vec<_>>())
    })?;
    let anon_vmas = listed(py, graph.anon_vmas, |row, dict| {
        dict.set_item("id", row.anon_vma.number())?;
        dict.set_item("root", row.root.number())?;
        dict.set_item("parent", row.parent.number())?;
        dict.set_item("children", row.children)?;
        dict.set_item("active", row.active)?;
        dict.set_item("references", row.references)?;
        dict.set_item("members", row.members.into_iter().map(VmaId::number).collect::<Vec<_>>())
    })?;
    let pages = listed(py, graph.pages, |row, dict| {
        dict.set_item("id", row.page.number())?;
        dict.set_item("index", row.index)?;
        dict.set_item("mapping", row.mapping.map(AnonVmaId::number))?;
        dict.set_item("dangling", row.dangling)?;
        dict.set_item("shared", row.shared)?;
        dict.set_item("mapped_by", pids(row.mapped_by))?;
        dict.set_item("swapped_by", pids(row.swapped_by))
    })?;
    [("processes", processes), ("vmas", vmas), ("anon_vmas", anon_vmas), ("pages", pages)].into_py_dict(py)
}

/// What there are so many of, in a vector of its own.
pub(super) fn collected<T>(things: impl Iterator<Item = T>, number: u64) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    fallible::reserve(&mut all, usize::try_from(number).unwrap_or(usize::MAX)).map_err(|_| Error::NoMemory)?;
    all.extend(things);
    Ok(all)
}

/// Refuses beforehand what would take more memory than there is: where Python itself finds none for an integer, pyo3
/// panics.
pub(super) fn has_memory_for(things: usize, each: usize) -> Result<(), Error> {
    fallible::reserve(&mut Vec::<u8>::new(), things.saturating_mul(each)).map_err(|_| Error::NoMemory)
}

/// The most that an element of a list takes: a pair of objects of the model, and its place.
const ELEMENT_BYTES: usize = 256;

/// Things as a list; where there is no memory for it, that is an exception and no more.
pub(super) fn list_of<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    things: impl Iterator<Item = T>,
) -> PyResult<Bound<'py, PyList>> {
    has_memory_for(things.size_hint().0, ELEMENT_BYTES)?;
    let list = PyList::empty(py);
    for thing in things {
        list.append(thing)?;
    }
    Ok(list)
}

/// Rows as a list of dicts.
fn listed<'py, R>(
    py: Python<'py>,
    rows: Vec<R>,
    fill: impl Fn(R, &Bound<'py, PyDict>) -> PyResult<()>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for row in rows {
        let dict = PyDict::new(py);
        fill(row, &dict)?;
        list.append(dict)?;
    }
    Ok(list)
}
