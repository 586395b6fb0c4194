//! What the kernel says of memory, for displays in Python.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::os::memory_facts::{CgroupFacts, HugePageFacts, read};

/// Return the kernel's current figures of memory, in bytes; None for those that it does not report.
///
/// The cgroups are those of this process, its own first. `reclaimable` is the part of `usage` that the kernel reclaims
/// before it kills a process.
#[pyfunction]
pub(crate) fn memory_facts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let known = py.detach(read);
    let facts = PyDict::new(py);
    facts.set_item("total", known.total)?;
    facts.set_item("available", known.available)?;
    facts.set_item("swap_free", known.swap_free)?;
    facts.set_item("commit_limit", known.commit_limit)?;
    facts.set_item("committed", known.committed)?;
    facts.set_item("overcommit_mode", known.overcommit_mode)?;
    facts.set_item("max_mappings", known.max_mappings)?;
    facts.set_item("mappings", known.mappings)?;
    facts.set_item("processes_left", known.processes_left)?;
    let HugePageFacts { enabled, shmem_enabled, size } = known.huge_pages;
    facts.set_item("huge_page_enabled", enabled)?;
    facts.set_item("huge_page_shmem_enabled", shmem_enabled)?;
    facts.set_item("huge_page_size", size)?;
    let levels = known.cgroups.into_iter().map(|level| as_dict(py, level)).collect::<PyResult<Vec<_>>>()?;
    facts.set_item("cgroups", PyList::new(py, levels)?)?;
    Ok(facts)
}

fn as_dict(py: Python<'_>, level: CgroupFacts) -> PyResult<Bound<'_, PyDict>> {
    let CgroupFacts { path, version, limit, usage, reclaimable } = level;
    let facts = PyDict::new(py);
    facts.set_item("path", path)?;
    facts.set_item("version", version)?;
    facts.set_item("limit", limit)?;
    facts.set_item("usage", usage)?;
    facts.set_item("reclaimable", reclaimable)?;
    Ok(facts)
}
