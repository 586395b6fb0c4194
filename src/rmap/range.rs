//! Ranges: mapping, unmapping, protecting and advising, and the splits and merges of VMAs that come with them.

use super::policy::Unfaulted;
use super::records::arena::Ix;
use super::records::machine::{LIMIT, Machine};
use super::records::page::{Entry, Leaf};
use super::records::process::Process;
use super::records::vma::{Advice, Prot, Traits, Vma};
use super::room::{make_room, put};
use super::{Error, ProcessId, VmaId};

/// The first page that mmap chooses: Linux keeps 64 KiB below free, against null pointers (`vm.mmap_min_addr`).
const FIRST: u64 = 16;

/// The most VMAs that a change to a range makes: one at either end, and one between.
const NEW_VMAS: usize = 3;

/// What a VMA can grow over.
#[derive(Clone, Copy)]
enum Over {
    /// What was not mapped before: a new mapping, or where pages are moved to.
    Unmapped,
    /// A part of a neighbour.
    Neighbour,
}

/// The description of a new mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmap {
    /// How many pages.
    pub pages: u64,
    /// Their permissions.
    pub prot: Prot,
    /// Whether a process and its children see each other's writes.
    pub shared: bool,
    /// The first page address, or `None` to have one chosen, a page away from every other mapping.
    pub at: Option<u64>,
}

impl Mmap {
    /// A private mapping to read and write, wherever there is room.
    pub fn new(pages: u64) -> Self {
        Self { pages, prot: Prot::READ_WRITE, shared: false, at: None }
    }

    /// At that page address.
    pub fn at(self, page: u64) -> Self {
        Self { at: Some(page), ..self }
    }

    /// With that protection.
    pub fn prot(self, prot: Prot) -> Self {
        Self { prot, ..self }
    }

    /// Shared with the children.
    pub fn shared(self) -> Self {
        Self { shared: true, ..self }
    }
}

impl Machine {
    /// Maps pages, none of which is there until it is touched. The VMA can be a neighbour that has grown.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Range`], [`Error::Taken`], [`Error::NoHole`], [`Error::Full`],
    /// [`Error::NoMemory`].
    pub fn mmap(&mut self, process: ProcessId, wanted: Mmap) -> Result<VmaId, Error> {
        let live = self.live(process)?;
        let Mmap { pages, prot, shared, at } = wanted;
        let range = checked(at.unwrap_or(0), pages)?;
        let start = match at {
            Some(start) => start,
            None => self.hole(live, pages).ok_or(Error::NoHole { pid: process.pid, pages })?,
        };
        let end = start + (range.1 - range.0);
        let position = self.processes[live].position(&self.vmas, start);
        if let Some(&next) = self.processes[live].vmas.get(position)
            && self.vmas[next].start < end
        {
            return Err(Error::Taken { pid: process.pid, page: self.vmas[next].start.max(start) });
        }
        self.make_room_around(live, start, end)?;
        let object = shared.then(|| self.objects.take());
        let traits = Traits::new(prot, object);
        let vma = self.place(Vma { process: live, start, end, index: start, traits, ..Vma::default() }, None, None);
        Ok(VmaId(self.vmas.id(vma)))
    }

    /// Puts a VMA where nothing is mapped, or lets its neighbours grow over it, except `apart`. `from` is the VMA that
    /// it is a moved part of.
    pub(super) fn place(&mut self, new: Vma, from: Option<Ix<Vma>>, apart: Option<Ix<Vma>>) -> Ix<Vma> {
        let process = new.process;
        // Without an anon_vma there is nothing to hand on. With one, it cannot be a neighbour: the indices do not
        // continue.
        let from = from.filter(|&from| self.vmas[from].anon_vma.is_some());
        let position = self.processes[process].position(&self.vmas, new.start);
        let vmas = &self.processes[process].vmas;
        let fits = |neighbour: &Ix<Vma>| {
            let vma = &self.vmas[*neighbour];
            let touches = vma.continues_in(&new) || new.continues_in(vma);
            let is_alike = touches && vma.traits == new.traits && apart != Some(*neighbour);
            is_alike && self.can_grow_over(*neighbour, from, Over::Unmapped)
        };
        let previous = position.checked_sub(1).map(|position| vmas[position]).filter(fits);
        let next = vmas.get(position).copied().filter(fits);
        let next = next.filter(|&next| previous.is_none_or(|previous| self.agree(previous, next)));
        let Some(grown) = previous.or(next) else {
            let vma = self.new_vma(new);
            put(&mut self.processes[process].vmas, position, vma);
            from.into_iter().for_each(|from| self.clone_chain(from, vma));
            return vma;
        };
        let mut end = new.end.max(self.vmas[grown].end);
        if let (Some(_), Some(next)) = (previous, next) {
            end = self.vmas[next].end;
            self.take_over(grown, next);
            self.remove_vma(process, next);
        }
        if self.rules.unfaulted == Unfaulted::Inherits {
            from.into_iter().for_each(|from| self.take_over(grown, from));
        }
        self.reshape(grown, self.vmas[grown].start.min(new.start), end);
        grown
    }

    /// Unmaps all pages in a range, splitting the VMAs at its ends.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Range`], [`Error::Full`],
    /// [`Error::NoMemory`].
    pub fn munmap(&mut self, process: ProcessId, page: u64, pages: u64) -> Result<(), Error> {
        let process = self.live(process)?;
        let (start, end) = checked(page, pages)?;
        self.make_room_around(process, start, end)?;
        self.unmap(process, start, end);
        Ok(())
    }

    /// Unmaps a range, for which there is room.
    pub(super) fn unmap(&mut self, process: Ix<Process>, start: u64, end: u64) {
        self.clear(process, start, end);
        while let Some(vma) = self.first_in(process, start, end) {
            let vma = self.cut_out(vma, start, end);
            self.remove_vma(process, vma);
        }
    }

    /// Changes the permissions of a range, all of which must be mapped.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Range`], [`Error::Unmapped`], [`Error::Full`],
    /// [`Error::NoMemory`].
    pub fn mprotect(&mut self, process: ProcessId, page: u64, pages: u64, prot: Prot) -> Result<(), Error> {
        let (process, start, end) = self.mapped_range(process, page, pages)?;
        self.change(process, start, end, |vma| vma.traits.protected(prot, vma.anon_vma.is_some()));
        if !prot.allows_writing() {
            self.write_protect(process, start, end);
        }
        Ok(())
    }

    /// Sets what a fork does with a range, all of which must be mapped.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Range`], [`Error::Unmapped`], [`Error::WipeShared`], [`Error::Full`],
    /// [`Error::NoMemory`].
    pub fn madvise(&mut self, process: ProcessId, page: u64, pages: u64, advice: Advice) -> Result<(), Error> {
        let pid = process.pid;
        let (process, start, end) = self.mapped_range(process, page, pages)?;
        if advice == Advice::WipeOnFork {
            let vmas = self.processes[process].vmas.iter().map(|&vma| &self.vmas[vma]);
            let shared = vmas.filter(|vma| vma.start < end && start < vma.end).find(|vma| vma.is_shared());
            if let Some(vma) = shared {
                return Err(Error::WipeShared { pid, page: vma.start.max(start) });
            }
        }
        self.change(process, start, end, |vma| vma.traits.advised(advice));
        Ok(())
    }

    /// Gives a mapped range new traits, VMA by VMA: a neighbour that is alike takes the part over, or else it is cut
    /// out.
    fn change(&mut self, process: Ix<Process>, start: u64, end: u64, traits_of: impl Fn(&Vma) -> Traits) {
        let mut from = start;
        while let Some(vma) = self.first_in(process, from, end) {
            let record = &self.vmas[vma];
            let (start, to) = (record.start.max(from), record.end.min(end));
            let traits = traits_of(record);
            if traits != record.traits && !self.merge_changed(process, vma, start, to, traits) {
                let vma = self.cut_out(vma, start, to);
                self.vmas[vma].traits = traits;
            }
            from = to;
        }
    }

    /// Lets the neighbours of `start..end`, a part of one VMA, grow over it. Whether one could.
    fn merge_changed(&mut self, process: Ix<Process>, vma: Ix<Vma>, start: u64, end: u64, traits: Traits) -> bool {
        let Vma { start: first, end: last, .. } = self.vmas[vma];
        let vmas = &self.processes[process].vmas;
        let position = self.processes[process].position(&self.vmas, first);
        let fits = |neighbour: &Ix<Vma>| {
            let part = Vma { start, end, index: self.vmas[vma].index_of(start), ..Vma::default() };
            let touches = self.vmas[*neighbour].continues_in(&part) || part.continues_in(&self.vmas[*neighbour]);
            touches
                && self.vmas[*neighbour].traits == traits
                && self.can_grow_over(*neighbour, Some(vma), Over::Neighbour)
        };
        let previous = position.checked_sub(1).map(|position| vmas[position]).filter(fits);
        let next = vmas.get(position + 1).copied().filter(fits);
        let both = previous.zip(next).filter(|&(previous, next)| self.agree(previous, next));
        if let Some((previous, next)) = both {
            let end = self.vmas[next].end;
            self.take_over(previous, vma);
            self.take_over(previous, next);
            self.remove_vma(process, vma);
            self.remove_vma(process, next);
            self.reshape(previous, self.vmas[previous].start, end);
        } else if let Some(previous) = previous {
            self.take_over(previous, vma);
            if end == last {
                self.remove_vma(process, vma);
            } else {
                self.reshape(vma, end, last);
            }
            self.reshape(previous, self.vmas[previous].start, end);
        } else if let Some(next) = next {
            self.take_over(next, vma);
            if start == first {
                self.remove_vma(process, vma);
            } else {
                self.reshape(vma, first, start);
            }
            self.reshape(next, start, self.vmas[next].end);
        } else {
            return false;
        }
        true
    }

    /// Whether a VMA can grow over a range that is alike, of another VMA or of none: they have the same anon_vma, or
    /// one has none, and the other's chain has nothing from a parent.
    fn can_grow_over(&self, vma: Ix<Vma>, of: Option<Ix<Vma>>, over: Over) -> bool {
        let grown = &self.vmas[vma];
        let other = of.map(|other| &self.vmas[other]);
        match (grown.anon_vma, other.and_then(|other| other.anon_vma)) {
            (None, Some(_)) => match (self.rules.unfaulted, over) {
                (Unfaulted::Apart, _) => false,
                // The check came with the mend.
                (Unfaulted::Loses, Over::Unmapped) => true,
                _ => other.is_some_and(Vma::has_one_link),
            },
            (Some(_), None) => grown.has_one_link(),
            (mine, yours) => mine == yours,
        }
    }

    /// Whether two VMAs, each of which can be one with what lies between them, can be one with each other.
    fn agree(&self, one: Ix<Vma>, other: Ix<Vma>) -> bool {
        let (mine, yours) = (self.vmas[one].anon_vma, self.vmas[other].anon_vma);
        mine.is_none() || yours.is_none() || mine == yours
    }

    /// Gives a VMA without anon_vma the chain of one that it will grow over.
    fn take_over(&mut self, vma: Ix<Vma>, from: Ix<Vma>) {
        if self.vmas[vma].anon_vma.is_none() {
            self.clone_chain(from, vma);
        }
    }

    /// Cuts `start..end` out of a VMA, where these lie inside it. What is returned holds nothing else.
    fn cut_out(&mut self, vma: Ix<Vma>, start: u64, end: u64) -> Ix<Vma> {
        let Vma { start: first, end: last, .. } = self.vmas[vma];
        if first < start {
            self.split_off(vma, first, start);
            self.reshape(vma, start, last);
        }
        if end < last {
            self.split_off(vma, end, last);
            self.reshape(vma, first.max(start), end);
        }
        vma
    }

    /// Makes a VMA of `start..end`, one end of another, which is to be reshaped next.
    fn split_off(&mut self, vma: Ix<Vma>, start: u64, end: u64) {
        let Vma { process, traits, .. } = self.vmas[vma];
        let index = self.vmas[vma].index_of(start);
        let is_below = start == self.vmas[vma].start;
        let position = self.processes[process].position(&self.vmas, self.vmas[vma].start);
        let new = self.new_vma(Vma { process, start, end, index, traits, ..Vma::default() });
        self.clone_chain(vma, new);
        put(&mut self.processes[process].vmas, position + usize::from(!is_below), new);
    }

    /// Ends a VMA and takes it off its process's list.
    fn remove_vma(&mut self, process: Ix<Process>, vma: Ix<Vma>) {
        let position = self.processes[process].position(&self.vmas, self.vmas[vma].start);
        debug_assert_eq!(self.processes[process].vmas.get(position), Some(&vma));
        self.processes[process].vmas.remove(position);
        self.end_vma(vma);
    }

    /// The first VMA that has a page of a range.
    fn first_in(&self, process: Ix<Process>, start: u64, end: u64) -> Option<Ix<Vma>> {
        let process = &self.processes[process];
        let vma = *process.vmas.get(process.position(&self.vmas, start))?;
        (start < end && self.vmas[vma].start < end).then_some(vma)
    }

    /// Empties the page table of a range.
    fn clear(&mut self, process: Ix<Process>, start: u64, end: u64) {
        let mut table = std::mem::take(&mut self.processes[process].table);
        let first = table.partition_point(|&(number, _)| number < Leaf::number(start));
        let behind = table.partition_point(|&(number, _)| Leaf::first(number) < end);
        for &(number, leaf) in &table[first..behind] {
            for (page, entry) in self.leaves[leaf].entries(number, start, end) {
                self.leaves[leaf].clear(page);
                self.drop_entry(entry);
            }
        }
        // Only the leaves of the range can have become empty.
        let (leaves, mut position) = (&mut self.leaves, 0);
        table.retain(|&(_, leaf)| {
            let is_empty = (first..behind).contains(&position) && leaves[leaf].is_empty();
            position += 1;
            if is_empty {
                leaves.remove(leaf);
            }
            !is_empty
        });
        self.processes[process].table = table;
    }

    /// Takes the right to write from the page table entries of a range.
    fn write_protect(&mut self, process: Ix<Process>, start: u64, end: u64) {
        let process = &self.processes[process];
        for &(number, leaf) in &process.table[process.first_leaf(start)..] {
            if Leaf::first(number) >= end {
                break;
            }
            for (address, entry) in self.leaves[leaf].entries(number, start, end) {
                if let Entry::Present { page, writable: true } = entry {
                    self.leaves[leaf].set(address, Entry::Present { page, writable: false });
                }
            }
        }
    }

    /// A range of a process without holes.
    fn mapped_range(&mut self, process: ProcessId, page: u64, pages: u64) -> Result<(Ix<Process>, u64, u64), Error> {
        let live = self.live(process)?;
        let (start, end) = checked(page, pages)?;
        let mut from = start;
        for &vma in &self.processes[live].vmas[self.processes[live].position(&self.vmas, start)..] {
            if from >= end || self.vmas[vma].start > from {
                break;
            }
            from = self.vmas[vma].end;
        }
        if from < end {
            return Err(Error::Unmapped { pid: process.pid, page: from });
        }
        self.make_room_around(live, start, end)?;
        Ok((live, start, end))
    }

    /// Where so many pages fit, with one on either side to spare.
    fn hole(&self, process: Ix<Process>, pages: u64) -> Option<u64> {
        let vmas = &self.processes[process].vmas;
        let behind = |vma: Option<&Ix<Vma>>| vma.map_or(FIRST, |&vma| FIRST.max(self.vmas[vma].end + 1));
        let fits = |start: u64, end: u64| start.checked_add(pages).is_some_and(|needed| needed <= end);
        let last = behind(vmas.last());
        if fits(last, LIMIT) {
            return Some(last);
        }
        let holes = (0..vmas.len()).map(|position| {
            let start = behind(position.checked_sub(1).map(|before| &vmas[before]));
            (start, self.vmas[vmas[position]].start.saturating_sub(1))
        });
        holes.into_iter().find(|&(start, end)| fits(start, end)).map(|(start, _)| start)
    }

    /// Room for what a change to a range can make: a VMA at either end and one between, their chains, and places in
    /// anon_vmas for them and for neighbours that grow.
    fn make_room_around(&mut self, process: Ix<Process>, start: u64, end: u64) -> Result<(), Error> {
        self.make_room_around_all(process, &[(start, end)])
    }

    /// Makes room around several ranges that are to be changed.
    pub(super) fn make_room_around_all(&mut self, process: Ix<Process>, ranges: &[(u64, u64)]) -> Result<(), Error> {
        let (mut links, mut places) = (0, 0);
        for &range in ranges {
            let (ends, touched) = self.around(process, range);
            // A chain is copied once for each new VMA.
            links += 2 * ends + 4;
            // None of these VMAs comes to be at more than one new place, nor do the new ones.
            places += touched.len() + NEW_VMAS + 1;
        }
        let vmas = NEW_VMAS * ranges.len();
        self.vmas.make_room(vmas, "VMAs")?;
        self.objects.make_room(1, "shared mappings")?;
        self.links.make_room(links, "chains")?;
        make_room(&mut self.processes[process].vmas, vmas)?;
        for &range in ranges {
            for position in self.around(process, range).1 {
                self.make_room_in_chain(self.processes[process].vmas[position], places)?;
            }
        }
        Ok(())
    }

    /// The entries in the chains of the VMAs at the ends of a range, and the positions of its VMAs and their
    /// neighbours.
    fn around(&self, process: Ix<Process>, (start, end): (u64, u64)) -> (usize, std::ops::Range<usize>) {
        let [first, last] = [start, end].map(|page| self.processes[process].position(&self.vmas, page));
        let vmas = &self.processes[process].vmas;
        let ends = [first, last].into_iter().filter_map(|position| vmas.get(position));
        let links = ends.map(|&vma| self.vmas[vma].links as usize).sum();
        (links, first.saturating_sub(1)..vmas.len().min(last + 1))
    }
}

/// A range of page addresses, if it is one.
pub(super) fn checked(page: u64, pages: u64) -> Result<(u64, u64), Error> {
    let end = page.checked_add(pages).filter(|&end| pages > 0 && end <= LIMIT);
    end.map(|end| (page, end)).ok_or(Error::Range { page, pages, limit: LIMIT })
}
