//! What a group hands out: [`Block`], and [`Protected`] for the same bytes through the read-only mirror.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::error::{Error, Refused};
use crate::slot::{Slot, SlotRef, Taken};
use crate::sync::opaque;

/// One allocation: bytes in the read-write mirror, owned alone, as a `&'g mut [u8]` would be.
///
/// Dropping a block frees nothing; its bytes last as long as the group.
pub struct Block<'g> {
    address: NonNull<u8>,
    len: usize,
    slot: &'g Slot,
    bytes: PhantomData<&'g mut [u8]>,
}

/// One allocation seen through the read-only mirror. It can be read and shared, and is its bytes' only owner, so
/// that [`unprotect`](crate::MemGroup::unprotect) can give the writer back.
pub struct Protected<'g> {
    address: NonNull<u8>,
    len: usize,
    slot: &'g Slot,
    bytes: PhantomData<&'g mut [u8]>,
}

// SAFETY: a block owns its bytes as a `&mut [u8]` does, and that may be sent.
unsafe impl Send for Block<'_> {}
// SAFETY: a shared block can only be read.
unsafe impl Sync for Block<'_> {}
// SAFETY: a protected block can only be read, and owns its bytes alone; that may be sent.
unsafe impl Send for Protected<'_> {}
// SAFETY: a protected block can only be read.
unsafe impl Sync for Protected<'_> {}

impl<'g> Block<'g> {
    /// Makes a block of the first `len` bytes of what was taken; at least that many must have been.
    #[inline(always)]
    pub(crate) fn new(taken: Taken<'g>, len: usize) -> Self {
        Self { address: taken.address, len, slot: taken.slot.get(), bytes: PhantomData }
    }

    /// First byte, in the read-write mirror.
    pub fn as_ptr(&self) -> *const u8 {
        self.address.as_ptr()
    }

    /// First byte, in the read-write mirror.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// The bytes, for as long as the group is borrowed. There is no way back to the block.
    pub fn into_slice(self) -> &'g mut [u8] {
        // SAFETY: the group has the block's len bytes mapped and initialised for 'g; the block, their only owner, is
        // gone, so the slice is their only one.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }

    #[inline(always)]
    pub(crate) fn slot(&self) -> &'g Slot {
        self.slot
    }

    #[inline(always)]
    pub(crate) fn into_protected(self) -> Result<Protected<'g>, Refused<Self>> {
        // SAFETY: the address of a block lies in the read-write mirror of its slot.
        match unsafe { self.slot.to_read_only(self.address) } {
            Some(address) => {
                let Self { len, slot, bytes, .. } = self;
                Ok(Protected { address: opaque(address), len, slot, bytes })
            }
            None => Err(Refused { error: Error::NoMirror, value: self }),
        }
    }
}

impl<'g> Protected<'g> {
    /// All of a slot of borrowed memory that cannot be written.
    pub(crate) fn of_borrowed(slot: SlotRef<'g>) -> Self {
        debug_assert!(!slot.is_writable());
        // SAFETY: the offset is at most the capacity.
        let address = unsafe { slot.at(0) };
        Self { address, len: slot.capacity(), slot: slot.get(), bytes: PhantomData }
    }

    /// First byte, in the read-only mirror: a store through it ends in SIGSEGV.
    pub fn as_ptr(&self) -> *const u8 {
        self.address.as_ptr()
    }

    /// The bytes, for as long as the group is borrowed, to be copied and shared freely. There is no way back to the
    /// writable block.
    pub fn into_slice(self) -> &'g [u8] {
        // SAFETY: the group has the block's len bytes mapped and initialised for 'g; their only owner is gone, so no
        // writer can come into being any more.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }

    #[inline(always)]
    pub(crate) fn slot(&self) -> &'g Slot {
        self.slot
    }

    #[inline(always)]
    pub(crate) fn into_block(self) -> Block<'g> {
        let Self { address, len, slot, bytes } = self;
        // SAFETY: the address of a protected block lies in the read-only mirror of its slot.
        let address = unsafe { slot.to_read_write(address) };
        Block { address: opaque(address), len, slot, bytes }
    }
}

// The bytes are plain memory to Rust: always initialised (the kernel hands out zeros, later rounds find the bytes of
// earlier ones), reachable through one owner at a time, and not open to other processes: no descriptor is left, and
// forking a process that goes on using Rust is unsafe to begin with.

impl Deref for Block<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: len bytes at address are mapped and initialised for 'g, and borrowed from their only owner.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl DerefMut for Block<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the group has the block's len bytes mapped and initialised for 'g, and the borrow of the block, their
        // only owner, is unique.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }
}

impl Deref for Protected<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: len bytes at address are mapped and initialised for 'g; their only owner is borrowed, and cannot write.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Block<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Block<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl AsRef<[u8]> for Protected<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes in {})", self.len, Home(self.slot))
    }
}

impl fmt::Debug for Protected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protected({} bytes in {})", self.len, Home(self.slot))
    }
}

/// `slot 3`, `borrowed memory`.
struct Home<'a>(&'a Slot);

impl fmt::Display for Home<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.number() {
            Some(number) => write!(f, "slot {number}"),
            None => f.write_str("borrowed memory"),
        }
    }
}
