//! Memory for what is read of a file.

use crate::error::Error;
use crate::group::{Block, MemGroup};

/// Bytes that are read at once: grep reads as many, and takes a file for binary by what is in them.
pub(super) const READ: usize = 96 << 10;

/// A block of the group that all threads share. It grows with the longest line.
pub(super) struct Window<'g> {
    group: &'g MemGroup,
    block: Block<'g>,
}

impl<'g> Window<'g> {
    /// Holds a read, the beginning of a line, and a line feed.
    pub(super) fn new(group: &'g MemGroup) -> Result<Self, Error> {
        Ok(Self { group, block: group.alloc(READ + READ / 3)? })
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.block
    }

    /// Makes room for a read, and a line feed, behind the first `kept` bytes.
    ///
    /// # Errors
    /// As [`MemGroup::alloc`].
    pub(super) fn make_room(&mut self, kept: usize) -> Result<(), Error> {
        if kept + READ < self.block.len() {
            return Ok(());
        }
        let mut larger = self.group.alloc(2 * self.block.len())?;
        larger[..kept].copy_from_slice(&self.block[..kept]);
        self.block = larger;
        Ok(())
    }
}
