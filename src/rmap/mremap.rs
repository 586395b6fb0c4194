//! Moving pages to other addresses: `mremap`.

use super::policy::{Family, Left};
use super::range::checked;
use super::records::arena::Ix;
use super::records::machine::Machine;
use super::records::page::Leaf;
use super::records::process::Process;
use super::records::vma::Vma;
use super::room::make_room;
use super::{Error, ProcessId, VmaId};

/// A move of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mremap {
    /// The first page address, of the range as it is.
    pub page: u64,
    /// How many pages, all of one VMA.
    pub pages: u64,
    /// The new first page address. Pages that are mapped there are unmapped.
    pub to: u64,
    /// Whether the range stays mapped, without its pages (`MREMAP_DONTUNMAP`).
    pub dont_unmap: bool,
}

impl Machine {
    /// Moves pages of a process to other addresses. They keep their index, by which a walk finds them. Returns the VMA
    /// that has them now, which can be a neighbour that has grown.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Range`], [`Error::Overlap`], [`Error::Unmapped`], [`Error::Spans`], [`Error::Full`],
    /// [`Error::NoMemory`].
    pub fn mremap(&mut self, process: ProcessId, wanted: Mremap) -> Result<VmaId, Error> {
        let live = self.live(process)?;
        let Mremap { page, pages, to, dont_unmap } = wanted;
        let (start, end) = checked(page, pages)?;
        let (to, to_end) = checked(to, pages)?;
        if start < to_end && to < end {
            return Err(Error::Overlap { page, pages, to });
        }
        self.check_source(process, start, end)?;
        self.make_room_around_all(live, &[(start, end), (to, to_end)])?;
        self.make_room_to_move(live, start, end)?;
        self.unmap(live, to, to_end);
        // Only now: unmapping can have split it.
        let Some(source) = self.processes[live].vma_at(&self.vmas, start) else {
            return Err(Error::Unmapped { pid: process.pid, page });
        };
        let Vma { traits, anon_vma, .. } = self.vmas[source];
        // What was never touched is indexed anew, so that neighbours can grow over it. Without anon_vmas, nobody knows.
        let is_untouched = anon_vma.is_none() && traits.object.is_none() && self.rules.family != Family::None;
        let index = if is_untouched { to } else { self.vmas[source].index_of(start) };
        let moved = Vma { process: live, start: to, end: to_end, index, traits, ..Vma::default() };
        let apart = dont_unmap && self.rules.left == Left::StaysApart;
        let moved = self.place(moved, Some(source), apart.then_some(source));
        self.move_entries(live, start, end, to);
        if !dont_unmap {
            self.unmap(live, start, end);
        } else if self.rules.left != Left::KeepsChain {
            self.forget_chain(live, start, end, moved);
        }
        Ok(VmaId(self.vmas.id(moved)))
    }

    /// That a range is of one VMA.
    fn check_source(&self, process: ProcessId, start: u64, end: u64) -> Result<(), Error> {
        let pid = process.pid;
        let live = self.live(process)?;
        let source = self.processes[live].vma_at(&self.vmas, start).ok_or(Error::Unmapped { pid, page: start })?;
        let border = self.vmas[source].end;
        if end <= border {
            return Ok(());
        }
        match self.processes[live].vma_at(&self.vmas, border) {
            Some(_) => Err(Error::Spans { pid, page: start, border }),
            None => Err(Error::Unmapped { pid, page: border }),
        }
    }

    /// Takes the chain from a VMA that has lost all its pages to another one.
    fn forget_chain(&mut self, process: Ix<Process>, start: u64, end: u64, moved: Ix<Vma>) {
        let left = self.processes[process].vma_at(&self.vmas, start);
        let whole = left.filter(|&left| left != moved && self.vmas[left].range() == (start..end));
        whole.into_iter().for_each(|vma| self.unlink(vma));
    }

    /// Moves the page table entries of a range.
    fn move_entries(&mut self, process: Ix<Process>, start: u64, end: u64, to: u64) {
        let Self { processes, leaves, .. } = self;
        let process = &mut processes[process];
        let mut from = start;
        while let Some((page, entry)) = process.next_entry(leaves, from, end) {
            process.clear_entry(leaves, page);
            process.set_entry(leaves, to + (page - start), entry);
            from = page + 1;
        }
    }

    /// Room for the page table entries of a range elsewhere: the entries of a leaf can come to lie in two.
    fn make_room_to_move(&mut self, process: Ix<Process>, start: u64, end: u64) -> Result<(), Error> {
        let Process { table, .. } = &self.processes[process];
        let [first, behind] =
            [start, end.next_multiple_of(Leaf::SPAN)].map(|page| self.processes[process].first_leaf(page));
        let leaves = 2 * (behind - first);
        debug_assert!(leaves <= 2 * table.len());
        self.leaves.make_room(leaves, "page tables")?;
        make_room(&mut self.processes[process].table, leaves)
    }
}
