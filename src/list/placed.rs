//! Where the objects of a list are.

use std::ptr::NonNull;

use super::columns::Columns;
use crate::slot::Slot;

/// Consecutive objects of a list that lie one behind the other in a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Number of the first object.
    pub(crate) first: usize,
    /// Valid for as long as the group keeps what was allocated together with the list.
    pub(crate) slot: NonNull<Slot>,
    /// Where the first object begins in the slot.
    pub(crate) offset: usize,
}

// SAFETY: slots may be shared between threads, and the pointer is only a number until somebody argues otherwise.
unsafe impl Send for Run {}
// SAFETY: as for Send.
unsafe impl Sync for Run {}

/// Some bytes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// As in [`Run`].
    pub(crate) slot: NonNull<Slot>,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// Objects of a list: the first, how far to the next, and how many.
///
/// Invariant: all of them are in the list that this was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    start: usize,
    step: isize,
    len: usize,
}

impl Part {
    /// All objects of a list of `len`.
    pub(crate) fn all(len: usize) -> Self {
        Self { start: 0, step: 1, len }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// From one object to the next.
    pub(crate) fn step(self) -> isize {
        self.step
    }

    /// Which object of the list is the one at `index`, which must be less than the length.
    #[inline(always)]
    pub(crate) fn object(self, index: usize) -> usize {
        debug_assert!(index < self.len);
        // All objects are in a list, so neither the product nor the sum can overflow.
        self.start.wrapping_add_signed(self.step.wrapping_mul(index as isize))
    }

    /// Of these the one at `start`, the one `step` further, and so on: `len` of them, which must all be there.
    pub(crate) fn part(self, start: usize, step: isize, len: usize) -> Self {
        match len {
            0 => Self { start: 0, step: 1, len },
            // A step that is never made may be as long as it likes.
            1 => Self { start: self.object(start), step: 1, len },
            _ => Self { start: self.object(start), step: self.step * step, len },
        }
    }
}

/// The columns of a list and the runs that it lies in.
#[derive(Debug)]
pub(crate) struct Placed {
    columns: Columns,
    /// By `first`, which begins with 0 and grows. Empty if there are no objects.
    runs: Box<[Run]>,
}

impl Placed {
    pub(crate) fn new(columns: Columns, runs: Box<[Run]>) -> Self {
        debug_assert_eq!(runs.is_empty(), columns.len() == 0);
        Self { columns, runs }
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Which run an object is in.
    #[inline(always)]
    pub(crate) fn run_of(&self, object: usize) -> usize {
        self.runs.partition_point(|run| run.first <= object).saturating_sub(1)
    }

    /// Number of the first object behind a run.
    #[inline(always)]
    pub(crate) fn end_of(&self, run: usize) -> usize {
        self.runs.get(run + 1).map_or(self.columns.len(), |next| next.first)
    }

    /// Bytes of a run, from the beginning of its first object to the end of its last.
    pub(crate) fn span_of(&self, run: usize) -> Span {
        let Run { first, slot, offset } = self.runs[run];
        Span { slot, offset, len: self.columns.end(self.end_of(run) - 1) - self.columns.start(first) }
    }

    /// The bytes of an object.
    #[inline(always)]
    pub(crate) fn object(&self, object: usize) -> Span {
        self.object_in(self.run_of(object), object)
    }

    #[inline(always)]
    fn object_in(&self, run: usize, object: usize) -> Span {
        let Run { first, slot, offset } = self.runs[run];
        let offset = offset + (self.columns.start(object) - self.columns.start(first));
        Span { slot, offset, len: self.columns.size(object) }
    }

    /// The bytes of some objects, one after the other.
    pub(crate) fn objects(&self, part: Part) -> impl DoubleEndedIterator<Item = Span> + ExactSizeIterator + '_ {
        let mut run = 0;
        (0..part.len()).map(move |index| {
            let object = part.object(index);
            if !(self.runs[run].first..self.end_of(run)).contains(&object) {
                run = self.run_of(object);
            }
            self.object_in(run, object)
        })
    }

    /// The same with those in one where no padding lies between.
    pub(crate) fn spans(&self, part: Part) -> Spans<'_> {
        Spans { placed: self, part, index: 0, run: 0 }
    }
}

pub(crate) struct Spans<'a> {
    placed: &'a Placed,
    part: Part,
    index: usize,
    run: usize,
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let left = self.part.len().checked_sub(self.index).filter(|&left| left > 0)?;
        let object = self.part.object(self.index);
        let Self { placed, run, .. } = *self;
        if !(placed.runs[run].first..placed.end_of(run)).contains(&object) {
            self.run = placed.run_of(object);
        }
        let span = placed.object_in(self.run, object);
        if self.part.step() != 1 {
            self.index += 1;
            return Some(span);
        }
        let end = placed.end_of(self.run).min(object + left);
        let (count, len) = placed.columns.unpadded(object, end);
        self.index += count;
        Some(Span { len, ..span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_of_parts_are_what_slices_of_slices_are(
            len in 0..30usize, cuts in prop::collection::vec((any::<prop::sample::Index>(), -4..5isize, 0..9usize), 0..4),
        ) {
            let mut part = Part::all(len);
            let mut model: Vec<usize> = (0..len).collect();
            for (start, step, most) in cuts {
                if model.is_empty() || step == 0 {
                    continue;
                }
                let start = start.index(model.len());
                let indices = (0..most as isize).map(|n| start as isize + n * step);
                let indices: Vec<_> = indices.take_while(|at| (0..model.len() as isize).contains(at)).collect();
                part = part.part(start, step, indices.len());
                model = indices.iter().map(|&at| model[at as usize]).collect();
            }
            prop_assert_eq!((0..part.len()).map(|index| part.object(index)).collect::<Vec<_>>(), model);
        }
    }
}
