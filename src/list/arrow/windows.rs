//! The windows that views point into.

use std::ops::Range;

use super::{ArrowError, MAX_INLINE_BYTES, Scatter};
use crate::fallible;
use crate::list::{ListLayout, Part, Span};

/// So many windows are never too many.
const FEW_WINDOWS: usize = 16;

/// More windows than this are too many for consumers, which go through all of them again and again.
const MAX_WINDOWS: usize = 1024;

/// Beyond [`FEW_WINDOWS`], smaller windows than this on average cost a consumer more than a copy of the records.
const MEAN_WINDOW: usize = 4096;

/// The windows of some objects, and which of them each object is in.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) windows: Vec<Span>,
    /// By `first`.
    pub(super) sections: Vec<Section>,
}

/// Consecutive objects that are seen through one window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Section {
    /// Number of the first object.
    pub(super) first: usize,
    pub(super) window: usize,
    /// What is to be added to where an object begins in its list for where it begins in the window.
    pub(super) shift: usize,
}

/// Consecutive objects whose window is not yet known: they lie in one slot, at most as long as a window.
struct Fragment {
    first: usize,
    /// Where it begins in the list.
    start: usize,
    span: Span,
}

/// What windows may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of the longest.
    pub(super) reach: usize,
    /// Whether they may show what lies between objects.
    pub(super) shows_gaps: bool,
    pub(super) scatter: Scatter,
}

impl Windows {
    /// Windows that show the objects asked for, but for those that views hold.
    pub(super) fn of(layout: &ListLayout, part: Part, limits: Limits) -> Result<Self, ArrowError> {
        let fragments = Fragments::of(layout, part, limits)?;
        let mut by_place: Vec<usize> = Vec::new();
        let mut sections = Vec::new();
        let mut windows: Vec<Span> = Vec::new();
        fallible::reserve(&mut by_place, fragments.len())?;
        fallible::reserve(&mut sections, fragments.len())?;
        fallible::reserve(&mut windows, fragments.len())?;
        by_place.extend(0..fragments.len());
        by_place.sort_unstable_by_key(|&fragment| (fragments[fragment].span.slot, fragments[fragment].span.offset));
        sections.extend(fragments.iter().map(|fragment| Section { first: fragment.first, window: 0, shift: 0 }));
        for fragment in by_place {
            let Fragment { start, span, .. } = fragments[fragment];
            let window = match windows.last_mut() {
                Some(last) if continues(*last, span, limits.reach) => {
                    last.len = last.len.max(span.offset + span.len - last.offset);
                    *last
                }
                _ => {
                    windows.push(span);
                    span
                }
            };
            sections[fragment].window = windows.len() - 1;
            sections[fragment].shift = (span.offset - window.offset).wrapping_sub(start);
        }
        Ok(Self { windows, sections })
    }
}

/// Whether bytes that do not begin before a window begin within it or at its end, and there is room for them.
fn continues(window: Span, span: Span, reach: usize) -> bool {
    window.slot == span.slot
        && span.offset <= window.offset + window.len
        && span.offset + span.len - window.offset <= reach
}

/// Gathers the fragments of a list that views point into.
struct Fragments<'a> {
    layout: &'a ListLayout,
    limits: Limits,
    fragments: Vec<Fragment>,
    /// Bytes of all fragments.
    nbytes: usize,
}

impl<'a> Fragments<'a> {
    /// The fragments of some objects, by the number of their first.
    fn of(layout: &'a ListLayout, part: Part, limits: Limits) -> Result<Vec<Fragment>, ArrowError> {
        let mut fragments = Self { layout, limits, fragments: Vec::new(), nbytes: 0 };
        let reach = part.reach();
        for run in layout.runs_of(reach.clone()) {
            let objects = layout.objects_of(run, &reach);
            if !limits.shows_gaps || fragments.extent(&objects) > limits.reach {
                fragments.cut(run, objects, part)?;
                continue;
            }
            let columns = layout.columns();
            let is_pointed_to = |&object: &usize| columns.size(object) > MAX_INLINE_BYTES;
            if let Some(first) = objects.clone().find(is_pointed_to) {
                let last = objects.rev().find(is_pointed_to).unwrap_or(first);
                fragments.push(run, first, last)?;
            }
        }
        Ok(fragments.fragments)
    }

    /// Cuts a run where a window would be too long or show what it may not.
    fn cut(&mut self, run: usize, objects: Range<usize>, part: Part) -> Result<(), ArrowError> {
        let columns = self.layout.columns();
        // By the objects that are asked for, for those that are skipped may be as long as they like.
        let step = part.step().unsigned_abs();
        let origin = part.object(0) % step;
        let skipped = (origin + step - objects.start % step) % step;
        let mut asked = objects.skip(skipped).step_by(step).peekable();
        while let Some(first) = asked.next() {
            if columns.size(first) <= MAX_INLINE_BYTES {
                continue;
            }
            if columns.size(first) > self.limits.reach {
                let index = first.abs_diff(part.object(0)) / step;
                return Err(ArrowError::TooLong { index, len: columns.size(first) });
            }
            let (mut before, mut last) = (first, first);
            while let Some(next) = asked.next_if(|&next| {
                self.extent(&(first..next + 1)) <= self.limits.reach
                    && (self.limits.shows_gaps || columns.start(next) == columns.start(before) + columns.size(before))
            }) {
                before = next;
                last = if columns.size(next) > MAX_INLINE_BYTES { next } else { last };
            }
            self.push(run, first, last)?;
        }
        Ok(())
    }

    /// Bytes from the start of the first of some objects to the end of the last.
    fn extent(&self, objects: &Range<usize>) -> usize {
        let (columns, last) = (self.layout.columns(), objects.end - 1);
        columns.start(last) + columns.size(last) - columns.start(objects.start)
    }

    fn push(&mut self, mut run: usize, first: usize, last: usize) -> Result<(), ArrowError> {
        let span = Span { len: self.extent(&(first..last + 1)), ..self.layout.object_near(&mut run, first) };
        self.nbytes += span.len;
        let most = MAX_WINDOWS.min(FEW_WINDOWS + self.nbytes / MEAN_WINDOW);
        if self.limits.scatter == Scatter::Refused && self.fragments.len() >= most {
            return Err(ArrowError::Scattered);
        }
        let start = self.layout.columns().start(first);
        Ok(fallible::push(&mut self.fragments, Fragment { first, start, span })?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_OFFSET;
    use super::*;
    use crate::list::{Columns, Run};
    use crate::slot::SlotPtr;
    use proptest::prelude::*;

    fn slot(number: usize) -> SlotPtr {
        SlotPtr::new(std::ptr::without_provenance_mut(number << 12)).unwrap()
    }

    proptest! {
        #[test]
        fn windows_reach_no_further_than_they_may(
            sizes in prop::collection::vec((0..90usize, any::<bool>(), 0..3usize), 1..40),
            start in any::<prop::sample::Index>(), step in prop_oneof![1..4isize, -3..0isize], shows_gaps: bool,
        ) {
            const REACH: usize = 100;
            let mut builder = crate::list::Builder::new(16, 1 << 20);
            sizes.iter().for_each(|size| builder.push(size.0).unwrap());
            let columns = builder.finish();
            // A run begins wherever the flag says, in one of a few slots.
            let runs = sizes.iter().enumerate().filter(|(object, size)| *object == 0 || size.1);
            let runs = runs.map(|(first, size)| Run { first, slot: slot(size.2 + 1), offset: 200 * first }).collect();
            let layout = ListLayout::new(columns, runs);
            let start = start.index(sizes.len());
            let many = if step > 0 { (sizes.len() - 1 - start) / step as usize } else { start / step.unsigned_abs() } + 1;
            let part = Part::all(sizes.len()).part(start, step, many);
            let shows_gaps = shows_gaps && part.is_dense();
            let limits = Limits { reach: REACH, shows_gaps, scatter: Scatter::Allowed };
            let Windows { windows, sections } = Windows::of(&layout, part, limits).unwrap();
            let asked: Vec<Span> = layout.objects(part).collect();
            for window in &windows {
                let ends = [window.offset, window.offset + window.len - 1];
                let shown = if shows_gaps { ends[0]..=ends[0] } else { ends[0]..=ends[1] };
                for byte in shown.chain([ends[1]]) {
                    let holds = |span: &Span| span.slot == window.slot && (span.offset..span.offset + span.len).contains(&byte);
                    prop_assert!(asked.iter().any(holds), "byte {} of {:?} is nobody's", byte, window);
                }
            }
            prop_assert!(windows.iter().all(|window| window.len <= REACH));
            prop_assert!(sections.is_sorted_by_key(|section| section.first));
            for index in 0..part.len() {
                let object = part.object(index);
                if layout.columns().size(object) <= MAX_INLINE_BYTES {
                    continue;
                }
                let section = sections.iter().rfind(|section| section.first <= object).unwrap();
                let window = windows[section.window];
                let offset = layout.columns().start(object).wrapping_add(section.shift);
                let really = layout.object(object);
                prop_assert_eq!((window.slot, window.offset + offset), (really.slot, really.offset));
                prop_assert!(offset + really.len <= window.len);
            }
        }
    }

    #[test]
    fn what_is_longer_than_a_window_is_named() {
        let columns = Columns::uniform(5, 200, 16, 1 << 20).unwrap();
        let layout = ListLayout::new(columns, Box::new([Run { first: 0, slot: slot(1), offset: 0 }]));
        let limits = |reach| Limits { reach, shows_gaps: true, scatter: Scatter::Refused };
        let found = Windows::of(&layout, Part::all(5).part(3, -2, 2), limits(100));
        assert_eq!(found.err(), Some(ArrowError::TooLong { index: 1, len: 200 }));
        assert!(Windows::of(&layout, Part::all(5), limits(208)).unwrap().windows.len() == 5);
    }

    #[test]
    fn records_in_more_places_than_windows_may_be_are_scattered() {
        let layout = |size| {
            let columns = Columns::uniform(2 * MAX_WINDOWS + 2, size, 16, 1 << 20).unwrap();
            ListLayout::new(columns, Box::new([Run { first: 0, slot: slot(1), offset: 0 }]))
        };
        let windows = |size, many, scatter| {
            let part = Part::all(2 * MAX_WINDOWS + 2).part(0, 2, many);
            Windows::of(&layout(size), part, Limits { reach: MAX_OFFSET, shows_gaps: false, scatter })
                .map(|one| one.windows.len())
        };
        assert_eq!(windows(100, FEW_WINDOWS, Scatter::Refused), Ok(FEW_WINDOWS));
        assert_eq!(windows(100, 2 * FEW_WINDOWS, Scatter::Refused), Err(ArrowError::Scattered));
        assert_eq!(windows(100, 2 * FEW_WINDOWS, Scatter::Allowed), Ok(2 * FEW_WINDOWS));
        assert_eq!(windows(2 * MEAN_WINDOW, MAX_WINDOWS, Scatter::Refused), Ok(MAX_WINDOWS));
        assert_eq!(windows(2 * MEAN_WINDOW, MAX_WINDOWS + 1, Scatter::Refused), Err(ArrowError::Scattered));
        assert_eq!(windows(MAX_INLINE_BYTES, MAX_WINDOWS + 1, Scatter::Refused), Ok(0));
    }
}
