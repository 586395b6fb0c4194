//! Columns of parts of memory that is there.

use super::{Columns, MAX_EXTENT, Table};
use crate::error::Error;

/// Writes the columns of objects that are parts of what is there already, each behind the one before or further on.
pub(crate) struct PartsBuilder {
    table: Table,
    nbytes: usize,
    end: usize,
}

impl PartsBuilder {
    /// With room for so many objects.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    pub(crate) fn new(objects: usize) -> Result<Self, Error> {
        let mut parts = Self { table: Table::default(), nbytes: 0, end: 0 };
        parts.reserve(objects)?;
        Ok(parts)
    }

    /// Makes room for so many more objects.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    pub(crate) fn reserve(&mut self, objects: usize) -> Result<(), Error> {
        self.table.reserve(objects)
    }

    /// How many objects there are so far.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Behind the last object, one without bytes as if it had one.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Adds an object, which must not begin before the [end](Self::end).
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    #[inline(always)]
    pub(crate) fn push(&mut self, start: usize, size: usize) -> Result<(), Error> {
        debug_assert!(start >= self.end);
        if self.table.len() == self.table.capacity() {
            self.reserve((self.table.len() / 2).max(16))?;
        }
        self.table.starts.push(start);
        self.table.sizes.push(size);
        self.nbytes += size;
        self.end = start + size.max(1);
        Ok(())
    }

    /// The columns; every address must be a multiple of `align`.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: the list reaches further than any list may.
    pub(crate) fn finish(self, align: usize) -> Result<Columns, Error> {
        match self.end > MAX_EXTENT {
            true => Err(Error::TooLarge { size: self.end, largest: MAX_EXTENT }),
            false => Ok(self.table.finish(align, self.nbytes, self.end)),
        }
    }
}
