//! Sizes of two bytes each, from which follows where the objects begin: a list that came from another process keeps
//! them, because it often shows memory that is no cost to this one.

use std::ops::Range;

use super::{Columns, Sizes, padded};
use crate::error::Error;
use crate::fallible;
use crate::layout::MAX_ALIGN;

/// The start of one object in so many is kept.
const MARK_EVERY: usize = 32;

// The distance of two objects with no mark between them is a 32-bit integer.
const _: () = assert!(MARK_EVERY * (u16::MAX as usize + MAX_ALIGN) <= u32::MAX as usize);

/// Objects each of which begins at the first multiple of `align` behind the one before.
#[derive(Debug)]
pub(super) struct Packed {
    sizes: Vec<u16>,
    /// Where the first of each [`MARK_EVERY`] objects begins.
    marks: Vec<usize>,
    align: u32,
}

impl Packed {
    #[inline(always)]
    pub(super) fn size(&self, object: usize) -> usize {
        self.sizes[object].into()
    }

    #[inline]
    pub(super) fn start(&self, object: usize) -> usize {
        let mark = object / MARK_EVERY;
        let between = &self.sizes[mark * MARK_EVERY..object];
        self.marks[mark] + between.iter().map(|&size| self.padded(size)).sum::<u32>() as usize
    }

    /// As [`Columns::each`].
    #[inline(always)]
    pub(super) fn each(&self, objects: Range<usize>, mut work: impl FnMut(usize, usize) -> bool) {
        if objects.is_empty() {
            return;
        }
        let mut start = self.start(objects.start);
        for &size in &self.sizes[objects] {
            if !work(start, size.into()) {
                return;
            }
            start += self.padded(size) as usize;
        }
    }

    /// As [`Columns::sum_of_sizes`].
    pub(super) fn sum_of_sizes(&self, objects: Range<usize>) -> usize {
        self.sizes[objects].iter().map(|&size| usize::from(size)).sum()
    }

    /// As [`Columns::unpadded`].
    #[inline]
    pub(super) fn unpadded(&self, first: usize, end: usize) -> (usize, usize) {
        let (mut count, mut nbytes) = (0, 0);
        for &size in &self.sizes[first..end] {
            count += 1;
            nbytes += usize::from(size);
            if u32::from(size) != self.padded(size) {
                break;
            }
        }
        (count, nbytes)
    }

    /// How many objects begin before `limit`, those from `first` on; it begins there or before.
    pub(super) fn begun(&self, first: usize, limit: usize) -> usize {
        let mark = self.marks.partition_point(|&start| start < limit).saturating_sub(1);
        let near = (mark * MARK_EVERY).max(first);
        let mut count = near - first;
        self.each(near..self.sizes.len(), |start, _| {
            let is_begun = start < limit;
            count += usize::from(is_begun);
            is_begun
        });
        count
    }

    /// From the beginning of an object to that of the next.
    #[inline(always)]
    fn padded(&self, size: u16) -> u32 {
        (u32::from(size).max(1) + (self.align - 1)) & !(self.align - 1)
    }
}

impl Columns {
    /// Objects of these sizes, each at the first multiple of `align` (a power of two, at most [`MAX_ALIGN`]) behind the
    /// one before.
    ///
    /// # Errors
    /// [`Error::Table`]: there is no memory for where they begin.
    pub(crate) fn packed(sizes: Vec<u16>, align: usize) -> Result<Self, Error> {
        let len = sizes.len();
        let mut packed = Packed { sizes, marks: Vec::new(), align: align as u32 };
        fallible::reserve(&mut packed.marks, len.div_ceil(MARK_EVERY))?;
        let (mut next, mut end, mut nbytes) = (0, 0, 0);
        for chunk in packed.sizes.chunks(MARK_EVERY) {
            packed.marks.push(next);
            for &size in chunk {
                let size = usize::from(size);
                end = next + size.max(1);
                next += padded(size, align);
                nbytes += size;
            }
        }
        Ok(Self { sizes: Sizes::Packed(packed), len, align, nbytes, extent: end })
    }

    /// Whether the sizes of these objects, in two bytes each, and the alignment say all of them.
    pub(crate) fn can_be_packed(&self, objects: Range<usize>) -> bool {
        if let Sizes::Packed(_) = self.sizes {
            return true;
        }
        let mut next = None;
        let mut are_close = true;
        self.each(objects, |start, size| {
            are_close &= next.is_none_or(|next| next == start) && size <= u16::MAX.into();
            next = Some(start + padded(size, self.align));
            are_close
        });
        are_close
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::layout::MAX_SLOT_BYTES;
    use crate::list::{Builder, Columns};

    proptest! {
        #[test]
        fn packed_columns_are_those_of_the_same_sizes(
            sizes in prop::collection::vec(prop_oneof![0..9u16, any::<u16>()], 1..200), shift in 0..8usize,
            from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), at in 0..1_usize << 20,
        ) {
            let mut builder = Builder::new(1 << shift, MAX_SLOT_BYTES);
            builder.extend(sizes.iter().map(|&size| size.into())).unwrap();
            let expected = builder.finish();
            let columns = Columns::packed(sizes.clone(), 1 << shift).unwrap();
            let (from, to) = (from.index(sizes.len()), to.index(sizes.len()));
            let some = from.min(to)..from.max(to) + 1;
            prop_assert!(expected.can_be_packed(some.clone()));
            prop_assert_eq!((columns.len(), columns.align()), (expected.len(), expected.align()));
            prop_assert_eq!((columns.nbytes(), columns.extent()), (expected.nbytes(), expected.extent()));
            for object in 0..sizes.len() {
                prop_assert_eq!(columns.start(object), expected.start(object));
                prop_assert_eq!(columns.end(object), expected.end(object));
            }
            let pairs = |columns: &Columns| {
                let mut pairs = Vec::new();
                columns.each(some.clone(), |start, size| { pairs.push((start, size)); pairs.len() < 50 });
                pairs
            };
            prop_assert_eq!(pairs(&columns), pairs(&expected));
            prop_assert_eq!(columns.sum_of_sizes(some.clone()), expected.sum_of_sizes(some.clone()));
            prop_assert_eq!(columns.unpadded(some.start, some.end), expected.unpadded(some.start, some.end));
            prop_assert_eq!(columns.fitting(some.start, at), expected.fitting(some.start, at));
            prop_assert_eq!(columns.jumping(some.start, some.len(), at), expected.jumping(some.start, some.len(), at));
            let (at, extent) = (columns.start(some.start) + at, columns.end(some.end - 1));
            prop_assert_eq!(
                columns.last_starting_by(some.clone(), at, extent), expected.last_starting_by(some.clone(), at, extent)
            );
            let changes = [(some.start, 3)].into_iter();
            let changed = columns.changed(changes.clone(), [0].into_iter()).unwrap();
            let expected = expected.changed(changes, [0].into_iter()).unwrap();
            prop_assert_eq!(changed.start(sizes.len() - 1), expected.start(sizes.len() - 1));
            prop_assert_eq!(changed.nbytes(), expected.nbytes());
        }
    }

    #[test]
    fn large_and_distant_objects_are_not_packed() {
        let of = |sizes: &[usize], align| {
            let mut builder = Builder::new(align, MAX_SLOT_BYTES);
            builder.extend(sizes.iter().copied()).unwrap();
            builder.finish()
        };
        assert!(of(&[1, 65_535], 4096).can_be_packed(0..2));
        assert!(!of(&[1, 65_536], 16).can_be_packed(0..2));
        assert!(of(&[1, 65_536], 16).can_be_packed(0..1));
        let gap = Columns::of_table(vec![0, 5], vec![3, 3], 1).unwrap();
        assert!(!gap.can_be_packed(0..2));
        assert!(gap.can_be_packed(1..2));
    }
}
