//! The same bytes through the other mirror.

use super::{Block, MemGroup, Protected};
use crate::error::{Error, Refused};

impl MemGroup {
    /// The same bytes through the read-only mirror: an addition, whatever the size.
    ///
    /// Taking the block proves that no writer is left.
    ///
    /// # Errors
    /// [`Error::NoMirror`] in an anonymous group, [`Error::Foreign`] for another group's block. The block is gone then; use
    /// [`try_protect`](Self::try_protect) to have it back.
    #[inline]
    pub fn protect<'g>(&self, block: Block<'g>) -> Result<Protected<'g>, Error> {
        self.try_protect(block).map_err(Error::from)
    }

    /// As [`protect`](Self::protect), but a refused block is given back.
    ///
    /// # Errors
    /// As [`protect`](Self::protect), with the block.
    #[inline]
    pub fn try_protect<'g>(&self, block: Block<'g>) -> Result<Protected<'g>, Refused<Block<'g>>> {
        if block.slot().group() != self.id {
            return Err(Refused { error: Error::Foreign, value: block });
        }
        block.into_protected()
    }

    /// The same bytes through the read-write mirror. Taking the protected block proves that no reader is left.
    ///
    /// # Errors
    /// [`Error::Foreign`] for another group's block, [`Error::BorrowedReadOnly`] for one that was borrowed. It is gone then; use
    /// [`try_unprotect`](Self::try_unprotect) to have it back.
    #[inline]
    pub fn unprotect<'g>(&self, protected: Protected<'g>) -> Result<Block<'g>, Error> {
        self.try_unprotect(protected).map_err(Error::from)
    }

    /// As [`unprotect`](Self::unprotect), but a refused block is given back.
    ///
    /// # Errors
    /// As [`unprotect`](Self::unprotect), with the block.
    #[inline]
    pub fn try_unprotect<'g>(&self, protected: Protected<'g>) -> Result<Block<'g>, Refused<Protected<'g>>> {
        if protected.slot().group() != self.id {
            return Err(Refused { error: Error::Foreign, value: protected });
        }
        if !protected.slot().is_writable() {
            return Err(Refused { error: Error::BorrowedReadOnly, value: protected });
        }
        Ok(protected.into_block())
    }
}
