//! The class `Process`: what a process can do.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use crate::python::rmap::arguments::{Address, Children, Pages};
use crate::python::rmap::machine::Machine;
use crate::python::rmap::process::Process;
use crate::python::rmap::rows::list_of;
use crate::python::rmap::vma::Vma;
use crate::rmap::{Advice, Mmap, Mremap, PageId, Prot};

#[pymethods]
impl Process {
    /// Its number: 1 for a machine's first process; never reused.
    #[getter]
    fn pid(&self) -> u64 {
        self.id.pid()
    }

    /// The machine it lives or lived in.
    #[getter]
    fn machine(&self, py: Python<'_>) -> Py<Machine> {
        self.machine.clone_ref(py)
    }

    /// Whether it has not exited.
    #[getter]
    fn alive(&self, py: Python<'_>) -> PyResult<bool> {
        self.machine.get().with(py, |model| model.is_alive(self.id))
    }

    /// Map pages, without memory until they are accessed.
    ///
    /// Args:
    ///     pages: How many.
    ///     prot: Their permissions: letters of "rwx", or "" for none.
    ///     shared: Whether the process and its children see each other's writes.
    ///     at: The first page address; by default, at least one page away from every other mapping.
    ///
    /// Returns:
    ///     The VMA. It can be a neighbour that has grown.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     ValueError: The process has exited, a page of the range is mapped already, or the range is invalid.
    ///     MemoryError: No free range is large enough, or there is no memory for the model.
    #[pyo3(
        signature = (pages, *, prot=Prot::READ_WRITE, shared=false, at=None),
        text_signature = "($self, pages, *, prot='rw', shared=False, at=None)",
    )]
    fn mmap(&self, py: Python<'_>, pages: Pages, prot: Prot, shared: bool, at: Option<Address>) -> PyResult<Vma> {
        let wanted = Mmap { pages: pages.0, prot, shared, at: at.map(|at| at.0) };
        let vma = self.machine.get().with(py, |model| model.mmap(self.id, wanted))??;
        Ok(Vma::new(self.machine.bind(py), self.id, vma))
    }

    /// Unmap all pages in a range.
    ///
    /// Raises:
    ///     TypeError: An argument is no integer.
    ///     ValueError: The process has exited, or the range is invalid.
    #[pyo3(signature = (page, pages))]
    fn munmap(&self, py: Python<'_>, page: Address, pages: Pages) -> PyResult<()> {
        Ok(self.machine.get().with(py, |model| model.munmap(self.id, page.0, pages.0))??)
    }

    /// Move pages to other addresses. They keep their index, by which a walk finds them.
    ///
    /// Args:
    ///     page: The first page address of the range.
    ///     pages: How many, all of one VMA.
    ///     to: The new first page address. Pages that are mapped there are unmapped.
    ///     dontunmap: Whether the range stays mapped, without its pages (MREMAP_DONTUNMAP).
    ///
    /// Returns:
    ///     The VMA that has the pages now. It can be a neighbour that has grown.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     LookupError: A page of the range is not mapped; then nothing has changed.
    ///     ValueError: The process has exited, the range is invalid or has several VMAs, or both ranges overlap.
    ///     MemoryError: There is no memory for the model.
    #[pyo3(signature = (page, pages, to, *, dontunmap=false))]
    fn mremap(&self, py: Python<'_>, page: Address, pages: Pages, to: Address, dontunmap: bool) -> PyResult<Vma> {
        let wanted = Mremap { page: page.0, pages: pages.0, to: to.0, dont_unmap: dontunmap };
        let vma = self.machine.get().with(py, |model| model.mremap(self.id, wanted))??;
        Ok(Vma::new(self.machine.bind(py), self.id, vma))
    }

    /// Change the permissions of a range, all of which must be mapped.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     LookupError: A page of the range is not mapped; then nothing has changed.
    ///     ValueError: The process has exited, the range is invalid, or `prot` is unknown.
    #[pyo3(signature = (page, pages, prot))]
    fn mprotect(&self, py: Python<'_>, page: Address, pages: Pages, prot: Prot) -> PyResult<()> {
        Ok(self.machine.get().with(py, |model| model.mprotect(self.id, page.0, pages.0, prot))??)
    }

    /// Set what a fork does with a range, all of which must be mapped.
    ///
    /// Args:
    ///     page: The first page address.
    ///     pages: How many.
    ///     advice: "dontfork" (a child does not inherit it), "wipeonfork" (a child inherits it empty; private mappings
    ///         only), or "dofork" and "keeponfork", which undo these.
    ///
    /// Raises:
    ///     TypeError: An argument is of the wrong type.
    ///     LookupError: A page of the range is not mapped; then nothing has changed.
    ///     ValueError: The process has exited, the range is invalid, "wipeonfork" is for a shared mapping, or `advice`
    ///         is unknown.
    #[pyo3(signature = (page, pages, advice))]
    fn madvise(&self, py: Python<'_>, page: Address, pages: Pages, advice: Advice) -> PyResult<()> {
        Ok(self.machine.get().with(py, |model| model.madvise(self.id, page.0, pages.0, advice))??)
    }

    /// Write to a page. A page that other processes may see is copied first.
    ///
    /// Returns:
    ///     The id of the page that is there now.
    ///
    /// Raises:
    ///     TypeError: `page` is no integer.
    ///     LookupError: The page is not mapped.
    ///     PermissionError: It may not be written.
    ///     ValueError: The process has exited, or `page` is negative.
    #[pyo3(signature = (page, /))]
    fn write(&self, py: Python<'_>, page: Address) -> PyResult<u64> {
        Ok(self.machine.get().with(py, |model| model.write(self.id, page.0))??.number())
    }

    /// Read a page.
    ///
    /// Returns:
    ///     The id of the page that is there now, or None for the page of zeros, where nothing was written.
    ///
    /// Raises:
    ///     TypeError: `page` is no integer.
    ///     LookupError: The page is not mapped.
    ///     PermissionError: It may not be read.
    ///     ValueError: The process has exited, or `page` is negative.
    #[pyo3(signature = (page, /))]
    fn read(&self, py: Python<'_>, page: Address) -> PyResult<Option<u64>> {
        Ok(self.machine.get().with(py, |model| model.read(self.id, page.0))??.map(PageId::number))
    }

    /// Return the id of the page at an address, in memory or in swap, or None; access nothing.
    ///
    /// Raises:
    ///     TypeError: `page` is no integer.
    ///     LookupError: The page is not mapped.
    ///     ValueError: The process has exited, or `page` is negative.
    #[pyo3(signature = (page, /))]
    fn page(&self, py: Python<'_>, page: Address) -> PyResult<Option<u64>> {
        Ok(self.machine.get().with(py, |model| model.page_at(self.id, page.0))??.map(PageId::number))
    }

    /// Fork and return the child; with a number, fork so many children and return them in a list.
    ///
    /// Raises:
    ///     TypeError: `n` is no integer.
    ///     ValueError: The process has exited, or `n` is negative.
    ///     MemoryError: There would be more processes than Linux numbers, 4,194,304, or there is no memory for them;
    ///         then none is forked.
    #[pyo3(signature = (n=None, /))]
    fn fork<'py>(&self, py: Python<'py>, n: Option<Children>) -> PyResult<Bound<'py, PyAny>> {
        let machine = self.machine.bind(py);
        let Some(Children(n)) = n else {
            let child = machine.get().with(py, |model| model.fork(self.id))??;
            return Ok(Bound::new(py, Self::new(machine, child))?.into_any());
        };
        let children = machine.get().with_long(py, |model| model.fork_many(self.id, n))??;
        let list = list_of(py, children.iter().map(|&child| Self::new(machine, child)));
        if list.is_err() {
            // Nobody would know of them.
            machine.get().with_long(py, |model| children.into_iter().try_for_each(|child| model.exit(child)))??;
        }
        Ok(list?.into_any())
    }

    /// End the process: its page table, then its VMAs.
    ///
    /// Raises:
    ///     ValueError: It has exited already.
    fn exit(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.machine.get().with_long(py, |model| model.exit(self.id))??)
    }

    /// Return its VMAs, by address.
    ///
    /// Raises:
    ///     ValueError: The process has exited.
    fn vmas(&self, py: Python<'_>) -> PyResult<Vec<Vma>> {
        let machine = self.machine.bind(py);
        let rows = machine.get().with(py, |model| model.vmas(self.id))??;
        Ok(rows.into_iter().map(|row| Vma::new(machine, self.id, row.vma)).collect())
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
        format!("<Process {}{}>", self.id.pid(), if self.alive(py).unwrap_or(true) { "" } else { ", exited" })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.machine)
    }
}
