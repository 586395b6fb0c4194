//! Where the objects of a list are.

use std::ops::Range;

use super::columns::Columns;
use super::gap_state::Gaps;
use crate::error::Error;
use crate::fallible;
use crate::slot::{LiveSlots, SlotPtr};

/// Consecutive objects of a list that lie one behind the other in a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Number of the first object.
    pub(crate) first: usize,
    /// There for as long as the group keeps what was allocated together with the list.
    pub(crate) slot: SlotPtr,
    /// Where the first object begins in the slot.
    pub(crate) offset: usize,
}

/// Some bytes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// As in [`Run`].
    pub(crate) slot: SlotPtr,
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

    /// The objects from the lowest to the highest by their numbers in the list, those that are skipped among them.
    pub(crate) fn reach(self) -> Range<usize> {
        let Some(last) = self.len.checked_sub(1) else { return 0..0 };
        let (first, last) = (self.object(0), self.object(last));
        first.min(last)..first.max(last) + 1
    }

    /// Whether no object between the lowest and the highest is skipped.
    pub(crate) fn is_dense(self) -> bool {
        self.step.unsigned_abs() == 1
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
pub(crate) struct ListLayout {
    columns: Columns,
    /// By `first`, which begins with 0 and grows. Empty if there are no objects.
    runs: Box<[Run]>,
    gaps: Gaps,
}

impl ListLayout {
    /// Objects with memory that was taken for them, and that nobody else owns any of.
    pub(crate) fn new(columns: Columns, runs: Box<[Run]>) -> Self {
        debug_assert_eq!(runs.is_empty(), columns.len() == 0);
        Self { columns, runs, gaps: Gaps::new() }
    }

    /// This layout, where something may have been written to the gaps between the objects.
    pub(crate) fn with_written_gaps(self) -> Self {
        Self { gaps: Gaps::written(), ..self }
    }

    /// This layout, where whatever lies between the objects may be shown.
    pub(crate) fn with_clear_gaps(self) -> Self {
        Self { gaps: Gaps::clear(), ..self }
    }

    /// This layout, where others own what lies between the objects.
    pub(crate) fn with_foreign_gaps(self) -> Self {
        Self { gaps: Gaps::foreign(), ..self }
    }

    pub(crate) fn gaps(&self) -> &Gaps {
        &self.gaps
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

    /// Whether the list is of a secret group.
    ///
    /// # Safety
    /// It must lie in those slots.
    pub(crate) unsafe fn is_secret(&self, slots: LiveSlots<'_>) -> bool {
        // SAFETY: the list lies in those slots, by contract.
        self.runs.first().is_some_and(|run| unsafe { slots.get(run.slot) }.is_secret())
    }

    /// The runs that consecutive objects are in.
    pub(crate) fn runs_of(&self, objects: Range<usize>) -> Range<usize> {
        if objects.is_empty() { 0..0 } else { self.run_of(objects.start)..self.run_of(objects.end - 1) + 1 }
    }

    /// The objects of a run that are among some consecutive ones.
    pub(crate) fn objects_of(&self, run: usize, among: &Range<usize>) -> Range<usize> {
        self.runs[run].first.max(among.start)..self.end_of(run).min(among.end)
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
        (0..part.len()).map(move |index| self.object_near(&mut run, part.object(index)))
    }

    /// The bytes of the object at an index of `part`, and of those behind it as far as no padding lies between; how
    /// many objects that are. `run` is where the caller was last, and is kept up.
    #[inline(always)]
    pub(crate) fn span_at(&self, part: Part, index: usize, run: &mut usize) -> (Span, usize) {
        let object = part.object(index);
        let span = self.object_near(run, object);
        if part.step() != 1 {
            return (span, 1);
        }
        let end = self.end_of(*run).min(object + part.len() - index);
        let (count, len) = self.columns.unpadded(object, end);
        (Span { len, ..span }, count)
    }

    /// The runs of objects that follow one another: the index of the first in each, and their bytes, from the beginning
    /// of the first to the end of the last. `None` if the objects do not follow one another.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    pub(crate) fn stretches(&self, part: Part) -> Result<Option<Vec<(usize, Span)>>, Error> {
        let mut stretches = Vec::new();
        let Some(last) = part.len().checked_sub(1) else { return Ok(Some(stretches)) };
        if part.step() != 1 {
            return Ok(None);
        }
        let (first, last) = (part.object(0), part.object(last));
        for run in self.run_of(first)..=self.run_of(last) {
            let (from, to) = (self.runs[run].first.max(first), (self.end_of(run) - 1).min(last));
            let len = self.columns.start(to) + self.columns.size(to) - self.columns.start(from);
            fallible::push(&mut stretches, (from - first, Span { len, ..self.object_in(run, from) }))?;
        }
        Ok(Some(stretches))
    }

    /// The bytes of an object that is likely to be in the same run as the one before.
    #[inline(always)]
    pub(crate) fn object_near(&self, run: &mut usize, object: usize) -> Span {
        let is_in = |run: usize| self.runs.get(run).is_some_and(|at| (at.first..self.end_of(run)).contains(&object));
        if !is_in(*run) {
            *run = if is_in(*run + 1) { *run + 1 } else { self.run_of(object) };
        }
        self.object_in(*run, object)
    }

    /// The bytes of some objects, with the padding between them in one, as far as they lie in one run.
    pub(crate) fn extents(&self, part: Part) -> Box<dyn Iterator<Item = Span> + '_> {
        if !part.is_dense() {
            return Box::new(self.objects(part));
        }
        let reach = part.reach();
        Box::new(self.runs_of(reach.clone()).map(move |run| {
            let Range { start: first, end } = self.objects_of(run, &reach);
            let object = self.object_in(run, first);
            Span { len: self.columns.end(end - 1) - self.columns.start(first), ..object }
        }))
    }

    /// Where some objects lie, those in one span between which no padding lies.
    pub(crate) fn spans(&self, part: Part) -> Spans<'_> {
        Spans { layout: self, part, index: 0, run: 0 }
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// It ends earlier.
    Shorter(usize),
    /// It is elsewhere, in an epoch that lasts as long as the list's.
    Moved(Span),
}

impl ListLayout {
    /// This layout with some objects changed: `changes` are by the number of the object, each of which comes once.
    ///
    /// # Errors
    /// [`Error::Table`]: there is no memory for what is new.
    pub(crate) fn changed(self, changes: &[(usize, Change)]) -> Result<Self, Error> {
        if changes.is_empty() {
            return Ok(self);
        }
        let Self { columns, runs: old, .. } = self;
        let moved = |&(object, change): &(usize, Change)| match change {
            Change::Moved(span) => Some((object, span)),
            Change::Shorter(_) => None,
        };
        let many_moved = changes.iter().filter_map(moved).count();
        let mut runs: Vec<Run> = Vec::new();
        fallible::reserve(&mut runs, old.len() + 2 * many_moved)?;
        let mut moves = changes.iter().filter_map(moved).peekable();
        for (index, run) in old.iter().enumerate() {
            let end = old.get(index + 1).map_or(columns.len(), |next| next.first);
            // What is left of the run, from its next object on.
            let mut first = run.first;
            let rest =
                |first| Run { first, offset: run.offset + columns.start(first) - columns.start(run.first), ..*run };
            while let Some((object, span)) = moves.next_if(|&(object, _)| object < end) {
                if first < object {
                    runs.push(rest(first));
                }
                runs.push(Run { first: object, slot: span.slot, offset: span.offset });
                first = object + 1;
            }
            if first < end {
                runs.push(rest(first));
            }
        }
        let sizes = changes.iter().map(|&(object, change)| match change {
            Change::Shorter(len) => (object, len),
            Change::Moved(span) => (object, span.len),
        });
        let columns = columns.changed(sizes, runs.iter().map(|run| run.first))?;
        // The rest of an object that ends earlier is a gap now.
        Ok(Self::new(columns, runs.into_boxed_slice()).with_written_gaps())
    }
}

pub(crate) struct Spans<'a> {
    layout: &'a ListLayout,
    part: Part,
    index: usize,
    run: usize,
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        self.part.len().checked_sub(self.index).filter(|&left| left > 0)?;
        let (span, count) = self.layout.span_at(self.part, self.index, &mut self.run);
        self.index += count;
        Some(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where each object is and how long, in slots that are only numbers.
    fn spans(layout: &ListLayout) -> Vec<(usize, usize, usize)> {
        let objects = layout.objects(Part::all(layout.columns().len()));
        objects.map(|span| (span.slot.as_ptr().addr(), span.offset, span.len)).collect()
    }

    fn slot(number: usize) -> SlotPtr {
        SlotPtr::new(std::ptr::without_provenance_mut(number << 12)).unwrap()
    }

    proptest! {
        #[test]
        fn what_changes_is_as_it_is_said_and_the_rest_stays(
            sizes in prop::collection::vec((0..40usize, any::<bool>(), 0..4usize, 0..90usize), 1..30),
            uniform in any::<bool>(),
            align in prop::sample::select(vec![1, 16]),
        ) {
            let columns = match uniform {
                true => Columns::uniform(sizes.len(), 7, align, 1 << 20).unwrap(),
                false => {
                    let mut builder = super::super::Builder::new(align, 1 << 20);
                    sizes.iter().for_each(|size| builder.push(size.0).unwrap());
                    builder.finish()
                }
            };
            // A run begins wherever the flag says, in a slot of its own.
            let runs = sizes.iter().enumerate().filter(|(object, size)| *object == 0 || size.1);
            let runs = runs.map(|(first, _)| Run { first, slot: slot(first + 1), offset: 100 * first }).collect();
            let layout = ListLayout::new(columns, runs);
            let mut expected = spans(&layout);
            let mut changes = Vec::new();
            for (object, &(_, _, change, len)) in sizes.iter().enumerate() {
                if change == 1 {
                    let len = len.min(expected[object].2);
                    changes.push((object, Change::Shorter(len)));
                    expected[object].2 = len;
                } else if change == 2 {
                    let span = Span { slot: slot(1000 + object), offset: 3 * object, len };
                    changes.push((object, Change::Moved(span)));
                    expected[object] = (span.slot.as_ptr().addr(), span.offset, len);
                }
            }
            let layout = layout.changed(&changes).unwrap();
            prop_assert_eq!(spans(&layout), expected.clone());
            let columns = layout.columns();
            prop_assert_eq!(columns.nbytes(), expected.iter().map(|span| span.2).sum::<usize>());
            for object in 1..columns.len() {
                prop_assert!(columns.start(object) >= columns.end(object - 1));
                prop_assert!(columns.start(object).is_multiple_of(align));
            }
            prop_assert_eq!(columns.extent(), columns.end(columns.len() - 1));
            let together: usize = layout.spans(Part::all(columns.len())).map(|span| span.len).sum();
            prop_assert_eq!(together, columns.nbytes());
        }

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
