//! The class `Machine`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::python::rmap::arguments::Design;
use crate::python::rmap::broken::Broken;
use crate::python::rmap::machine::Machine;
use crate::python::rmap::process::Process;
use crate::python::rmap::rows::{collected, counts_dict, graph_dict, has_memory_for, list_of};
use crate::python::rmap::vma::Vma;
use crate::rmap::{self, CloneOrder, Error, Kernel, PageId, Policy, Rules};

/// The most that the checker notes of a thing, and that a row of the graph takes with what it names, as a dict too.
const CHECKED_BYTES: usize = 64;
const ROW_BYTES: usize = 2048;

/// Refuses beforehand what would take more memory than there is, at so much for everything that the machine holds.
fn has_memory(model: &rmap::Machine, each: usize) -> Result<(), Error> {
    let counts = model.counts();
    let things = counts.processes + counts.vmas + counts.anon_vmas + counts.chains + counts.pages;
    has_memory_for(usize::try_from(things).unwrap_or(usize::MAX), each)
}

/// The version of the kernel that runs this process.
fn running_kernel(py: Python<'_>) -> PyResult<Kernel> {
    let uname = py.import("os")?.call_method0("uname")?;
    let [release, build] = ["release", "version"].map(|name| uname.getattr(name)?.extract::<String>());
    let signature = std::fs::read_to_string("/proc/version_signature").unwrap_or_default();
    Kernel::of_release(&release?, &build?, &signature).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl Machine {
    /// The names of the designs, oldest first.
    #[classattr]
    #[pyo3(name = "POLICIES")]
    fn policies(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, Policy::ALL.map(Policy::name))
    }

    #[new]
    #[pyo3(signature = (policy=None, *, kernel=None, clone_order=None))]
    fn new(
        py: Python<'_>,
        policy: Option<Design>,
        kernel: Option<Kernel>,
        clone_order: Option<CloneOrder>,
    ) -> PyResult<Self> {
        let kernel = match (&policy, kernel) {
            (Some(_), Some(_)) => {
                return Err(PyValueError::new_err("policy and kernel both name a design: leave one of them out"));
            }
            (Some(Design::Running), None) => Some(running_kernel(py)?),
            (_, kernel) => kernel,
        };
        let policy = match (policy, kernel) {
            (_, Some(kernel)) => kernel.policy(),
            (Some(Design::Named(policy)), None) => policy,
            _ => Policy::NEWEST,
        };
        let rules = kernel.map_or(policy.rules(), Kernel::rules);
        let rules = Rules { clone_order: clone_order.unwrap_or(rules.clone_order), ..rules };
        Self::of(policy, kernel, rules)
    }

    /// The design's name.
    #[getter]
    fn policy(&self) -> &'static str {
        self.design().name()
    }

    /// The kernel whose rules it follows, as in "6.18.44", or None if it was made without one.
    #[getter]
    fn kernel(&self) -> Option<String> {
        self.kernel_version().map(|kernel| kernel.to_string())
    }

    /// How forks copy chains: "keeps" (newest first) or "reverses".
    #[getter]
    fn clone_order(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.with(py, |model| model.rules().clone_order.name())
    }

    /// Return a new process without mappings and without a parent.
    ///
    /// Raises:
    ///     MemoryError: There are as many processes as Linux numbers, 4,194,304, or there is no memory for more.
    fn spawn(slf: &Bound<'_, Self>) -> PyResult<Process> {
        let process = slf.get().with(slf.py(), rmap::Machine::spawn)??;
        Ok(Process::new(slf, process))
    }

    /// Return the live processes, oldest first.
    fn processes<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let all = slf.get().with(py, |model| collected(model.processes(), model.counts().processes))??;
        list_of(py, all.into_iter().map(|process| Process::new(slf, process)))
    }

    /// Return the ids of the pages that a process maps or has in swap, or that a shared mapping holds.
    fn pages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all = self.with(py, |model| collected(model.pages(), model.counts().pages))??;
        list_of(py, all.into_iter().map(PageId::number))
    }

    /// Swap a page out: the walk removes the page table entries that it finds.
    ///
    /// Returns:
    ///     Whether it found all of them, so that the page left memory. It does in every correct design.
    ///
    /// Raises:
    ///     TypeError: `page_id` is no integer.
    ///     LookupError: There is no such page.
    ///     ValueError: The page is in no page table, or `page_id` is negative.
    #[pyo3(signature = (page_id, /))]
    fn swap_out(&self, py: Python<'_>, page_id: PageId) -> PyResult<bool> {
        Ok(self.with_long(py, |model| model.swap_out(page_id))??.left == 0)
    }

    /// Return the places where a page can be mapped, as (process, VMA), in the order of a full walk.
    ///
    /// Their ranges contain the page's address, but they need not map the page. The list is empty while no process maps
    /// the page, as after `swap_out` until a process accesses it; a page of a shared mapping is found nevertheless, by
    /// the mapping, in every design but "scan24". It is also empty if a broken design cannot find the page.
    ///
    /// Raises:
    ///     TypeError: `page_id` is no integer.
    ///     LookupError: There is no such page.
    ///     ValueError: `page_id` is negative.
    #[pyo3(signature = (page_id, /))]
    fn walk<'py>(slf: &Bound<'py, Self>, page_id: PageId) -> PyResult<Bound<'py, PyList>> {
        let walk = slf.get().with_long(slf.py(), |model| model.walk(page_id))??;
        let places = walk.places.into_iter();
        list_of(slf.py(), places.map(|(process, vma)| (Process::new(slf, process), Vma::new(slf, process, vma))))
    }

    /// Return how many VMAs a full walk visits: those of `walk`, and in designs with a list also others.
    ///
    /// Raises:
    ///     TypeError: `page_id` is no integer.
    ///     LookupError: There is no such page.
    ///     ValueError: `page_id` is negative.
    #[pyo3(signature = (page_id, /))]
    fn walk_visits(&self, py: Python<'_>, page_id: PageId) -> PyResult<u64> {
        Ok(self.with_long(py, |model| model.walk_visits(page_id))??)
    }

    /// Return how many VMAs unmapping a page would visit: the walk ends with the last page table entry.
    ///
    /// Raises:
    ///     TypeError: `page_id` is no integer.
    ///     LookupError: There is no such page.
    ///     ValueError: `page_id` is negative.
    #[pyo3(signature = (page_id, /))]
    fn unmap_visits(&self, py: Python<'_>, page_id: PageId) -> PyResult<u64> {
        Ok(self.with_long(py, |model| model.unmap_visits(page_id))??)
    }

    /// Return the processes that map a page, oldest first, from all page tables: a walk should find them.
    ///
    /// Raises:
    ///     TypeError: `page_id` is no integer.
    ///     LookupError: There is no such page.
    ///     ValueError: `page_id` is negative.
    #[pyo3(signature = (page_id, /))]
    fn mapped_by<'py>(slf: &Bound<'py, Self>, page_id: PageId) -> PyResult<Bound<'py, PyList>> {
        let holders = slf.get().with_long(slf.py(), |model| model.mapped_by(page_id))??;
        list_of(slf.py(), holders.into_iter().map(|process| Process::new(slf, process)))
    }

    /// Return the numbers of existing objects, and of objects and operations in all, by name.
    ///
    /// `processes`, `vmas`, `anon_vmas`, `chains` (chain entries) and `pages` that exist; each with `_total`, how many
    /// were ever made; `copies`, pages that were copied on write; `visits`, VMAs that `swap_out` visited. The
    /// difference between two calls is the cost of the operations in between.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.with(py, |model| model.counts())?;
        counts_dict(py, counts)
    }

    /// Return the broken invariants, those of pages first; none in a correct design.
    ///
    /// Raises:
    ///     MemoryError: There is too little memory to check everything.
    fn check(slf: &Bound<'_, Self>) -> PyResult<Vec<Broken>> {
        let broken = slf.get().with_long(slf.py(), |model| {
            has_memory(model, CHECKED_BYTES)?;
            Ok::<_, Error>(model.check())
        })??;
        broken.into_iter().map(|broken| Broken::new(slf, broken)).collect()
    }

    /// Return the whole state as dicts and lists, for drawing and for other tools.
    ///
    /// `processes`: pid, parent (the pid of its parent, or 0). `vmas`: id, process (a pid), start, stop, index (of its
    /// first page), prot, shared, accounted, dontfork, wipeonfork, anon_vma (an id or None), chain (ids of anon_vmas).
    /// `anon_vmas`: id, root, parent, children, active, references, members (ids of VMAs in the order of a walk).
    /// `pages`: id, index, mapping (id of an anon_vma or None), dangling, shared, mapped_by, swapped_by (pids).
    ///
    /// Raises:
    ///     MemoryError: There is too little memory for the whole state.
    fn graph<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let graph = self.with_long(py, |model| {
            has_memory(model, ROW_BYTES)?;
            Ok::<_, Error>(model.graph())
        })??;
        graph_dict(py, graph)
    }

    /// Draw the whole state as SVG: a grid of VMAs and anon_vmas, with a dot for each chain entry.
    ///
    /// Args:
    ///     page: The id of a page: its walk is drawn, numbered in the order of a full walk.
    ///
    /// Returns:
    ///     The picture; the same for the same state.
    ///
    /// Raises:
    ///     TypeError: `page` is no integer.
    ///     LookupError: There is no such page.
    ///     ValueError: `page` is negative, or the family is too large for one picture: more than 32 processes, 48 VMAs,
    ///         48 anon_vmas or, without `page`, 24 pages.
    ///     RuntimeError: Other threads changed the machine during every attempt.
    #[pyo3(signature = (page=None))]
    fn draw<'py>(slf: &Bound<'py, Self>, page: Option<PageId>) -> PyResult<Bound<'py, PyAny>> {
        let drawing = slf.py().import("memgroup.display.rmap")?;
        drawing.call_method1("draw", (slf, page.map(PageId::number)))
    }

    /// Return the picture for Jupyter, or None for a family that is too large for one.
    fn _repr_svg_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("memgroup.display.rmap")?.call_method1("svg_or_none", (slf,))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let Ok(counts) = self.with(py, |model| model.counts()) else {
            return format!("<Machine policy='{}', interrupted by a fork>", self.design());
        };
        let (policy, processes, pages) = (self.design(), counts.processes, counts.pages);
        format!("<Machine policy='{policy}' processes={processes} pages={pages}>")
    }
}
