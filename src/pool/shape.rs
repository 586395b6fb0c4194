//! What the objects of a pool are like, and what is done to the bytes of a free one.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::error::Error;
use crate::layout::{MAX_ALIGN, align_up};

/// What a free object is filled with, in a pool that detects who writes to one.
const FREED: u8 = 0xdd;

/// What lies behind every object of such a pool.
const GUARD: u8 = 0xfd;

/// At least so many bytes of it.
const GUARD_BYTES: usize = 16;

/// What objects of a pool have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) size: usize,
    pub(crate) align: usize,
    /// Bytes from one object of a chunk to the next.
    pub(crate) stride: usize,
    /// The most objects there may be at a time.
    pub(crate) capacity: usize,
    /// Whether free objects are set to zero, for what they held is secret.
    is_secret: bool,
    /// Whether free objects hold a pattern, and guard bytes lie between objects.
    pub(crate) is_debug: bool,
    /// Whether something is to be done to the bytes of each object that is given back.
    pub(crate) is_tended: bool,
    /// Whether a forked child shares the bytes.
    pub(super) is_shared_by_forks: bool,
}

impl Shape {
    /// The shape of objects in a group whose largest slot holds so many bytes.
    ///
    /// # Errors
    /// [`Error::Align`] for an alignment above [`MAX_ALIGN`], [`Error::TooLarge`] for objects that no slot holds.
    pub(crate) fn new(layout: Layout, capacity: Option<usize>, largest: usize) -> Result<Self, Error> {
        let (size, align) = (layout.size(), layout.align());
        if align > MAX_ALIGN {
            return Err(Error::Align { align });
        }
        let stride = align_up(size.max(1), align).filter(|&stride| stride <= largest);
        Ok(Self {
            size,
            align,
            stride: stride.ok_or(Error::TooLarge { size, largest })?,
            capacity: capacity.unwrap_or(usize::MAX),
            is_secret: false,
            is_debug: false,
            is_tended: false,
            is_shared_by_forks: true,
        })
    }

    /// The same in a group that holds secrets, or whose memory a fork copies.
    pub(crate) fn within(self, is_secret: bool, is_shared_by_forks: bool) -> Self {
        Self { is_secret, is_tended: is_secret || self.is_debug, is_shared_by_forks, ..self }
    }

    /// The same with a pattern in free objects, and guard bytes between them.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if no slot holds one.
    pub(crate) fn debug(self, largest: usize) -> Result<Self, Error> {
        let stride = align_up(self.size.saturating_add(GUARD_BYTES), self.align).filter(|&stride| stride <= largest);
        let stride = stride.ok_or(Error::TooLarge { size: self.size, largest })?;
        Ok(Self { stride, is_debug: true, is_tended: true, ..self })
    }

    /// Does to the bytes of a free object what is to be done.
    ///
    /// # Safety
    /// A stride of bytes must be mapped there, writable, and nobody's.
    pub(crate) unsafe fn overwrite(&self, address: NonNull<u8>) {
        if self.is_debug {
            // SAFETY: the caller's promise; the size is less than a stride.
            unsafe { address.write_bytes(FREED, self.size) };
            // SAFETY: the guard lies between the size and the stride.
            let guard = unsafe { address.add(self.size) };
            // SAFETY: the caller's promise, for the rest of the stride.
            unsafe { guard.write_bytes(GUARD, self.stride - self.size) };
        } else if self.is_secret {
            // SAFETY: the caller's promise.
            unsafe { address.write_bytes(0, self.stride) };
        }
    }

    /// Where the guard behind an object has been written to.
    ///
    /// # Safety
    /// A stride of bytes must be mapped there.
    pub(super) unsafe fn check_guard(&self, address: NonNull<u8>) -> Option<usize> {
        // SAFETY: the caller's promise.
        unsafe { self.first_other(address, self.size, self.stride, GUARD) }
    }

    /// Where a free object or the guard behind it has been written to.
    ///
    /// # Safety
    /// A stride of bytes must be mapped there.
    pub(super) unsafe fn check_free(&self, address: NonNull<u8>) -> Option<usize> {
        // SAFETY: the caller's promise.
        let within = unsafe { self.first_other(address, 0, self.size, FREED) };
        // SAFETY: the same.
        within.or_else(|| unsafe { self.check_guard(address) })
    }

    /// The first of the bytes from `start` to `end` that has another value.
    ///
    /// # Safety
    /// They must be mapped.
    unsafe fn first_other(&self, address: NonNull<u8>, start: usize, end: usize, value: u8) -> Option<usize> {
        if !self.is_debug {
            return None;
        }
        (start..end).find(|&offset| {
            // SAFETY: offset is below end, and so mapped, by the caller's promise.
            let byte = unsafe { address.add(offset) };
            // SAFETY: the same. Volatile: somebody else may write there.
            let found = unsafe { byte.read_volatile() };
            found != value
        })
    }
}
