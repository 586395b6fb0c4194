//! Faults: what reading and writing a page does.

use super::records::arena::Ix;
use super::records::machine::Machine;
use super::records::page::{Entry, Object, Page};
use super::records::process::Process;
use super::records::vma::Vma;
use super::room::{make_room, put};
use super::{Error, PageId, ProcessId};

impl Machine {
    /// Reads a page: the page that is mapped there now, or `None` for the page of zeros, which has no reverse mapping.
    ///
    /// # Errors
    /// [`Error::Exited`], [`Error::Unmapped`], [`Error::Denied`], [`Error::Full`], [`Error::NoMemory`].
    pub fn read(&mut self, process: ProcessId, page: u64) -> Result<Option<PageId>, Error> {
        let (process, vma) = self.touched(process, page)?;
        let prot = self.vmas[vma].traits.prot;
        if !prot.allows_reading() {
            return Err(self.denied(process, page, vma, "reading"));
        }
        if let Some(object) = self.vmas[vma].traits.object {
            return self.share(process, vma, object, page).map(Some);
        }
        Ok(match self.processes[process].entry(&self.leaves, page) {
            Some(Entry::Zero) => None,
            Some(Entry::Present { page, .. }) => Some(self.page_name(page)),
            Some(Entry::Swapped { page: swapped }) => {
                self.swap_in(process, vma, page, swapped, false);
                Some(self.page_name(swapped))
            }
            None => {
                self.make_room_for_entry(process)?;
                self.set_entry(process, page, Entry::Zero);
                None
            }
        })
    }

    /// Writes to a page: the page that is mapped there now. A page that other processes may see is copied first.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(&mut self, process: ProcessId, page: u64) -> Result<PageId, Error> {
        let (process, vma) = self.touched(process, page)?;
        if !self.vmas[vma].traits.prot.allows_writing() {
            return Err(self.denied(process, page, vma, "writing"));
        }
        if let Some(object) = self.vmas[vma].traits.object {
            return self.share(process, vma, object, page);
        }
        let shown = match self.processes[process].entry(&self.leaves, page) {
            Some(Entry::Present { page: shown, writable: true }) => shown,
            Some(Entry::Present { page: shown, writable: false }) => {
                self.make_room_for_page()?;
                self.write_shared(process, vma, page, shown)
            }
            Some(Entry::Swapped { page: swapped }) => {
                self.make_room_for_page()?;
                if self.swap_in(process, vma, page, swapped, true) {
                    swapped
                } else {
                    self.write_shared(process, vma, page, swapped)
                }
            }
            Some(Entry::Zero) | None => {
                self.make_room_for_page()?;
                self.make_room_for_entry(process)?;
                self.make_room_to_prepare(vma)?;
                self.prepare(vma);
                self.map_new(process, vma, page)
            }
        };
        Ok(self.page_name(shown))
    }

    /// Writes a page that is mapped, but not for writing: takes it over, or copies it.
    fn write_shared(&mut self, process: Ix<Process>, vma: Ix<Vma>, address: u64, shown: Ix<Page>) -> Ix<Page> {
        let Page { mapped, swapped, .. } = self.pages[shown];
        if mapped == 1 && swapped == 0 {
            if self.rules.moves {
                self.pages[shown].mapping = self.own(vma);
            }
            self.pages[shown].has_owner = true;
            self.set_entry(process, address, Entry::Present { page: shown, writable: true });
            return shown;
        }
        self.totals.copies += 1;
        let copy = self.map_new(process, vma, address);
        self.drop_entry(Entry::Present { page: shown, writable: false });
        copy
    }

    /// Maps a page of the process's own, over whatever is there.
    fn map_new(&mut self, process: Ix<Process>, vma: Ix<Vma>, address: u64) -> Ix<Page> {
        let mapping = self.mapping(vma, self.rules.new_page);
        let index = self.vmas[vma].index_of(address);
        let new = self.new_page(Page { index, mapping, mapped: 1, swapped: 0, has_owner: true, object: None });
        self.set_entry(process, address, Entry::Present { page: new, writable: true });
        new
    }

    /// Brings a page back. Whether it can be written: nobody else has the page, and it is for writing, or its owner is noted.
    fn swap_in(
        &mut self,
        process: Ix<Process>,
        vma: Ix<Vma>,
        address: u64,
        swapped: Ix<Page>,
        for_writing: bool,
    ) -> bool {
        let page = &self.pages[swapped];
        let is_noted = self.rules.notes_owner && page.has_owner;
        let is_exclusive = (for_writing || is_noted) && page.mapped == 0 && page.swapped == 1;
        // A mapping that is set says where others find the page.
        let keeps = page.mapping.is_some() && (page.mapped > 0 || self.rules.set_once);
        if !keeps {
            let rule = if is_exclusive { self.rules.new_page } else { self.rules.swapped_in };
            self.pages[swapped].mapping = self.mapping(vma, rule);
        }
        self.pages[swapped].has_owner = is_exclusive;
        self.pages[swapped].swapped -= 1;
        self.pages[swapped].mapped += 1;
        self.set_entry(process, address, Entry::Present { page: swapped, writable: is_exclusive });
        is_exclusive
    }

    /// Shows a page of a shared mapping, the same to all.
    fn share(&mut self, process: Ix<Process>, vma: Ix<Vma>, object: Ix<Object>, address: u64) -> Result<PageId, Error> {
        if let Some(Entry::Present { page, .. }) = self.processes[process].entry(&self.leaves, address) {
            return Ok(self.page_name(page));
        }
        self.make_room_for_entry(process)?;
        let index = self.vmas[vma].index_of(address);
        let page = match self.objects[object].pages.binary_search_by_key(&index, |&(index, _)| index) {
            Ok(position) => self.objects[object].pages[position].1,
            Err(position) => {
                self.make_room_for_page()?;
                make_room(&mut self.objects[object].pages, 1)?;
                let page = self.new_page(Page { index, object: Some(object), ..Page::default() });
                put(&mut self.objects[object].pages, position, (index, page));
                page
            }
        };
        self.pages[page].mapped += 1;
        self.set_entry(process, address, Entry::Present { page, writable: true });
        Ok(self.page_name(page))
    }

    fn new_page(&mut self, page: Page) -> Ix<Page> {
        let new = self.pages.take();
        self.totals.pages += 1;
        self.pages[new] = page;
        new
    }

    fn own(&self, vma: Ix<Vma>) -> Option<super::records::arena::Id<super::records::anon_vma::AnonVma>> {
        self.mapping(vma, super::policy::Mapping::Own)
    }

    #[inline]
    fn set_entry(&mut self, process: Ix<Process>, page: u64, entry: Entry) {
        self.processes[process].set_entry(&mut self.leaves, page, entry);
    }

    pub(super) fn page_name(&self, page: Ix<Page>) -> PageId {
        PageId(self.pages.id(page))
    }

    #[inline]
    fn touched(&self, process: ProcessId, page: u64) -> Result<(Ix<Process>, Ix<Vma>), Error> {
        let live = self.live(process)?;
        let vma = self.processes[live].vma_at(&self.vmas, page);
        vma.map(|vma| (live, vma)).ok_or(Error::Unmapped { pid: process.pid, page })
    }

    #[cold]
    fn denied(&self, process: Ix<Process>, page: u64, vma: Ix<Vma>, access: &'static str) -> Error {
        Error::Denied { pid: self.processes[process].pid, page, prot: self.vmas[vma].traits.prot, access }
    }

    fn make_room_for_page(&mut self) -> Result<(), Error> {
        self.pages.make_room(1, "pages")
    }

    /// Room for a page table entry where there was none.
    fn make_room_for_entry(&mut self, process: Ix<Process>) -> Result<(), Error> {
        make_room(&mut self.processes[process].table, 1)?;
        self.leaves.make_room(1, "page tables")
    }
}
