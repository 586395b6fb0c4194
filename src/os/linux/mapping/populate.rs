//! Finding memory for pages and mapping them, or an error where a touch would be a signal.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, madvise};

use crate::os::page_size;

/// What the pages are to be mapped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Finds and maps memory for `len` bytes (whole pages). What they hold stays as it is.
///
/// # Safety
/// The range lies in a mapping of this crate's that stays while this runs.
pub(super) unsafe fn populate(start: NonNull<c_void>, len: usize, access: Access) -> nix::Result<()> {
    let advice = match access {
        Access::Read => MmapAdvise::MADV_POPULATE_READ,
        Access::Write => MmapAdvise::MADV_POPULATE_WRITE,
    };
    loop {
        // SAFETY: by contract the range lies in a mapping of this crate's. The advice changes no byte and unmaps nothing.
        match unsafe { madvise(start, len, advice) } {
            // It may stop part-way when a signal arrives; what is populated stays, so begin again.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Kernels before 5.14 do not know it, nor do some sandboxes.
            // SAFETY: the contract is the same.
            Err(Errno::EINVAL | Errno::ENOSYS) => return unsafe { touch_all(start, len, access) },
            result => return result,
        }
    }
}

/// The same, page by page.
///
/// # Safety
/// As for [`populate`].
unsafe fn touch_all(start: NonNull<c_void>, len: usize, access: Access) -> nix::Result<()> {
    for offset in (0..len).step_by(page_size()) {
        // SAFETY: the offset is less than len, so the sum stays in the range, which by contract is mapped.
        let page = unsafe { start.byte_add(offset) };
        match access {
            // SAFETY: by contract the page is a part of a mapping of this crate's that stays.
            Access::Read => unsafe { touch_to_read(page) }?,
            // SAFETY: by contract the page is a part of a mapping of this crate's that stays.
            Access::Write => unsafe { touch_to_write(page) }?,
        }
    }
    Ok(())
}

/// Has the kernel add 0 to the first word of a page, in one atomic step: where it finds no memory for it, that is an error
/// of the call and no signal.
///
/// # Safety
/// The page is a part of a mapping of this crate's that stays.
unsafe fn touch_to_write(page: NonNull<c_void>) -> nix::Result<()> {
    const ADD_NOTHING: libc::c_int = 1 << 28; // FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)
    let operation = libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG;
    loop {
        // SAFETY: by contract the page is mapped, and it is aligned for a word. The word keeps its value, whatever other
        // threads store to it meanwhile, for the step is atomic. No thread waits at the address that could be woken.
        let woken =
            unsafe { libc::syscall(libc::SYS_futex, page.as_ptr(), operation, 1, 1_usize, page.as_ptr(), ADD_NOTHING) };
        match Errno::result(woken) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Has the kernel compare the first word of a page, as if to wait for a change for no time at all.
///
/// # Safety
/// The page is a part of a mapping of this crate's that stays.
unsafe fn touch_to_read(page: NonNull<c_void>) -> nix::Result<()> {
    const UNLIKELY: u32 = 1; // for a page that was never written to is 0
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: by contract the page is mapped, and it is aligned for a word, which is only read. The time outlives the call.
    let waited = unsafe { libc::syscall(libc::SYS_futex, page.as_ptr(), operation, UNLIKELY, ptr::from_ref(&now)) };
    match Errno::result(waited) {
        // It has been read: it is another, or it was the same for that time.
        Err(Errno::EAGAIN | Errno::ETIMEDOUT | Errno::EINTR) => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

    use super::*;
    use crate::os::system::mapping::memfd;

    /// So many pages, the first of which are backed by a file.
    fn mapped(pages: usize, backed: usize, protection: ProtFlags) -> NonNull<c_void> {
        let file = memfd::create("populate-test").unwrap();
        nix::unistd::ftruncate(&file, (backed * page_size()) as i64).unwrap();
        let len = NonZeroUsize::new(pages * page_size()).unwrap();
        // SAFETY: a new mapping, at an address that the kernel chooses.
        unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, &file, 0) }.unwrap()
    }

    fn unmap(start: NonNull<c_void>, pages: usize) {
        // SAFETY: the mapping is of `mapped`, and nobody uses it any more.
        unsafe { munmap(start, pages * page_size()) }.unwrap();
    }

    /// Whether each page is in memory.
    fn resident(start: NonNull<c_void>, pages: usize) -> Vec<bool> {
        let mut found = vec![0_u8; pages];
        // SAFETY: the range is a mapping of `mapped`, and a byte for each page is there to be written.
        let asked = unsafe { libc::mincore(start.as_ptr(), pages * page_size(), found.as_mut_ptr()) };
        assert_eq!(asked, 0);
        found.iter().map(|found| found & 1 == 1).collect()
    }

    #[test]
    fn pages_that_are_touched_are_in_memory_and_hold_what_they_held() {
        for access in [Access::Read, Access::Write] {
            let start = mapped(4, 4, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
            let words = start.cast::<u32>();
            // SAFETY: the word is in the mapping, which is aligned for it.
            unsafe { words.write(1) };
            assert_eq!(resident(start, 4), [true, false, false, false]);
            // SAFETY: the range is a part of the mapping, which stays until the end.
            assert_eq!(unsafe { touch_all(start, 3 * page_size(), access) }, Ok(()));
            assert_eq!(resident(start, 4), [true, true, true, false]);
            // SAFETY: the word is in the mapping, which is aligned for it.
            assert_eq!(unsafe { words.read() }, 1);
            unmap(start, 4);
        }
    }

    #[test]
    fn what_cannot_be_had_is_an_error_and_no_signal() {
        for access in [Access::Read, Access::Write] {
            let start = mapped(2, 1, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
            // SAFETY: the range is the mapping, which stays until the end.
            assert_eq!(unsafe { touch_all(start, 2 * page_size(), access) }, Err(Errno::EFAULT));
            unmap(start, 2);
        }
        let start = mapped(1, 1, ProtFlags::PROT_READ);
        // SAFETY: the range is the mapping, which stays until the end.
        assert_eq!(unsafe { touch_all(start, page_size(), Access::Read) }, Ok(()));
        // SAFETY: the range is the mapping, which stays until the end.
        assert_eq!(unsafe { touch_all(start, page_size(), Access::Write) }, Err(Errno::EFAULT));
        unmap(start, 1);
    }
}
