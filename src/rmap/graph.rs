//! The whole state as plain rows, for drawing and for other tools.

use super::records::machine::Machine;
use super::records::page::Entry;
use super::{AnonVmaId, Error, PageId, ProcessId, Prot, VmaId};

/// Everything a machine holds. Rows name each other by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// By birth.
    pub processes: Vec<ProcessRow>,
    /// By process, then by address.
    pub vmas: Vec<VmaRow>,
    /// By id.
    pub anon_vmas: Vec<AnonVmaRow>,
    /// By id.
    pub pages: Vec<PageRow>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    /// Its name.
    pub process: ProcessId,
    /// Number of the process that forked it; 0 for one that was spawned.
    pub parent: u64,
}

/// A VMA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmaRow {
    /// Its name.
    pub vma: VmaId,
    /// Whose it is.
    pub process: ProcessId,
    /// Its first page address.
    pub start: u64,
    /// The page address behind its last.
    pub end: u64,
    /// The index of its first page: its address, unless `mremap` has moved a VMA with pages.
    pub index: u64,
    /// Its permissions.
    pub prot: Prot,
    /// Whether it is a shared mapping.
    pub shared: bool,
    /// Whether it is accounted for (VM_ACCOUNT).
    pub accounted: bool,
    /// Whether children do not get it.
    pub dont_fork: bool,
    /// Whether children get it empty.
    pub wipe_on_fork: bool,
    /// Its own anon_vma.
    pub anon_vma: Option<AnonVmaId>,
    /// Its chain: newest first where copies keep the order.
    pub chain: Vec<AnonVmaId>,
}

/// An anon_vma.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnonVmaRow {
    /// Its name.
    pub anon_vma: AnonVmaId,
    /// The first of its family.
    pub root: AnonVmaId,
    /// The one it was forked from; itself, for a root.
    pub parent: AnonVmaId,
    /// How many have it for a parent; a root is its own child.
    pub children: u32,
    /// How many VMAs have it as their own.
    pub active: u32,
    /// References that keep it: one for its members together, and for a root one for each descendant.
    pub references: u32,
    /// The VMAs that a walk comes to, in its order.
    pub members: Vec<VmaId>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Its name.
    pub page: PageId,
    /// The address that it was first touched at; a VMA says where it has the page now.
    pub index: u64,
    /// Where a walk begins.
    pub mapping: Option<AnonVmaId>,
    /// Whether that anon_vma was freed.
    pub dangling: bool,
    /// Whether it belongs to a shared mapping.
    pub shared: bool,
    /// The processes that map it, by birth.
    pub mapped_by: Vec<ProcessId>,
    /// The processes that have it in swap, by birth.
    pub swapped_by: Vec<ProcessId>,
}

impl Machine {
    /// The whole state as plain rows.
    pub fn graph(&self) -> Graph {
        let mut holders = vec![(Vec::new(), Vec::new()); self.pages.places()];
        for process in self.by_birth() {
            let name = self.name(process);
            for (_, entry) in self.processes[process].entries(&self.leaves) {
                match entry {
                    Entry::Zero => {}
                    Entry::Present { page, .. } => holders[page.get()].0.push(name),
                    Entry::Swapped { page } => holders[page.get()].1.push(name),
                }
            }
        }
        let processes = self.by_birth();
        let pages = self.pages.iter().map(|(page, record)| {
            let (mapped_by, swapped_by) = std::mem::take(&mut holders[page.get()]);
            PageRow {
                page: self.page_name(page),
                index: record.index,
                mapping: record.mapping.map(AnonVmaId),
                dangling: record.mapping.is_some_and(|mapping| self.anon_vmas.find(mapping).is_none()),
                shared: record.object.is_some(),
                mapped_by,
                swapped_by,
            }
        });
        Graph {
            pages: pages.collect(),
            processes: processes
                .map(|process| ProcessRow { process: self.name(process), parent: self.processes[process].parent })
                .collect(),
            vmas: self.processes().flat_map(|process| self.vmas(process).unwrap_or_default()).collect(),
            anon_vmas: self.anon_vmas.iter().map(|(anon_vma, _)| self.anon_vma_row(anon_vma)).collect(),
        }
    }

    /// The VMAs of a process, by address.
    ///
    /// # Errors
    /// [`Error::Exited`].
    pub fn vmas(&self, process: ProcessId) -> Result<Vec<VmaRow>, Error> {
        let process = self.live(process)?;
        Ok(self.processes[process].vmas.iter().map(|&vma| self.vma_row(vma)).collect())
    }

    /// A VMA as it is now.
    ///
    /// # Errors
    /// [`Error::NoVma`].
    pub fn vma(&self, vma: VmaId) -> Result<VmaRow, Error> {
        let place = self.vmas.find(vma.0).ok_or(Error::NoVma { vma })?;
        Ok(self.vma_row(place))
    }

    /// The page that a process has at an address, in memory or in swap, without touching it; `None` if there is none
    /// yet.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Unmapped`].
    pub fn page_at(&self, process: ProcessId, page: u64) -> Result<Option<PageId>, Error> {
        let live = self.live(process)?;
        if self.processes[live].vma_at(&self.vmas, page).is_none() {
            return Err(Error::Unmapped { pid: process.pid(), page });
        }
        Ok(match self.processes[live].entry(&self.leaves, page) {
            Some(Entry::Present { page, .. } | Entry::Swapped { page }) => Some(self.page_name(page)),
            Some(Entry::Zero) | None => None,
        })
    }

    fn vma_row(&self, vma: super::records::arena::Ix<super::records::vma::Vma>) -> VmaRow {
        let record = &self.vmas[vma];
        let traits = record.traits;
        VmaRow {
            vma: VmaId(self.vmas.id(vma)),
            process: self.name(record.process),
            start: record.start,
            end: record.end,
            index: record.index,
            prot: traits.prot,
            shared: record.is_shared(),
            accounted: traits.accounted,
            dont_fork: traits.dont_fork,
            wipe_on_fork: traits.wipe_on_fork,
            anon_vma: record.anon_vma.map(|own| AnonVmaId(self.anon_vmas.id(own))),
            chain: self.chain(vma).map(|anon_vma| AnonVmaId(self.anon_vmas.id(anon_vma))).collect(),
        }
    }

    fn anon_vma_row(&self, anon_vma: super::records::arena::Ix<super::records::anon_vma::AnonVma>) -> AnonVmaRow {
        let record = &self.anon_vmas[anon_vma];
        AnonVmaRow {
            anon_vma: AnonVmaId(self.anon_vmas.id(anon_vma)),
            root: AnonVmaId(self.anon_vmas.id(record.root)),
            parent: AnonVmaId(record.parent),
            children: record.children,
            active: record.active,
            references: record.references,
            members: self.members(anon_vma).map(|link| VmaId(self.vmas.id(self.links[link].vma))).collect(),
        }
    }
}
