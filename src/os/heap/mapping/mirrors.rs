//! A slot's memory on the heap: one piece, which passes for both mirrors.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;

use super::shared::SharedFile;
use crate::error::Operation;
use crate::os::{Backing, Refusal, least_alignment, page_size};
use crate::sync::{AtomicUsize, Ordering};

/// Why memory could not be locked.
#[derive(Debug)]
pub(crate) enum Unlocked {
    Limit { locked: usize, limit: usize },
    Refused(Refusal),
}

/// As [`os::Mirrors`](crate::os::Mirrors), with the same functions.
#[derive(Debug)]
pub(crate) struct Mirrors {
    memory: NonNull<u8>,
    layout: Layout,
    has_read_only: bool,
    /// How often it was hidden from a child.
    hidden: AtomicUsize,
    /// Stand for the bytes, in loom: one for each page, and it knows who may touch it when.
    #[cfg(loom)]
    cells: Vec<loom::cell::UnsafeCell<()>>,
    /// Stands for the fields: loom objects to those who look and may not see them.
    #[cfg(loom)]
    made: loom::cell::UnsafeCell<()>,
}

impl Mirrors {
    pub(crate) fn open(backing: &Backing, _name: &str, len: usize, _huge: bool) -> Result<Self, Refusal> {
        let out_of_memory = || Refusal::of(Operation::Allocate)(Errno::ENOMEM);
        let layout = Layout::from_size_align(len, least_alignment(len)).map_err(|_| out_of_memory())?;
        // SAFETY: a slot has bytes.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        let mirrors = Self {
            memory,
            layout,
            has_read_only: *backing != Backing::Anonymous,
            hidden: AtomicUsize::new(0),
            #[cfg(loom)]
            cells: (0..len / page_size()).map(|_| loom::cell::UnsafeCell::new(())).collect(),
            #[cfg(loom)]
            made: loom::cell::UnsafeCell::new(()),
        };
        #[cfg(loom)]
        // SAFETY: nothing is there. It stands for the fields, which were just written.
        mirrors.made.with_mut(|nothing| unsafe { nothing.write(()) });
        Ok(mirrors)
    }

    /// What several processes map is no memory of the heap.
    pub(crate) fn open_shared(_name: &str, _len: usize, _huge: bool) -> Result<Self, Refusal> {
        Err(Refusal::of(Operation::CreateMemfd)(Errno::ENOSYS))
    }

    pub(crate) fn shared(&self) -> Option<&Arc<SharedFile>> {
        None
    }

    /// # Safety
    /// None here.
    pub(crate) unsafe fn freeze(&self) -> Result<(), Refusal> {
        Ok(())
    }

    pub(crate) fn fill_holes(&self, _start: usize, _end: usize) -> Result<(), Refusal> {
        Ok(())
    }

    /// Touches the page at that offset as somebody does who owns it alone; loom objects if others may, too.
    #[cfg(all(test, loom))]
    pub(crate) fn own(&self, offset: usize) {
        // SAFETY: nothing is there; that nobody else touches it is what the call is to find out.
        self.cells[offset / page_size()].with_mut(|nothing| unsafe { nothing.write(()) });
    }

    #[cfg(test)]
    pub(crate) fn times_hidden(&self) -> usize {
        self.hidden.load(Ordering::Relaxed)
    }

    pub(crate) fn set_inherited(&self, inherited: bool) -> bool {
        self.hidden.fetch_add(usize::from(!inherited), Ordering::Relaxed);
        true
    }

    pub(crate) fn granule(&self) -> usize {
        page_size()
    }

    pub(crate) fn huge_page(&self) -> Option<usize> {
        None
    }

    pub(crate) fn skip_huge_pages(&self) {}

    pub(crate) fn use_small_pages_from(&self, _committed: usize) -> bool {
        false
    }

    pub(crate) fn huge_bytes(&self, _committed: usize) -> usize {
        0
    }

    pub(crate) fn read_write(&self) -> NonNull<u8> {
        self.memory
    }

    pub(crate) fn read_only(&self) -> Option<NonNull<u8>> {
        self.has_read_only.then_some(self.memory)
    }

    pub(crate) fn are_shared_by_forks(&self) -> bool {
        self.has_read_only
    }

    pub(crate) fn are_in_files(&self) -> bool {
        false
    }

    pub(crate) fn mapped(&self) -> usize {
        #[cfg(loom)]
        self.made.with(|_| ());
        self.layout.size() * (1 + usize::from(self.has_read_only))
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    /// Without guards.
    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        let start = self.memory.addr().get();
        start..start + self.layout.size()
    }

    pub(crate) fn commit(&self, start: usize, end: usize, _ahead: bool) -> Result<(), Refusal> {
        debug_assert!(start <= end && end <= self.layout.size());
        // Nobody may touch them before.
        #[cfg(all(test, loom))]
        (start..end).step_by(page_size()).for_each(|offset| self.own(offset));
        Ok(())
    }

    pub(crate) fn commit_huge(&self, start: usize, end: usize, ahead: bool) -> Result<(), Refusal> {
        self.commit(start, end, ahead)
    }

    /// Nothing here is ever dumped.
    pub(crate) fn keep_from_dumps(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Nor swapped out.
    pub(crate) fn commit_locked(&self, start: usize, end: usize) -> Result<(), Unlocked> {
        self.commit(start, end, true).map_err(Unlocked::Refused)
    }

    pub(crate) fn wipe(&self, len: usize) {
        debug_assert!(len <= self.layout.size());
        // SAFETY: the memory is that long, and no Rust reference into it is left when a slot ends or begins anew.
        unsafe { self.memory.write_bytes(0, len) };
    }

    pub(crate) fn settle(&self) -> bool {
        false
    }

    pub(crate) fn resident_from(&self, start: usize, end: usize) -> usize {
        end - start
    }

    /// # Safety
    /// None here.
    pub(crate) unsafe fn revoke(&self) {}
}

impl Drop for Mirrors {
    fn drop(&mut self) {
        // SAFETY: it was allocated with that layout, and goes with its owner.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

// SAFETY: owns its memory, as a Box would.
unsafe impl Send for Mirrors {}
// SAFETY: what is shared of it are addresses and lengths alone.
unsafe impl Sync for Mirrors {}
