//! Collections in a group: allocator-api2's [`Allocator`] for a thread's handle and for the shared group.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::Local;
use crate::group::{MemGroup, Taken};
use crate::layout::MAX_ALIGN;

// What the trait asks for, and why both keep it:
// - Memory stays valid until the allocator and its clones are gone: it does so for 'g, the borrow of the group, which is
//   longer than any borrow of a handle.
// - Moving or copying the allocator changes nothing: it is a reference.
// - What is handed out fits the layout: `alloc_raw` aligns it and takes so many bytes. For no bytes it is dangling, as it may be.
// - Deallocating and resizing touch nothing but the block at hand: only the last one changes the handle's room, and the
//   caller gives up what is cut off.

// SAFETY: memory lasts for 'g, which is longer than any allocator; copies are the same reference; blocks fit their
// layout; and only the block at hand is touched (see the list above). The handle is not Sync, so no other thread
// allocates from it meanwhile.
unsafe impl Allocator for &Local<'_> {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        self.alloc_raw(layout).map(|taken| bytes(taken.address, layout)).map_err(|_| AllocError)
    }

    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        let taken = self.alloc_raw(layout).map_err(|_| AllocError)?;
        self.clear(&taken, layout.size());
        Ok(bytes(taken.address, layout))
    }

    /// Frees the last allocation, so that its bytes can be had again; any other stays until the group ends.
    #[inline]
    unsafe fn deallocate(&self, address: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 && self.is_last(address, layout.size()) {
            // SAFETY: it is the last, and the caller gives it up. It can always become smaller.
            unsafe { self.resize_last(address, 0) };
        }
    }

    /// In place if it is the last allocation and the chunk has room; else elsewhere.
    #[inline]
    unsafe fn grow(&self, address: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        debug_assert!(new.size() >= old.size());
        if self.can_resize(address, old, new) {
            // SAFETY: it is the last, and nothing is cut off.
            if unsafe { self.resize_last(address, new.size()) } {
                return Ok(bytes(address, new));
            }
        }
        // SAFETY: address is a block of the old layout, by contract, which is the smaller one.
        unsafe { self.relocate(address, old, new, old.size()) }
    }

    #[inline]
    unsafe fn grow_zeroed(&self, address: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: address is a block of the old layout, and the new one is not smaller, by contract.
        let grown = unsafe { self.grow(address, old, new) }?;
        // SAFETY: the old size is at most the new one, which is how many bytes there are.
        let added = unsafe { grown.cast::<u8>().add(old.size()) };
        // SAFETY: from there to the end of the block.
        unsafe { added.write_bytes(0, new.size() - old.size()) };
        Ok(grown)
    }

    /// In place; the bytes cut off can be had again if it is the last allocation.
    #[inline]
    unsafe fn shrink(&self, address: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        debug_assert!(new.size() <= old.size());
        if !address.addr().get().is_multiple_of(new.align()) {
            // SAFETY: address is a block of the old layout, by contract, which is the larger one.
            return unsafe { self.relocate(address, old, new, new.size()) };
        }
        if self.can_resize(address, old, new) {
            // SAFETY: it is the last, and the caller gives up what is cut off.
            unsafe { self.resize_last(address, new.size()) };
        }
        Ok(bytes(address, new))
    }
}

impl Local<'_> {
    /// Whether a block is the last of the chunk and aligned as it is to be.
    #[inline(always)]
    fn can_resize(&self, address: NonNull<u8>, old: Layout, new: Layout) -> bool {
        old.size() > 0 && address.addr().get().is_multiple_of(new.align()) && self.is_last(address, old.size())
    }

    /// A block of the new layout with the first `kept` bytes of the old one, which is free then.
    ///
    /// # Safety
    /// `address` must be a block of the old layout, and both have `kept` bytes.
    unsafe fn relocate(
        &self,
        address: NonNull<u8>,
        old: Layout,
        new: Layout,
        kept: usize,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let moved = self.allocate(new)?;
        // SAFETY: the new block was just taken, so the two do not overlap, and both are large enough.
        unsafe { moved.cast::<u8>().copy_from_nonoverlapping(address, kept) };
        // SAFETY: address is a block of the old layout, by contract, and nobody's any more. A large block does not come
        // from the chunk, so the old one may still be the last.
        unsafe { self.deallocate(address, old) };
        Ok(moved)
    }
}

// SAFETY: memory lasts for 'g, which is longer than any allocator; copies are the same reference; blocks fit their
// layout; and nothing is ever given back, so threads that allocate meanwhile do not matter (see the list above).
unsafe impl Allocator for &MemGroup {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        taken(self, layout).map(|taken| bytes(taken.address, layout))
    }

    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        let taken = taken(self, layout)?;
        if !taken.slot.is_fresh() {
            // SAFETY: the bytes were just taken: they are mapped, so many of them, and nobody else's.
            unsafe { taken.address.write_bytes(0, layout.size()) };
        }
        Ok(bytes(taken.address, layout))
    }

    /// Does nothing: the memory goes when the group does.
    #[inline]
    unsafe fn deallocate(&self, _address: NonNull<u8>, _layout: Layout) {}

    /// In place where the alignment allows; what is cut off is wasted.
    #[inline]
    unsafe fn shrink(&self, address: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        debug_assert!(new.size() <= old.size());
        if address.addr().get().is_multiple_of(new.align()) {
            return Ok(bytes(address, new));
        }
        let moved = self.allocate(new)?;
        // SAFETY: the new block was just taken, so the two do not overlap, and the old one is at least as large.
        unsafe { moved.cast::<u8>().copy_from_nonoverlapping(address, new.size()) };
        Ok(moved)
    }
}

#[inline]
fn taken(group: &MemGroup, layout: Layout) -> Result<Taken<'_>, AllocError> {
    if layout.align() > MAX_ALIGN {
        return Err(AllocError);
    }
    group.alloc_raw(layout.size(), layout.align()).map_err(|_| AllocError)
}

/// As many bytes as the layout has.
#[inline(always)]
fn bytes(address: NonNull<u8>, layout: Layout) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(address, layout.size())
}

/// No bytes at an address that is aligned, and no memory's.
#[inline(always)]
fn nothing(layout: Layout) -> NonNull<[u8]> {
    // An alignment is never 0.
    let address = NonNull::new(std::ptr::without_provenance_mut(layout.align()));
    bytes(address.unwrap_or(NonNull::dangling()), layout)
}
