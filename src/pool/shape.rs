//! What the objects of a pool are like, and what is done to the bytes of a free one.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::error::Error;
use crate::layout::{MAX_ALIGN, align_up};

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
    /// Whether something is to be done to the bytes of each object that is given back.
    pub(super) is_tended: bool,
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
            is_tended: false,
            is_shared_by_forks: true,
        })
    }

    /// The same in a group that holds secrets, or whose memory a fork copies.
    pub(crate) fn within(self, is_secret: bool, is_shared_by_forks: bool) -> Self {
        Self { is_secret, is_tended: is_secret, is_shared_by_forks, ..self }
    }

    /// Does to the bytes of a free object what is to be done.
    ///
    /// # Safety
    /// A stride of bytes must be mapped there, writable, and nobody's.
    pub(super) unsafe fn overwrite(&self, address: NonNull<u8>) {
        if self.is_secret {
            // SAFETY: the caller's promise.
            unsafe { address.write_bytes(0, self.stride) };
        }
    }
}
