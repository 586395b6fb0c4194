//! Columns of sizes, each of them read once.

use std::mem::MaybeUninit;

use super::{Columns, MAX_EXTENT, Table};
use crate::error::Error;

/// So many sizes are read between two looks at whether they can be served. That many of the largest there are do not
/// overflow a word on top of [`MAX_EXTENT`].
const CHUNK: usize = 4096;

/// Writes the columns while sizes are read, each of them once.
pub(crate) struct Builder {
    table: Table,
    /// Where the next object begins.
    next: usize,
    nbytes: usize,
    align: usize,
    largest: usize,
}

/// A size that cannot be served: the number of its object, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnfitSize {
    pub(crate) object: usize,
    pub(crate) error: Error,
}

impl From<UnfitSize> for Error {
    fn from(unfit: UnfitSize) -> Self {
        unfit.error
    }
}

impl Builder {
    /// For objects at multiples of `align` (a power of two), none of them larger than `largest`.
    pub(crate) fn new(align: usize, largest: usize) -> Self {
        Self { table: Table::default(), next: 0, nbytes: 0, align, largest }
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

    /// The sizes of the objects so far.
    pub(crate) fn sizes(&self) -> &[usize] {
        &self.table.sizes
    }

    /// Where an object begins.
    pub(crate) fn start(&self, object: usize) -> usize {
        self.table.starts[object]
    }

    /// Adds one object.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Table`].
    pub(crate) fn push(&mut self, size: usize) -> Result<(), UnfitSize> {
        let object = self.len();
        if object == self.table.capacity() {
            self.reserve(16).map_err(|error| UnfitSize { object, error })?;
        }
        self.chunk(&mut std::iter::once(size), 1)
    }

    /// Adds one object for each size.
    ///
    /// # Errors
    /// As [`push`](Self::push), for the first object that is too large.
    #[inline(always)]
    pub(crate) fn extend(&mut self, mut sizes: impl ExactSizeIterator<Item = usize>) -> Result<(), UnfitSize> {
        let mut left = sizes.len();
        self.reserve(left).map_err(|error| UnfitSize { object: self.len(), error })?;
        while left > 0 {
            let many = left.min(CHUNK);
            self.chunk(&mut sizes, many)?;
            left -= many;
        }
        Ok(())
    }

    /// Adds at most `many` objects, for which there must be room. What is wrong with a size shows at the end: asking at
    /// each would take as long as all the rest.
    #[inline(always)]
    fn chunk(&mut self, sizes: &mut impl Iterator<Item = usize>, many: usize) -> Result<(), UnfitSize> {
        let before = self.len();
        let (mut next, mut nbytes, mut all_bits, mut written) = (self.next, self.nbytes, 0, 0);
        let Table { starts, sizes: table_sizes } = &mut self.table;
        let places = starts.spare_capacity_mut().iter_mut().zip(table_sizes.spare_capacity_mut());
        for ((start, place), size) in places.take(many).zip(sizes) {
            put(start, next);
            put(place, size);
            // Sums wrap only where a size is too large for any slot, which is found below.
            next = next.wrapping_add(size.max(1).wrapping_add(self.align - 1) & !(self.align - 1));
            nbytes = nbytes.wrapping_add(size);
            all_bits |= size;
            written += 1;
        }
        // SAFETY: the loop has initialised `written` starts behind the old length, within the capacity.
        unsafe { starts.set_len(before + written) };
        // SAFETY: the loop has initialised `written` sizes behind the old length, within the capacity.
        unsafe { table_sizes.set_len(before + written) };
        (self.next, self.nbytes) = (next, nbytes);
        let unfit = |object, size| UnfitSize { object, error: Error::TooLarge { size, largest: self.largest } };
        // No size is larger than all their bits together.
        if all_bits > self.largest {
            let new = &self.table.sizes[before..];
            if let Some(at) = new.iter().position(|&size| size > self.largest) {
                return Err(unfit(before + at, new[at]));
            }
        }
        if next > MAX_EXTENT {
            return Err(unfit(before, nbytes));
        }
        Ok(())
    }

    /// The columns, with no memory to spare.
    pub(crate) fn finish(self) -> Columns {
        let extent = match (self.table.starts.last(), self.table.sizes.last()) {
            (Some(start), Some(&size)) => start + size.max(1),
            _ => 0,
        };
        self.table.finish(self.align, self.nbytes, extent)
    }
}

#[inline(always)]
fn put(place: &mut MaybeUninit<usize>, value: usize) {
    place.write(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MAX_SLOT_BYTES;

    #[test]
    fn the_first_size_that_is_too_large_is_named() {
        for wrong in [MAX_SLOT_BYTES + 1, usize::MAX, 1 << 63, 1 << 47] {
            for at in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5] {
                let mut sizes = vec![MAX_SLOT_BYTES; 4 * CHUNK];
                sizes[at] = wrong;
                sizes[4 * CHUNK - 1] = wrong;
                let unfit = Builder::new(16, MAX_SLOT_BYTES).extend(sizes.into_iter()).unwrap_err();
                let error = Error::TooLarge { size: wrong, largest: MAX_SLOT_BYTES };
                assert_eq!(unfit, UnfitSize { object: at, error });
            }
        }
    }

    #[test]
    fn a_bound_that_is_no_power_of_two_is_kept_to_the_byte() {
        let extend = |sizes: [usize; 3]| Builder::new(1, 5).extend(sizes.into_iter());
        assert_eq!(extend([5, 3, 2]), Ok(()));
        let error = Error::TooLarge { size: 6, largest: 5 };
        assert_eq!(extend([5, 6, 7]), Err(UnfitSize { object: 1, error }));
    }

    #[test]
    fn too_much_altogether_is_refused() {
        let sizes = std::iter::repeat_n(MAX_SLOT_BYTES, 1 << 20);
        let mut builder = Builder::new(16, MAX_SLOT_BYTES);
        assert!(matches!(sizes.map(|size| builder.push(size)).find_map(Result::err), Some(UnfitSize { .. })));
        assert!(matches!(Columns::uniform(usize::MAX, 1, 16, MAX_SLOT_BYTES), Err(Error::TooLarge { .. })));
        assert!(matches!(Columns::uniform(1, 6, 16, 5), Err(Error::TooLarge { size: 6, largest: 5 })));
    }
}
