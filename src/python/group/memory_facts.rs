//! What the kernel says of memory, for displays in Python.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::os::memory_facts::{CgroupFacts, HugePageFacts, MemoryFacts, read};

/// Return what the kernel says of memory now, in bytes; None stands for what it does not say.
///
/// The cgroups are those of this process, its own first. `reclaimable` is the part of `usage` that the kernel gives up before
/// it kills a process.
#[pyfunction]
pub(crate) fn memory_facts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let MemoryFacts { total, available, swap_free, commit_limit, committed, overcommit_mode, huge_pages, cgroups } =
        py.detach(read);
    let facts = PyDict::new(py);
    facts.set_item("total", total)?;
    facts.set_item("available", available)?;
    facts.set_item("swap_free", swap_free)?;
    facts.set_item("commit_limit", commit_limit)?;
    facts.set_item("committed", committed)?;
    facts.set_item("overcommit_mode", overcommit_mode)?;
    let HugePageFacts { enabled, shmem_enabled, size } = huge_pages;
    facts.set_item("huge_page_enabled", enabled)?;
    facts.set_item("huge_page_shmem_enabled", shmem_enabled)?;
    facts.set_item("huge_page_size", size)?;
    let levels = cgroups.into_iter().map(|level| as_dict(py, level)).collect::<PyResult<Vec<_>>>()?;
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
