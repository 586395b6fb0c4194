//! Walks: from a page to every mapping of it, the way the design goes.

use std::ops::ControlFlow;

use super::policy::{Family, Order};
use super::records::arena::Ix;
use super::records::machine::Machine;
use super::records::page::{Entry, Page};
use super::records::process::Process;
use super::records::vma::Vma;
use super::room::{make_room, put_last};
use super::{Error, PageId, ProcessId, VmaId};

/// The result of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The VMAs whose range holds the page and their processes, in the order of the walk. They need not map it.
    pub places: Vec<(ProcessId, VmaId)>,
    /// How many VMAs were looked at, those among them whose range does not hold the page.
    pub visits: u64,
}

/// The result of swapping a page out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapOut {
    /// How many VMAs were visited until no entry was left, or no VMA.
    pub visits: u64,
    /// How many page table entries were taken away.
    pub unmapped: u64,
    /// How many the walk did not find. With any, the page stays where it is.
    pub left: u64,
}

impl Machine {
    /// The full walk of a page, as the kernel does it to find out whether the page was used lately.
    ///
    /// It is empty while no process maps the page, as after [`swap_out`](Self::swap_out) until a process accesses it; a
    /// page of a shared mapping is found nevertheless, by the mapping, in every design with reverse mapping.
    ///
    /// # Errors
    /// [`Error::NoPage`], [`Error::NoMemory`].
    pub fn walk(&self, page: PageId) -> Result<Walk, Error> {
        let page = self.page(page)?;
        let (mut places, mut visits, mut room) = (Vec::new(), 0, Ok(()));
        let _ = self.each_place(page, |place| {
            visits += 1;
            if let Some((vma, _)) = place {
                room = make_room(&mut places, 1);
                if room.is_err() {
                    return ControlFlow::Break(());
                }
                put_last(&mut places, (self.name(self.vmas[vma].process), VmaId(self.vmas.id(vma))));
            }
            ControlFlow::Continue(())
        });
        room.map(|()| Walk { places, visits })
    }

    /// How many VMAs a full walk visits.
    ///
    /// # Errors
    /// [`Error::NoPage`].
    pub fn walk_visits(&self, page: PageId) -> Result<u64, Error> {
        let mut visits = 0;
        let _ = self.each_place(self.page(page)?, |_| {
            visits += 1;
            ControlFlow::Continue(())
        });
        Ok(visits)
    }

    /// How many VMAs are visited to unmap a page: the walk ends with its last page table entry. 0 for a page that no
    /// process maps.
    ///
    /// # Errors
    /// [`Error::NoPage`].
    pub fn unmap_visits(&self, page: PageId) -> Result<u64, Error> {
        let page = self.page(page)?;
        Ok(self.find_entries(page, |_, _| {}).visits)
    }

    /// Swaps a page out: the walk takes away the page table entries that it finds.
    ///
    /// Where it finds all of them, the page leaves memory, and the next to touch it brings it back. A page of a shared
    /// mapping stays with the mapping instead.
    ///
    /// # Errors
    /// [`Error::NoPage`], [`Error::NotMapped`], [`Error::NoMemory`].
    pub fn swap_out(&mut self, page: PageId) -> Result<SwapOut, Error> {
        let found = self.page(page)?;
        if self.pages[found].mapped == 0 {
            return Err(Error::NotMapped { page });
        }
        let mut holders = Vec::new();
        make_room(&mut holders, self.pages[found].mapped as usize)?;
        let outcome = self.find_entries(found, |process, address| put_last(&mut holders, (process, address)));
        let is_shared = self.pages[found].object.is_some();
        for (process, address) in holders {
            let process = &mut self.processes[process];
            if is_shared {
                process.clear_entry(&mut self.leaves, address);
            } else {
                process.set_entry(&mut self.leaves, address, Entry::Swapped { page: found });
                self.pages[found].swapped += 1;
            }
            self.pages[found].mapped -= 1;
        }
        if self.pages[found].mapped == 0 {
            self.pages[found].mapping = None;
        }
        self.totals.visits += outcome.visits;
        Ok(outcome)
    }

    /// The processes that map a page, by birth: not from a walk, but from all page tables.
    ///
    /// # Errors
    /// [`Error::NoPage`], [`Error::NoMemory`].
    pub fn mapped_by(&self, page: PageId) -> Result<Vec<ProcessId>, Error> {
        let page = self.page(page)?;
        let mut holders = Vec::new();
        make_room(&mut holders, self.pages[page].mapped as usize)?;
        let index = self.pages[page].index;
        let maps = |process: &Ix<Process>| {
            let mut addresses =
                self.processes[*process].vmas.iter().filter_map(|&vma| self.vmas[vma].address_of(index));
            addresses.any(|address| self.maps(*process, address, page))
        };
        let processes = self.by_birth().filter(maps);
        holders.extend(processes.map(|process| self.name(process)));
        Ok(holders)
    }

    /// Goes through the places of a page until all its page table entries are found.
    fn find_entries(&self, page: Ix<Page>, mut found: impl FnMut(Ix<Process>, u64)) -> SwapOut {
        let mut outcome = SwapOut { visits: 0, unmapped: 0, left: u64::from(self.pages[page].mapped) };
        if outcome.left == 0 {
            return outcome;
        }
        let _ = self.each_place(page, |place| {
            outcome.visits += 1;
            let place = place.map(|(vma, address)| (self.vmas[vma].process, address));
            if let Some((process, address)) = place.filter(|&(process, address)| self.maps(process, address, page)) {
                found(process, address);
                outcome.unmapped += 1;
                outcome.left -= 1;
            }
            if outcome.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        outcome
    }

    fn maps(&self, process: Ix<Process>, address: u64, page: Ix<Page>) -> bool {
        let entry = self.processes[process].entry(&self.leaves, address);
        matches!(entry, Some(Entry::Present { page: shown, .. }) if shown == page)
    }

    /// Every VMA that a walk of the page looks at, in its order, with the page's address there, if its range holds the page. Of
    /// contexts, all that it looks at.
    fn each_place(
        &self,
        page: Ix<Page>,
        mut look: impl FnMut(Option<(Ix<Vma>, u64)>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Page { index, mapping, mapped, object, .. } = self.pages[page];
        let place_in = |vma: Ix<Vma>| Some((vma, self.vmas[vma].address_of(index)?));
        if self.rules.family == Family::None && mapped == 0 {
            return ControlFlow::Continue(()); // it was going through the VMAs that a page was found, not the other way
        }
        if self.rules.family == Family::None {
            let vmas = self.by_birth().flat_map(|process| &self.processes[process].vmas);
            return vmas.copied().try_for_each(|vma| look(place_in(vma)));
        }
        if let Some(object) = object {
            // Found through what is shared, the same in every design: the VMAs that show the page.
            let vmas = self.by_birth().flat_map(|process| &self.processes[process].vmas).copied();
            let mut shows = vmas.filter(|&vma| self.vmas[vma].traits.object == Some(object)).filter_map(place_in);
            return shows.try_for_each(|place| look(Some(place)));
        }
        // A mapping that was freed leads nowhere; in a kernel, anywhere.
        let Some(anon_vma) = mapping.and_then(|mapping| self.anon_vmas.find(mapping)) else {
            return ControlFlow::Continue(());
        };
        if self.rules.family == Family::Contexts {
            return self.descendants(anon_vma).try_for_each(|context| {
                let mut places = self.members(context).filter_map(|link| place_in(self.links[link].vma)).peekable();
                match places.peek() {
                    Some(_) => places.try_for_each(|place| look(Some(place))),
                    None => look(None),
                }
            });
        }
        for list in &self.anon_vmas[anon_vma].lists {
            if list.index > index {
                break;
            }
            let mut next = Some(list.first);
            while let Some(link) = next {
                let vma = self.links[link].vma;
                next = self.links[link].after;
                let place = place_in(vma);
                if place.is_some() || self.rules.walk == Order::List {
                    look(place)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    pub(super) fn page(&self, page: PageId) -> Result<Ix<Page>, Error> {
        self.pages.find(page.0).ok_or(Error::NoPage { page })
    }
}
