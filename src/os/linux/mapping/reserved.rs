//! Address space set aside for the mirrors of a slot, with guards around each: pages without access, which belong to
//! nobody, so that whoever runs over the end of a mirror, or before its beginning, is stopped there.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{
    MapFlags, MmapAdvise, MsFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, msync, munmap,
};

use crate::error::Operation;
use crate::os::{Refusal, page_size};

/// A range of addresses in which nothing is mapped but what is put there. All of it is unmapped, in one call, when this
/// is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    start: NonNull<c_void>,
    len: usize,
    /// Bytes in each mapping that it has room for, the address of the first, and how far apart they begin.
    room: usize,
    first: usize,
    stride: usize,
    /// Whether some of the addresses may be somebody else's.
    has_hole: AtomicBool,
}

impl Reserved {
    /// Room for `many` mappings of `room` bytes, a multiple of the page size. Each begins at a multiple of `align`, a
    /// power of two and at least a page, and has at least a page without access before and behind it.
    pub(super) fn new(room: usize, many: usize, align: usize) -> Result<Self, Refusal> {
        let too_much = Refusal { operation: Operation::Map, errno: Errno::ENOMEM };
        let stride = room.checked_next_multiple_of(align).and_then(|room| room.checked_add(align)).ok_or(too_much)?;
        // The first begins at most `align` behind the start, and that is what its stride leaves at the end.
        let len = stride.checked_mul(many).and_then(|len| len.checked_add(page_size()));
        let len = len.and_then(NonZeroUsize::new).ok_or(too_much)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping anywhere replaces no other.
        let start =
            unsafe { mmap_anonymous(None, len, ProtFlags::PROT_NONE, flags) }.map_err(Refusal::of(Operation::Map))?;
        let first = (start.addr().get() + page_size()).next_multiple_of(align);
        Ok(Self { start, len: len.get(), room, first, stride, has_hole: AtomicBool::new(false) })
    }

    /// Maps a file as number `index`, from its beginning on.
    pub(super) fn map(&self, index: usize, file: &impl AsFd, access: ProtFlags) -> Result<NonNull<u8>, Refusal> {
        let (place, len) = self.place(index)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: the place is within what self reserved, and nobody uses it: MAP_FIXED replaces a part of the
        // reservation.
        let mapped = unsafe { mmap(Some(place), len, access, flags, file, 0) };
        mapped.map(NonNull::cast).map_err(|errno| {
            self.close_hole(place, len);
            Refusal::of(Operation::Map)(errno)
        })
    }

    /// Says whether the kernel refuses to make a read-only mapping writable: once for `is_known`, which is of one kind
    /// of file, for the answer is always the same.
    pub(super) fn check_read_only(&self, mapping: NonNull<u8>, is_known: &AtomicBool) -> Result<(), Refusal> {
        // Relaxed: only the answer matters, and two threads that ask at once get the same.
        if is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the mapping is one that self has just made and nobody uses yet; if it becomes writable, it is not
        // used at all.
        match unsafe { mprotect(mapping.cast(), page_size(), access) } {
            Err(_) => is_known.store(true, Ordering::Relaxed),
            Ok(()) => return Err(Refusal::NONE_OF_WRITES),
        }
        Ok(())
    }

    /// Reserves addresses again after a mapping with `MAP_FIXED` was refused there. The kernel may have unmapped what
    /// it was to replace, and another thread may have something there since.
    fn close_hole(&self, place: NonZeroUsize, len: NonZeroUsize) {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE replaces nothing.
        let closed = unsafe { mmap_anonymous(Some(place), len, ProtFlags::PROT_NONE, flags) };
        // Refused, all of it is as it was, unless some address of it is free: then another thread has taken others.
        // SAFETY: with MS_ASYNC the call does nothing but find addresses at which nothing is mapped.
        if closed.is_err() && unsafe { msync(self.start.with_addr(place), len.get(), MsFlags::MS_ASYNC) }.is_err() {
            self.has_hole.store(true, Ordering::Relaxed);
        }
    }

    /// Makes number `index` fresh private memory, to be read and written.
    pub(super) fn map_anonymous(&self, index: usize) -> Result<NonNull<u8>, Refusal> {
        let (place, len) = self.place(index)?;
        let start = self.start.with_addr(place);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // Not mapped anew over the reservation: the kernel does not hold that against RLIMIT_DATA, but what comes after
        // it.
        // SAFETY: the place is within what self reserved, private memory that nobody uses yet.
        unsafe { mprotect(start, len.get(), access) }.map_err(Refusal::of(Operation::Protect))?;
        Ok(start.cast())
    }

    fn place(&self, index: usize) -> Result<(NonZeroUsize, NonZeroUsize), Refusal> {
        let place = self.first + index * self.stride;
        debug_assert!(place + self.room + page_size() <= self.addresses().end);
        // mmap refuses a length of 0 in the same way.
        let refusal = Refusal { operation: Operation::Map, errno: Errno::EINVAL };
        NonZeroUsize::new(place).zip(NonZeroUsize::new(self.room)).ok_or(refusal)
    }

    /// All addresses, those of the guards among them.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.start.addr().get();
        start..start + self.len
    }

    /// Gives the kernel advice about all of it.
    pub(super) fn advise(&self, advice: MmapAdvise) -> nix::Result<()> {
        // SAFETY: the range is self's own, and the advice changes no byte of it.
        unsafe { madvise(self.start, self.len, advice) }
    }

    /// Takes the memory away from all of it and keeps the addresses, without access. Where the kernel refuses, nothing
    /// changes.
    ///
    /// # Safety
    /// Nobody may use what is mapped there any more.
    pub(super) unsafe fn revoke(&self) {
        let Some(len) = NonZeroUsize::new(self.len) else { return };
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE;
        // SAFETY: the range is self's own, so MAP_FIXED replaces nothing else, and nobody uses it any more, by
        // contract.
        let revoked = unsafe { mmap_anonymous(Some(self.start.addr()), len, ProtFlags::PROT_NONE, flags) };
        if revoked.is_err() {
            self.close_hole(self.start.addr(), len);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Relaxed: who drops it has seen all that was done to it.
        if self.has_hole.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: the range is self's own, and whoever drops it is done with what was mapped there. Refused, it stays.
        let _refused = unsafe { munmap(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What /proc/self/maps says of an address.
    fn access_to(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let bound = |text| usize::from_str_radix(text, 16).unwrap();
            (bound(start)..bound(end)).contains(&address).then(|| words.next().unwrap().to_owned())
        })
    }

    #[test]
    fn each_mapping_stands_between_guards_where_it_was_to_begin() {
        let page = page_size();
        for (room, align) in [(page, page), (3 * page, page), (1 << 20, 1 << 21), (1 << 21, 1 << 21)] {
            let reserved = Reserved::new(room, 2, align).unwrap();
            let mapped = [0, 1].map(|index| reserved.map_anonymous(index).unwrap().addr().get());
            for start in mapped {
                assert!(start.is_multiple_of(align));
                for (address, expected) in [
                    (start - page, "---p"),
                    (start - 1, "---p"),
                    (start, "rw-p"),
                    (start + room - 1, "rw-p"),
                    (start + room, "---p"),
                    (start + room + page - 1, "---p"),
                ] {
                    assert!(reserved.addresses().contains(&address));
                    assert_eq!(access_to(address).as_deref(), Some(expected), "{room} {align}: {address:#x}");
                }
            }
        }
    }

    #[test]
    fn a_hole_that_a_refused_mapping_left_is_closed_and_what_others_put_there_stays() {
        let page = page_size();
        let reserved = Reserved::new(4 * page, 2, page).unwrap();
        let (place, len) = reserved.place(0).unwrap();
        let start = reserved.start.with_addr(place);
        // Nothing was unmapped: nothing changes.
        reserved.close_hole(place, len);
        // As the kernel may leave it.
        // SAFETY: the range is the test's own.
        unsafe { munmap(start, len.get()) }.unwrap();
        reserved.close_hole(place, len);
        assert_eq!(access_to(place.get()).as_deref(), Some("---p"));
        assert!(!reserved.has_hole.load(Ordering::Relaxed));

        // SAFETY: the range is the test's own.
        unsafe { munmap(start, len.get()) }.unwrap();
        let one = NonZeroUsize::new(page).unwrap();
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        // SAFETY: the flag replaces nothing.
        let theirs = unsafe { mmap_anonymous(Some(place), one, ProtFlags::PROT_READ, flags) }.unwrap();
        reserved.close_hole(place, len);
        drop(reserved);
        assert_eq!(access_to(place.get()).as_deref(), Some("r--p"));
        // SAFETY: the test has mapped it.
        unsafe { munmap(theirs, page) }.unwrap();
    }

    #[test]
    fn more_than_there_are_addresses_is_refused() {
        for room in [1 << 47, usize::MAX - 4095] {
            assert_eq!(Reserved::new(room, 2, page_size()).unwrap_err().errno, Errno::ENOMEM);
        }
    }
}
