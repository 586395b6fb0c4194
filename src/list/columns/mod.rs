//! The columns of a list: how large each of its objects is, and where it begins.
//!
//! `builder` makes them of sizes, `parts` of parts of memory that is there.

pub(crate) mod builder;
mod parts;

use std::ops::Range;

use crate::error::Error;
use crate::fallible;
use crate::layout;
use crate::os;
pub(crate) use builder::Builder;
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
            Sizes::One { size, .. } => *size,
        }
    }

    /// Where an object begins.
    #[inline(always)]
    pub(crate) fn start(&self, object: usize) -> usize {
        match &self.sizes {
            Sizes::Each { starts, .. } => starts[object],
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
            Sizes::Each { .. } => None,
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

    /// How many objects, from `first` on, `room` bytes hold.
    pub(crate) fn fitting(&self, first: usize, room: usize) -> usize {
        let left = self.len - first;
        match &self.sizes {
            Sizes::Each { starts, .. } => {
                let limit = starts[first].saturating_add(room);
                // Those that begin below the limit end below it too, but perhaps the last.
                let begun = starts[first..].partition_point(|&start| start < limit);
                match begun.checked_sub(1) {
                    Some(last) if self.end(first + last) > limit => last,
                    _ => begun,
                }
            }
            Sizes::One { size, stride } => match room.checked_sub((*size).max(1)) {
                Some(rest) => (rest / stride + 1).min(left),
                None => 0,
            },
        }
    }

    /// How many of the `most` objects from `first` on are to go on in a slot that `first` jumped to, where whatever
    /// needs no more than `rest` bytes would have found room in the slot that was jumped over.
    ///
    /// Large ones go on there, and so do small ones between them while they are together less than an eighth of what
    /// goes there: a list of large and small by turns would else be torn into as many pieces. The last is always a
    /// large one.
    pub(crate) fn jumping(&self, first: usize, most: usize, rest: usize) -> usize {
        if let Sizes::One { .. } = self.sizes {
            return most;
        }
        let origin = self.start(first);
        let mut small = 0_usize;
        let mut count = 1;
        for object in first + 1..first + most {
            if self.size(object) > rest {
                count = object + 1 - first;
                continue;
            }
            small += padded(self.size(object), self.align);
            if small > (self.end(object) - origin) / SMALL_SHARE {
                break;
            }
        }
        count
    }

    /// The sum of the sizes of some objects.
    pub(crate) fn sum_of_sizes(&self, objects: Range<usize>) -> usize {
        match &self.sizes {
            Sizes::Each { sizes, .. } => sizes[objects].iter().sum(),
            Sizes::One { size, .. } => objects.len() * size,
        }
    }

    /// The last of some objects that begins there or before; the first does. `extent` is where the last of them ends,
    /// about.
    #[inline]
    pub(crate) fn last_starting_by(&self, objects: Range<usize>, at: usize, extent: usize) -> usize {
        match &self.sizes {
            Sizes::Each { starts, .. } => {
                let behind = &starts[objects.start + 1..objects.end];
                // It is likely to be near: what is found often is found in one of the next.
                let near = behind.len().min(NEAR_OBJECTS);
                let count = match behind[..near].iter().position(|&start| start > at) {
                    Some(count) => count,
                    None => {
                        // Objects are of about one size, so it is where that says, or not far. Each look further costs
                        // a cache line that nobody has touched before.
                        let origin = starts[objects.start + near];
                        let guess = (at - origin).saturating_mul(behind.len() - near) / (extent - origin).max(1);
                        near + partition_near(&behind[near..], at, guess)
                    }
                };
                objects.start + count
            }
            Sizes::One { stride, .. } => (at / stride).min(objects.end - 1),
        }
    }

    /// How many objects, from `first` on and before `end`, lie one behind the other without padding, and their bytes.
    #[inline(always)]
    pub(crate) fn unpadded(&self, first: usize, end: usize) -> (usize, usize) {
        match &self.sizes {
            Sizes::Each { starts, sizes } => {
                let mut last = first;
                while last + 1 < end && starts[last] + sizes[last] == starts[last + 1] {
                    last += 1;
                }
                (last + 1 - first, starts[last] + sizes[last] - starts[first])
            }
            Sizes::One { size, stride } if size == stride => (end - first, (end - first) * size),
            Sizes::One { size, .. } => (1, *size),
        }
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
            Sizes::One { size, stride } => {
                (fallible::collect((0..len).map(|object| object * stride))?, fallible::filled(size, len)?)
            }
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

/// How many of some ascending numbers are at most `at`, with a guess.
fn partition_near(numbers: &[usize], at: usize, guess: usize) -> usize {
    let is_before = |index: usize| numbers[index] <= at;
    let (mut low, mut high, mut step) = (0, numbers.len(), NEAR_OBJECTS);
    let mut look = guess.min(high.saturating_sub(1));
    while low < high {
        if is_before(look) {
            low = look + 1;
            look = low.saturating_add(step);
        } else {
            high = look;
            look = high.saturating_sub(step);
        }
        // From both sides there is a bound: halve what is between.
        if look >= high || look < low {
            look = low + (high - low) / 2;
        }
        step *= 2;
    }
    low
}

/// So many objects are looked at one by one before the rest is halved.
const NEAR_OBJECTS: usize = 4;

/// Small objects may be less than this fraction of the bytes that jump.
const SMALL_SHARE: usize = 8;

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
