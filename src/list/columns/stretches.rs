//! Which objects of a list lie together: those that fit somewhere, or follow each other without padding.

use std::ops::Range;

use super::{Columns, Sizes, padded};

/// Small objects may be less than this fraction of the bytes that jump.
const SMALL_SHARE: usize = 8;

/// So many objects are looked at one by one before the rest is halved.
const NEAR_OBJECTS: usize = 4;

impl Columns {
    /// How many objects, from `first` on, `room` bytes hold.
    pub(crate) fn fitting(&self, first: usize, room: usize) -> usize {
        let left = self.len - first;
        let limit = self.start(first).saturating_add(room);
        let begun = match &self.sizes {
            Sizes::Each { starts, .. } => starts[first..].partition_point(|&start| start < limit),
            Sizes::Packed(packed) => packed.begun(first, limit),
            Sizes::One { size, stride } => {
                return match room.checked_sub((*size).max(1)) {
                    Some(rest) => (rest / stride + 1).min(left),
                    None => 0,
                };
            }
        };
        // Those that begin below the limit end below it too, but perhaps the last.
        match begun.checked_sub(1) {
            Some(last) if self.end(first + last) > limit => last,
            _ => begun,
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
            Sizes::Packed(packed) => packed.sum_of_sizes(objects),
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
            Sizes::Packed(packed) => {
                let begun = packed.begun(objects.start, at.saturating_add(1)).max(1);
                (objects.start + begun).min(objects.end) - 1
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
            Sizes::Packed(packed) => packed.unpadded(first, end),
            Sizes::One { size, stride } if size == stride => (end - first, (end - first) * size),
            Sizes::One { size, .. } => (1, *size),
        }
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
