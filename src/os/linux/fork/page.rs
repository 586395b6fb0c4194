//! Pages that the kernel zeroes in a forked child.

use std::ffi::c_void;
use std::num::NonZero;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::error::Operation;
use crate::os::{Refusal, page_size};

/// A page that the kernel zeroes in every forked child.
pub(super) fn map_page() -> Result<NonNull<c_void>, Refusal> {
    let len = NonZero::new(page_size()).unwrap_or(NonZero::<usize>::MIN);
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping anywhere replaces no other.
    let page =
        unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_PRIVATE) }.map_err(Refusal::of(Operation::Map))?;
    // SAFETY: the range is the page just mapped; the advice changes nothing in this process.
    unsafe { madvise(page, len.get(), MmapAdvise::MADV_WIPEONFORK) }.map_err(|errno| {
        // SAFETY: nobody else knows of the page.
        let _refused = unsafe { munmap(page, len.get()) };
        Refusal::of(Operation::WipeOnFork)(errno)
    })?;
    Ok(page)
}

/// Gives a page back.
///
/// # Safety
/// It must come from `map_page`, and nobody else know of it.
pub(super) unsafe fn unmap_page(page: NonNull<c_void>) {
    // SAFETY: the page comes from `map_page` and nobody else knows of it, as the contract says. Refused, it stays
    // mapped.
    let _refused = unsafe { munmap(page, page_size()) };
}
