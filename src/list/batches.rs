//! Lists that grow by batches, each with memory of its own.

use super::Builder;
use super::layout::{ListLayout, Run, Span};
use crate::error::Error;
use crate::fallible;
use crate::layout::{DEFAULT_ALIGN, MAX_SLOT_BYTES};

/// Objects at multiples of [`DEFAULT_ALIGN`]. They leave from the front, as lists of any length.
pub(crate) struct Batches {
    columns: Builder,
    runs: Vec<Run>,
    /// How many have left.
    gone: usize,
}

impl Batches {
    pub(crate) fn new() -> Self {
        Self { columns: Builder::new(DEFAULT_ALIGN, MAX_SLOT_BYTES), runs: Vec::new(), gone: 0 }
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.len() - self.gone
    }

    /// Adds all objects of a layout, which have the same alignment and memory that was taken for them.
    ///
    /// # Errors
    /// As [`fallible::reserve`]; nothing is added.
    pub(crate) fn push(&mut self, batch: &ListLayout) -> Result<(), Error> {
        let (before, columns) = (self.columns.len(), batch.columns());
        fallible::reserve(&mut self.runs, batch.runs().len())?;
        self.columns.extend((0..columns.len()).map(|object| columns.size(object)))?;
        self.runs.extend(batch.runs().iter().map(|run| Run { first: before + run.first, ..*run }));
        Ok(())
    }

    /// Where the object at an index is, which must be less than the length.
    pub(crate) fn object(&self, at: usize) -> Span {
        let object = self.gone + at;
        let run = self.runs.partition_point(|run| run.first <= object).saturating_sub(1);
        self.span(&self.runs[run], object)
    }

    fn span(&self, run: &Run, object: usize) -> Span {
        let offset = run.offset + self.columns.start(object) - self.columns.start(run.first);
        Span { slot: run.slot, offset, len: self.columns.sizes()[object] }
    }

    /// The next objects, of which there must be so many.
    ///
    /// # Errors
    /// As [`fallible::reserve`]; they stay.
    pub(crate) fn take(&mut self, many: usize) -> Result<ListLayout, Error> {
        if self.gone == 0 && many == self.len() {
            let Self { columns, runs, .. } = std::mem::replace(self, Self::new());
            return Ok(ListLayout::new(columns.finish(), runs.into_boxed_slice()));
        }
        let layout = self.copied(many)?;
        self.gone += many;
        if self.len() == 0 {
            *self = Self::new();
        }
        Ok(layout)
    }

    /// The layout of the next objects.
    fn copied(&self, many: usize) -> Result<ListLayout, Error> {
        let (first, end) = (self.gone, self.gone + many);
        let mut columns = Builder::new(DEFAULT_ALIGN, MAX_SLOT_BYTES);
        columns.extend(self.columns.sizes()[first..end].iter().copied())?;
        let begin = self.runs.partition_point(|run| run.first <= first).saturating_sub(1);
        let among = self.runs[begin..].iter().take_while(|run| run.first < end);
        let runs = fallible::collect(among.map(|run| {
            let from = run.first.max(first);
            Run { first: from - first, offset: self.span(run, from).offset, ..*run }
        }))?;
        Ok(ListLayout::new(columns.finish(), if many == 0 { Box::default() } else { runs.into_boxed_slice() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;
    use crate::slot::SlotPtr;
    use proptest::prelude::*;

    fn spans(layout: &ListLayout) -> Vec<Span> {
        layout.objects(Part::all(layout.columns().len())).collect()
    }

    proptest! {
        #[test]
        fn objects_leave_as_they_came_in_lists_of_any_length(
            batches in prop::collection::vec(prop::collection::vec((0..40usize, any::<bool>()), 1..20), 0..8),
            takes in prop::collection::vec((0..60usize, any::<bool>()), 0..12),
        ) {
            let mut growing = Batches::new();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let mut takes = takes.into_iter();
            for (number, batch) in batches.iter().enumerate() {
                let mut columns = Builder::new(DEFAULT_ALIGN, MAX_SLOT_BYTES);
                columns.extend(batch.iter().map(|object| object.0)).unwrap();
                let runs = batch.iter().enumerate().filter(|(object, (_, begins))| *object == 0 || *begins);
                let runs = runs.map(|(first, _)| {
                    let slot = SlotPtr::new(std::ptr::without_provenance_mut((1 + number) << 12)).unwrap();
                    Run { first, slot, offset: 1024 * first }
                });
                let layout = ListLayout::new(columns.finish(), runs.collect());
                expected.extend(spans(&layout));
                growing.push(&layout).unwrap();
                if let Some((many, true)) = takes.next() {
                    found.extend(spans(&growing.take(many.min(growing.len())).unwrap()));
                }
                prop_assert_eq!(found.len() + growing.len(), expected.len());
            }
            let objects = (0..growing.len()).map(|at| growing.object(at));
            prop_assert_eq!(objects.collect::<Vec<_>>(), &expected[found.len()..]);
            for (many, _) in takes {
                found.extend(spans(&growing.take(many.min(growing.len())).unwrap()));
            }
            found.extend(spans(&growing.take(growing.len()).unwrap()));
            prop_assert_eq!(found, expected);
            prop_assert_eq!(growing.len(), 0);
        }
    }
}
