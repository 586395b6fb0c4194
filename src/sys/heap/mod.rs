//! A stand-in for mappings: slots on the heap (`cfg(heap)`).
//!
//! Miri knows neither memfd nor madvise, and loom neither threads nor locks but its own. Here both find all that they can
//! judge (who owns which bytes, which pointer may be used for what, what one thread knows of another) without what they
//! cannot. Both mirrors are one piece of memory, so nothing is protected; nothing is ever refused; and no process is ever
//! forked, though a test can have it [look](fork) as if.

pub(crate) mod fork;
pub(crate) mod headroom;
mod mirrors;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

pub(crate) use mirrors::{Mirrors, Unlocked};

use super::{Backing, Refusal, page_size};

pub(crate) fn check_backing(_backing: &Backing) -> Result<(), Refusal> {
    Ok(())
}

pub(crate) fn huge_page_size(_backing: &Backing) -> Option<usize> {
    None
}

pub(crate) fn ask_for_huge_pages<T>(_memory: &mut [MaybeUninit<T>]) {}

fn page() -> Layout {
    Layout::from_size_align(page_size(), page_size()).unwrap_or(Layout::new::<[u64; 512]>())
}

pub(super) fn map_page() -> Result<NonNull<c_void>, Refusal> {
    // SAFETY: a page has bytes.
    let page_or_null = unsafe { alloc(page()) };
    Ok(NonNull::new(page_or_null).unwrap_or_else(|| handle_alloc_error(page())).cast())
}

/// # Safety
/// It must come from `map_page`, and nobody else know of it.
pub(super) unsafe fn unmap_page(start: NonNull<c_void>) {
    // SAFETY: the caller's promise.
    unsafe { dealloc(start.as_ptr().cast(), page()) };
}
