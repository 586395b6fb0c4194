//! A page on the heap, which passes for one that the kernel wipes in a child.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::ptr::NonNull;

use crate::os::{Refusal, page_size};

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
    // SAFETY: `map_page` allocated it with this layout, and nobody else knows of it, as the contract says.
    unsafe { dealloc(start.as_ptr().cast(), page()) };
}
