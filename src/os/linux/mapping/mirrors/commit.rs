//! Finding memory for what mirrors map: at once or as it is touched, in small pages or huge ones.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, madvise};

use super::Mirrors;
use crate::error::Operation;
use crate::layout;
use crate::os::system::mapping::huge::{TRIALS, timed};
use crate::os::system::mapping::populate::{Access, populate};
use crate::os::system::memory::overcommit;
use crate::os::{Refusal, page_size};

/// Makes huge pages of what is mapped (Linux 6.1); nix does not know it.
const MADV_COLLAPSE: libc::c_int = 25;

impl Mirrors {
    /// What is committed must be a multiple of so many bytes.
    pub(crate) fn granule(&self) -> usize {
        // Relaxed, as for all about huge pages: only the thread that commits changes it.
        self.granule.load(Ordering::Relaxed)
    }

    /// Has all from an offset on consist of small pages, where the kernel hands out huge ones unasked; whether that is something
    /// new. To be called with what is committed, before a part of a huge page is refused that would be to be had.
    pub(crate) fn use_small_pages_from(&self, committed: usize) -> bool {
        let is_new = self.granule() > page_size() && self.advise_from(committed, MmapAdvise::MADV_NOHUGEPAGE);
        if is_new {
            self.huge_bytes.store(committed, Ordering::Relaxed);
            self.granule.store(page_size(), Ordering::Relaxed);
        }
        is_new
    }

    /// Bytes in the huge pages that may be made of what is committed, if that is worth a try.
    pub(crate) fn huge_page(&self) -> Option<usize> {
        let size = self.huge_page.load(Ordering::Relaxed);
        (size > 0 && TRIALS.are_due()).then_some(size)
    }

    /// Notes that none were tried, for too little memory was left.
    pub(crate) fn skip_huge_pages(&self) {
        TRIALS.skipped();
    }

    /// How many of the first `committed` bytes are in huge pages.
    pub(crate) fn huge_bytes(&self, committed: usize) -> usize {
        match self.granule() == page_size() {
            true => self.huge_bytes.load(Ordering::Relaxed).min(committed),
            false => committed,
        }
    }

    /// Commits the bytes `start..end` (whole pages): memory is found now, or the refusal is.
    ///
    /// With `ahead` the pages are also mapped, which is cheaper than a fault for each. Without, a memfd or anonymous
    /// memory is left to be faulted in as it is touched; a file system is asked all the same, for one that is full
    /// would answer the touch with SIGBUS.
    pub(crate) fn commit(&self, start: usize, end: usize, ahead: bool) -> Result<(), Refusal> {
        debug_assert!(start <= end && end <= self.len);
        if start == end {
            return Ok(());
        }
        if !ahead && !self.on_file_system {
            self.has_promise.store(true, Ordering::Relaxed); // only the thread that commits comes here
            overcommit::promise(self.read_write().addr().get(), end, end - start);
            return Ok(());
        }
        match TRIALS.touch((end - start) / page_size(), || self.populate(start, end - start)) {
            Ok(()) => Ok(()),
            Err(errno) => {
                self.punch(self.at(start), end - start);
                Err(Refusal::of(Operation::Populate)(errno))
            }
        }
    }

    /// Commits the bytes `start..end` as [`commit`](Self::commit) does, but what there are of whole huge pages between them as
    /// such, if the kernel makes them. Whatever it says to that, the other pages will do.
    pub(crate) fn commit_huge(&self, start: usize, end: usize, ahead: bool) -> Result<(), Refusal> {
        let mut from = start;
        while let Some(huge) = self.huge_page().and_then(|size| next_huge(from, end, size)) {
            if !self.make_huge(&huge) {
                break;
            }
            self.commit(from, huge.start.max(from), ahead)?;
            from = huge.end;
        }
        self.commit(from, end, ahead)
    }

    /// Makes huge pages of a range of as many bytes as they have; whether the kernel did. If not, some may have been made, and
    /// this memory is not asked for any more.
    fn make_huge(&self, range: &Range<usize>) -> bool {
        let (made, took) = timed(|| self.find_huge(range));
        match made {
            Ok(()) => {
                TRIALS.made(range.len() / page_size(), took);
                self.huge_bytes.fetch_add(range.len(), Ordering::Relaxed);
            }
            Err(errno) => {
                TRIALS.refused(errno);
                self.huge_page.store(0, Ordering::Relaxed);
            }
        }
        made.is_ok()
    }

    /// The same. The range may hold bytes that were handed out, and that others use meanwhile.
    fn find_huge(&self, range: &Range<usize>) -> nix::Result<()> {
        let is_anonymous = self.read_only.is_none();
        if is_anonymous {
            // SAFETY: the range lies in a mapping that self owns, and the advice changes no byte of it.
            unsafe { madvise(self.at(range.start), range.len(), MmapAdvise::MADV_HUGEPAGE) }?;
        }
        // Anonymous memory comes whole then, unless it was begun with small pages. Of others the kernel wants to see one page
        // before it makes a huge one of them.
        for first in range.clone().step_by(self.huge_page.load(Ordering::Relaxed).max(page_size())) {
            self.populate(first, page_size())?;
        }
        if is_anonymous && self.resident_from(range.start, range.end) == range.len() {
            return Ok(());
        }
        // In one call for all, for each waits until every processor has put in order what it holds.
        // SAFETY: the range lies in a mapping that self owns; its bytes stay what they are, wherever the kernel moves them.
        let made = unsafe { libc::madvise(self.at(range.start).as_ptr(), range.len(), MADV_COLLAPSE) };
        Errno::result(made).map(drop)
    }

    /// Finds and maps memory for `len` bytes.
    fn populate(&self, start: usize, len: usize) -> nix::Result<()> {
        // SAFETY: the range lies in a mapping that self owns.
        unsafe { populate(self.at(start), len, Access::Write) }
    }

    /// The address of an offset, at most the length, in the read-write mirror.
    fn at(&self, offset: usize) -> NonNull<c_void> {
        debug_assert!(offset <= self.len);
        // SAFETY: offset is within the mapping or at its end, so the sum stays in bounds.
        unsafe { self.read_write().add(offset) }.cast()
    }

    /// Strikes out what was promised of it; whether anything was. Nobody may commit any more.
    pub(crate) fn settle(&self) -> bool {
        // Relaxed: who ends a slot has seen all that was done to it. Most slots never promise, and need no lock then.
        let had_promise = self.has_promise.swap(false, Ordering::Relaxed);
        if had_promise {
            overcommit::forget(self.read_write().addr().get());
        }
        had_promise
    }

    /// How many of the bytes `start..end` (whole pages) are in memory before the first that is not.
    pub(crate) fn resident_from(&self, start: usize, end: usize) -> usize {
        debug_assert!(start <= end && end <= self.len);
        // SAFETY: the range lies in a mapping that self owns.
        unsafe { overcommit::resident_at_first(self.read_write().addr().get() + start, end - start) }
    }

    /// Gives back what was committed of a range in vain, so that others find the room. A sealed memfd keeps its pages
    /// for a later attempt.
    fn punch(&self, first: NonNull<c_void>, len: usize) {
        if self.on_file_system {
            // SAFETY: the range lies in a mapping that self owns, and nothing in it was handed out yet.
            let _refused = unsafe { madvise(first, len, MmapAdvise::MADV_REMOVE) };
        }
    }
}

/// The next huge pages of the bytes `from..end` to be made at once. The first may have been begun with small ones.
fn next_huge(from: usize, end: usize, size: usize) -> Option<Range<usize>> {
    let (start, end) = (layout::first_huge_page(from, size), end / size * size);
    (start < end).then(|| start..end.min(start.saturating_add(size.saturating_mul(layout::MAX_COLLAPSED_AT_ONCE))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::Backing;
    use crate::os::system::mapping::mirrors::tests::{LEN, backings};

    #[test]
    fn committing_ahead_makes_pages_resident() {
        for backing in backings() {
            let mirrors = Mirrors::open(&backing, "test", LEN, false).unwrap();
            mirrors.commit(0, LEN / 2, true).unwrap();
            // SAFETY: the mirrors are mapped, LEN bytes each.
            let resident = |len| unsafe { overcommit::resident(mirrors.read_write().addr().get(), len) };
            assert_eq!(resident(LEN / 2), LEN / 2, "{backing:?}");
            // A file system may read ahead of what was asked for.
            let is_file = matches!(backing, Backing::Directory(_));
            assert!(is_file || resident(LEN) == LEN / 2, "{backing:?}");
        }
    }
}
