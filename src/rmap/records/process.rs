//! Processes: their VMAs and their page tables.

use super::anon_vma::AnonVma;
use super::arena::{Arena, Id, Ix};
use super::page::{Entry, Leaf};
use super::vma::Vma;
use crate::rmap::room::put;

/// An address space. Its vectors outlive it, for the next process in its place.
#[derive(Default)]
pub(in crate::rmap) struct Process {
    /// Its number: 1 for the first of a machine, never given again, and 0 once it has exited.
    pub(in crate::rmap) pid: u64,
    /// Number of the process that forked it; 0 for one that was spawned.
    pub(in crate::rmap) parent: u64,
    /// Neighbours in the order of birth.
    pub(in crate::rmap) before: Option<Ix<Process>>,
    pub(in crate::rmap) after: Option<Ix<Process>>,
    /// By address; no two overlap.
    pub(in crate::rmap) vmas: Vec<Ix<Vma>>,
    /// Leaves by number. None of them is empty.
    pub(in crate::rmap) table: Vec<(u32, Ix<Leaf>)>,
    /// Its context, in the design that has them: it may be freed by now.
    pub(in crate::rmap) context: Option<Id<AnonVma>>,
}

impl Process {
    /// Where in `vmas` the first VMA is that ends behind a page address.
    #[inline]
    pub(in crate::rmap) fn position(&self, vmas: &Arena<Vma>, page: u64) -> usize {
        match self.vmas.as_slice() {
            // The common case, and the only one without a search.
            [only] => usize::from(vmas[*only].end <= page),
            all => all.partition_point(|&vma| vmas[vma].end <= page),
        }
    }

    /// The VMA that holds a page address.
    #[inline]
    pub(in crate::rmap) fn vma_at(&self, vmas: &Arena<Vma>, page: u64) -> Option<Ix<Vma>> {
        let &vma = self.vmas.get(self.position(vmas, page))?;
        vmas[vma].holds(page).then_some(vma)
    }

    /// Where in the table leaf `number` is, or would have to be.
    #[inline]
    fn leaf_position(&self, number: u32) -> Result<usize, usize> {
        self.table.binary_search_by_key(&number, |&(number, _)| number)
    }

    /// Where in the table the first leaf is that covers anything from a page address on.
    pub(in crate::rmap) fn first_leaf(&self, page: u64) -> usize {
        self.leaf_position(Leaf::number(page)).unwrap_or_else(|position| position)
    }

    #[inline]
    pub(in crate::rmap) fn entry(&self, leaves: &Arena<Leaf>, page: u64) -> Option<Entry> {
        let position = self.leaf_position(Leaf::number(page)).ok()?;
        leaves[self.table[position].1].get(page)
    }

    #[inline]
    pub(in crate::rmap) fn set_entry(&mut self, leaves: &mut Arena<Leaf>, page: u64, entry: Entry) {
        let number = Leaf::number(page);
        let leaf = match self.leaf_position(number) {
            Ok(position) => self.table[position].1,
            Err(position) => {
                let leaf = new_leaf(leaves);
                put(&mut self.table, position, (number, leaf));
                leaf
            }
        };
        leaves[leaf].set(page, entry);
    }

    /// The first entry of a range, and its address.
    pub(in crate::rmap) fn next_entry(&self, leaves: &Arena<Leaf>, start: u64, end: u64) -> Option<(u64, Entry)> {
        let behind = self.table[self.first_leaf(start)..].iter().take_while(|&&(number, _)| Leaf::first(number) < end);
        behind.flat_map(|&(number, leaf)| leaves[leaf].entries(number, start, end)).next()
    }

    pub(in crate::rmap) fn clear_entry(&mut self, leaves: &mut Arena<Leaf>, page: u64) {
        if let Ok(position) = self.leaf_position(Leaf::number(page)) {
            let leaf = self.table[position].1;
            leaves[leaf].clear(page);
            if leaves[leaf].is_empty() {
                leaves.remove(leaf);
                self.table.remove(position);
            }
        }
    }

    /// All entries, by address.
    pub(in crate::rmap) fn entries(&self, leaves: &Arena<Leaf>) -> impl Iterator<Item = (u64, Entry)> {
        self.table.iter().flat_map(|&(number, leaf)| leaves[leaf].entries(number, 0, u64::MAX))
    }
}

/// An empty leaf.
#[inline]
pub(in crate::rmap) fn new_leaf(leaves: &mut Arena<Leaf>) -> Ix<Leaf> {
    let leaf = leaves.take();
    leaves[leaf] = Leaf::default();
    leaf
}
