//! What a pool hands out: [`PoolBlock`], and [`ProtectedPoolBlock`] for the same bytes through the read-only mirror.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::Pool;
use super::node::Node;
use super::table::Table;
use crate::error::{Error, Refused};
use crate::sync::opaque;

/// A handle that allocates and frees objects: a [`Pool`] or a [`LocalPool`](super::LocalPool).
pub trait PoolHandle: sealed::TakesBack {}

impl PoolHandle for Pool<'_> {}

pub(super) mod sealed {
    use super::Node;

    pub trait TakesBack {
        /// Bytes of each object.
        fn object_size(&self) -> usize;

        /// Takes back an object of the pool.
        ///
        /// # Safety
        /// Nobody may own it any more, and the table that it is of must be there.
        unsafe fn take_back(&self, node: &Node);
    }
}

use sealed::TakesBack;

impl TakesBack for Pool<'_> {
    #[inline(always)]
    fn object_size(&self) -> usize {
        self.size()
    }

    #[inline(always)]
    unsafe fn take_back(&self, node: &Node) {
        // SAFETY: the table is there, by the caller's promise.
        let table = unsafe { &*Table::of(node) };
        // SAFETY: nobody owns it, by the caller's promise. The pool borrows the group, so the bytes are mapped.
        unsafe { table.give_back(node) };
    }
}

/// An object of a pool: bytes in the read-write mirror, owned alone. Dropping it gives it back, to be handed out again.
pub struct PoolBlock<'p, H: PoolHandle = Pool<'p>> {
    node: &'p Node,
    handle: &'p H,
    bytes: PhantomData<&'p mut [u8]>,
}

/// An object of a pool seen through the read-only mirror: it can be read and shared. Dropping it gives the object back.
pub struct ProtectedPoolBlock<'p, H: PoolHandle = Pool<'p>> {
    block: PoolBlock<'p, H>,
    /// In the read-only mirror.
    address: NonNull<u8>,
}

// SAFETY: a block owns its bytes as a `&mut [u8]` does, and that may be sent. It is given back to a handle that may be shared.
unsafe impl<H: PoolHandle + Sync> Send for PoolBlock<'_, H> {}
// SAFETY: a shared block can only be read.
unsafe impl<H: PoolHandle + Sync> Sync for PoolBlock<'_, H> {}
// SAFETY: as for PoolBlock.
unsafe impl<H: PoolHandle + Sync> Send for ProtectedPoolBlock<'_, H> {}
// SAFETY: as for PoolBlock.
unsafe impl<H: PoolHandle + Sync> Sync for ProtectedPoolBlock<'_, H> {}

impl<'p, H: PoolHandle> PoolBlock<'p, H> {
    /// Makes a block of an object that was just taken from a table of the handle's pool.
    #[inline(always)]
    pub(super) fn new(node: &'p Node, handle: &'p H) -> Self {
        Self { node, handle, bytes: PhantomData }
    }

    /// First byte, in the read-write mirror.
    pub fn as_ptr(&self) -> *const u8 {
        self.node.address().as_ptr()
    }

    /// First byte, in the read-write mirror.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.node.address().as_ptr()
    }

    /// The same bytes through the read-only mirror: an addition. Taking the block proves that no writer is left.
    ///
    /// # Errors
    /// [`Error::NoMirror`] in an anonymous group, with the block.
    pub fn protect(self) -> Result<ProtectedPoolBlock<'p, H>, Refused<Self>> {
        // SAFETY: the handle's pool is borrowed, and with it its tables.
        let table = unsafe { &*Table::of(self.node) };
        // SAFETY: the group is borrowed, so its slots live.
        let slots = unsafe { crate::slot::LiveSlots::new() };
        // SAFETY: the object lies in that slot of the group.
        let slot = unsafe { slots.get(table.slot(self.node)) };
        // SAFETY: the address of an object lies in the read-write mirror of its slot.
        match unsafe { slot.to_read_only(self.node.address()) } {
            Some(address) => Ok(ProtectedPoolBlock { block: self, address: opaque(address) }),
            None => Err(Refused { error: Error::NoMirror, value: self }),
        }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.handle.object_size()
    }
}

impl<'p, H: PoolHandle> ProtectedPoolBlock<'p, H> {
    /// First byte, in the read-only mirror: a store through it ends in SIGSEGV.
    pub fn as_ptr(&self) -> *const u8 {
        self.address.as_ptr()
    }

    /// The same bytes through the read-write mirror. Taking the protected block proves that no reader is left.
    pub fn unprotect(self) -> PoolBlock<'p, H> {
        opaque(self.block.node.address());
        self.block
    }
}

impl<H: PoolHandle> Drop for PoolBlock<'_, H> {
    #[inline(always)]
    fn drop(&mut self) {
        // What lived there may have been values with padding.
        opaque(self.node.address());
        // SAFETY: the block was the only owner, and its borrow of the handle is one of the pool, which has the tables.
        unsafe { self.handle.take_back(self.node) };
    }
}

// The bytes are plain memory to Rust, as those of `Block` are.

impl<H: PoolHandle> Deref for PoolBlock<'_, H> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: an object has so many bytes, which are mapped and initialised for 'p, and borrowed from their only owner.
        unsafe { std::slice::from_raw_parts(self.node.address().as_ptr(), self.len()) }
    }
}

impl<H: PoolHandle> DerefMut for PoolBlock<'_, H> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for deref, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.node.address().as_ptr(), self.len()) }
    }
}

impl<H: PoolHandle> Deref for ProtectedPoolBlock<'_, H> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: an object has so many bytes, mapped and initialised for 'p; their only owner is borrowed, and cannot write.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.block.len()) }
    }
}

impl<H: PoolHandle> fmt::Debug for PoolBlock<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolBlock({} bytes, object {})", self.len(), self.node.index())
    }
}

impl<H: PoolHandle> fmt::Debug for ProtectedPoolBlock<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtectedPoolBlock({} bytes, object {})", self.block.len(), self.block.node.index())
    }
}
