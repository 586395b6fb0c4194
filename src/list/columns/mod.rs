//! The columns of a list: how large each of its objects is, and where it begins.
//!
//! `builder` makes them of sizes, `parts` of parts of memory that is there; `packed` ones are small.

pub(crate) mod builder;
mod packed;
mod parts;
mod stretches;

use std::ops::Range;

use crate::error::Error;
use crate::fallible;
use crate::layout;
use crate::os;
pub(crate) use builder::Builder;
use packed::Packed;
pub(crate) use parts::PartsBuilder;

/// No list reaches further: far more than all slots of a group hold together, and far from overflow.
const MAX_EXTENT: usize = 1 << 60;

/// The sizes of a list's objects and where they begin, as if the list were one piece of memory.
#[derive(Debug)]
pub(crate) struct Columns {
    sizes: Sizes,
    len: usize,
    align: usize,
    nbytes: usize,
    extent: usize,
}

#[derive(Debug)]
enum Sizes {
    /// A size and a start for each object: 16 bytes.
    Each { starts: Vec<usize>, sizes: Vec<usize> },
    /// A size for each object: two bytes.
    Packed(Packed),
    /// Objects of one size, so many bytes apart: no table at all.
    One { size: usize, stride: usize },
}

impl Columns {
    /// `count` objects of one size. `align` must be a power of two.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a size beyond `largest`, or more than any group holds altogether.
    pub(crate) fn uniform(count: usize, size: usize, align: usize, largest: usize) -> Result<Self, Error> {
        let too_large = |size| Error::TooLarge { size, largest };
        if size > largest {
            return Err(too_large(size));
        }
        let stride = padded(size, align);
        let extent = match count.checked_sub(1) {
            None => 0,
            Some(before) => {
                let extent = before.saturating_mul(stride).saturating_add(size.max(1));
                if extent > MAX_EXTENT {
                    return Err(too_large(extent));
                }
                extent
            }
        };
        Ok(Self { sizes: Sizes::One { size, stride }, len: count, align, nbytes: count * size, extent })
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What every object's address is a multiple of.
    pub(crate) fn align(&self) -> usize {
        self.align
    }

    /// The sum of all sizes.
    pub(crate) fn nbytes(&self) -> usize {
        self.nbytes
    }

    /// Bytes from the beginning of the first object to the end of the last, padding between them included.
    pub(crate) fn extent(&self) -> usize {
        self.extent
    }

    /// Size of an object. `object` must be less than [`len`](Self::len), as in all that follows.
    #[inline(always)]
    pub(crate) fn size(&self, object: usize) -> usize {
        match &self.sizes {
            Sizes::Each { sizes, .. } => sizes[object],
            Sizes::Packed(packed) => packed.size(object),
            Sizes::One { size, .. } => *size,
        }
    }

    /// Where an object begins.
    #[inline(always)]
    pub(crate) fn start(&self, object: usize) -> usize {
        match &self.sizes {
            Sizes::Each { starts, .. } => starts[object],
            Sizes::Packed(packed) => packed.start(object),
            Sizes::One { stride, .. } => object * stride,
        }
    }

    /// Goes through some objects, for as long as `work` says so: where each begins, and its size.
    #[inline(always)]
    pub(crate) fn each(&self, objects: Range<usize>, mut work: impl FnMut(usize, usize) -> bool) {
        match &self.sizes {
            Sizes::Each { starts, sizes } => {
                let _ = starts[objects.clone()].iter().zip(&sizes[objects]).all(|(&start, &size)| work(start, size));
            }
            Sizes::Packed(packed) => packed.each(objects, work),
            Sizes::One { size, stride } => {
                let _ = objects.into_iter().all(|object| work(object * stride, *size));
            }
        }
    }

    /// Where what an object takes ends; one without bytes takes one, as an empty block does.
    pub(crate) fn end(&self, object: usize) -> usize {
        self.start(object) + self.size(object).max(1)
    }

    /// Size and distance of the objects where all are of one size.
    pub(crate) fn uniform_sizes(&self) -> Option<(usize, usize)> {
        match self.sizes {
            Sizes::Each { .. } | Sizes::Packed(_) => None,
            Sizes::One { size, stride } => Some((size, stride)),
        }
    }

    /// Columns as somebody else wrote them down, the first object at the beginning wherever it was; `None` if they are
    /// none.
    pub(crate) fn of_table(mut starts: Vec<usize>, sizes: Vec<usize>, align: usize) -> Option<Self> {
        if starts.len() != sizes.len() {
            return None;
        }
        let origin = starts.first().copied().unwrap_or(0);
        let (mut end, mut nbytes) = (0_usize, 0_usize);
        for (start, &size) in starts.iter_mut().zip(&sizes) {
            *start = start.checked_sub(origin).filter(|&start| start >= end)?;
            end = start.checked_add(size.max(1)).filter(|&end| end <= MAX_EXTENT)?;
            nbytes += size;
        }
        Some(Self { len: sizes.len(), sizes: Sizes::Each { starts, sizes }, align, nbytes, extent: end })
    }
}

impl Columns {
    /// Other sizes for the same objects, and for each run, in order, where its first object is now to begin: those
    /// behind it keep their distance. `runs` are the numbers of their first objects.
    ///
    /// # Errors
    /// [`Error::Table`]: there is no memory for a table, where there was none before.
    pub(super) fn changed(
        self,
        sizes: impl Iterator<Item = (usize, usize)>,
        runs: impl Iterator<Item = usize>,
    ) -> Result<Self, Error> {
        let Self { len, align, .. } = self;
        let (mut starts, mut own) = match self.sizes {
            Sizes::Each { starts, sizes } => (starts, sizes),
            _ => (
                fallible::collect((0..len).map(|object| self.start(object)))?,
                fallible::collect((0..len).map(|object| self.size(object)))?,
            ),
        };
        for (object, size) in sizes {
            own[object] = size;
        }
        let mut runs = runs.peekable();
        let mut end = 0;
        while let Some(first) = runs.next() {
            let behind = runs.peek().copied().unwrap_or(len);
            let (old, new) = (starts[first], layout::align_up(end, align).unwrap_or(end));
            starts[first..behind].iter_mut().for_each(|start| *start = *start - old + new);
            end = starts[behind - 1] + own[behind - 1].max(1);
        }
        let nbytes = own.iter().sum();
        Ok(Self { sizes: Sizes::Each { starts, sizes: own }, len, align, nbytes, extent: end })
    }
}

/// From the beginning of an object to that of the next.
#[inline(always)]
fn padded(size: usize, align: usize) -> usize {
    // What overflows is too large, and the callers see to that.
    layout::align_up(size.max(1), align).unwrap_or(usize::MAX)
}

/// The two vectors of a table while it is written: where each object begins, and its size.
#[derive(Default)]
struct Table {
    starts: Vec<usize>,
    sizes: Vec<usize>,
}

impl Table {
    /// Bytes that an object takes.
    const OBJECT_BYTES: usize = 2 * size_of::<usize>();

    /// How many objects there are so far.
    fn len(&self) -> usize {
        self.sizes.len()
    }

    /// For how many objects there is room.
    fn capacity(&self) -> usize {
        self.sizes.capacity().min(self.starts.capacity())
    }

    /// Makes room for so many more objects.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    fn reserve(&mut self, objects: usize) -> Result<(), Error> {
        // Neither vector grows before it is known that there is memory for both.
        fallible::check(objects.saturating_mul(Self::OBJECT_BYTES))?;
        fallible::reserve(&mut self.starts, objects)?;
        fallible::reserve(&mut self.sizes, objects)?;
        os::ask_for_huge_pages(self.starts.spare_capacity_mut());
        os::ask_for_huge_pages(self.sizes.spare_capacity_mut());
        Ok(())
    }

    /// The columns, with no memory to spare.
    fn finish(self, align: usize, nbytes: usize, extent: usize) -> Columns {
        let Self { mut starts, mut sizes } = self;
        starts.shrink_to_fit();
        sizes.shrink_to_fit();
        Columns { len: sizes.len(), sizes: Sizes::Each { starts, sizes }, align, nbytes, extent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MAX_SLOT_BYTES;
    use proptest::prelude::*;

    fn of(sizes: &[usize], align: usize) -> Columns {
        let mut builder = Builder::new(align, MAX_SLOT_BYTES);
        builder.extend(sizes.iter().copied()).unwrap();
        builder.finish()
    }

    #[test]
    fn a_table_takes_16_bytes_for_each_object_and_one_size_none() {
        let mut pushed = Builder::new(16, MAX_SLOT_BYTES);
        (0..10_001).for_each(|size| pushed.push(size).unwrap());
        for columns in [of(&vec![7; 10_001], 16), pushed.finish()] {
            let Sizes::Each { starts, sizes } = columns.sizes else { panic!("no table") };
            assert_eq!((starts.capacity(), sizes.capacity()), (10_001, 10_001));
        }
        let uniform = Columns::uniform(1 << 40, 0, 16, MAX_SLOT_BYTES).unwrap();
        assert!(matches!(uniform.sizes, Sizes::One { size: 0, stride: 16 }));
    }

    #[test]
    fn large_ones_jump_together_with_few_small_ones_between() {
        let columns = of(&[1000, 10, 1000, 10, 10, 10, 5000, 10, 900, 10], 1);
        assert_eq!(columns.jumping(0, 10, 100), 9);
        assert_eq!(columns.jumping(0, 5, 100), 3);
        let columns = of(&[1000, 100, 100, 1000], 1);
        assert_eq!(columns.jumping(0, 4, 100), 1);
    }

    proptest! {
        #[test]
        fn columns_lie_as_blocks_would(
            sizes in prop::collection::vec(prop_oneof![0..40usize, 0..100_000usize], 0..200), shift in 0..13u32,
        ) {
            let align = 1 << shift;
            let columns = of(&sizes, align);
            prop_assert_eq!(columns.len(), sizes.len());
            prop_assert_eq!(columns.nbytes(), sizes.iter().sum::<usize>());
            let mut used = 0;
            for (object, &size) in sizes.iter().enumerate() {
                let place = layout::place(used, size, align).unwrap();
                prop_assert_eq!(columns.start(object), place.start);
                prop_assert_eq!((columns.size(object), columns.end(object)), (size, place.end));
                used = place.end;
            }
            prop_assert_eq!(columns.extent(), used);
        }

        #[test]
        fn as_many_fit_as_fit_one_by_one(
            sizes in prop::collection::vec(0..100usize, 1..50), first in any::<prop::sample::Index>(),
            room in 0..3000usize, shift in 0..8u32, is_uniform: bool,
        ) {
            let first = first.index(sizes.len());
            let columns = match is_uniform {
                true => Columns::uniform(sizes.len(), sizes[0], 1 << shift, 1 << 20).unwrap(),
                false => of(&sizes, 1 << shift),
            };
            let origin = columns.start(first);
            let slowly = (first..sizes.len()).take_while(|&object| columns.end(object) - origin <= room).count();
            prop_assert_eq!(columns.fitting(first, room), slowly);
        }

        #[test]
        fn unpadded_stretches_are_as_long_as_can_be(
            sizes in prop::collection::vec(0..4usize, 1..50), shift in 0..3u32, is_uniform: bool,
        ) {
            let columns = match is_uniform {
                true => Columns::uniform(sizes.len(), sizes[0], 1 << shift, 1 << 20).unwrap(),
                false => of(&sizes, 1 << shift),
            };
            let (mut object, mut nbytes) = (0, 0);
            while object < columns.len() {
                let (count, bytes) = columns.unpadded(object, columns.len());
                prop_assert_eq!(bytes, (object..object + count).map(|one| columns.size(one)).sum::<usize>());
                let last = object + count - 1;
                prop_assert_eq!(columns.start(last) + columns.size(last), columns.start(object) + bytes);
                object += count;
                nbytes += bytes;
            }
            prop_assert_eq!(nbytes, columns.nbytes());
        }
    }
}
