//! Lists over bytes that lie wherever they lie.

use super::columns::PartsBuilder;
use super::layout::{ListLayout, Run, Span};
use crate::error::Error;
use crate::fallible;

/// Places objects in whatever order. Those that follow one another in memory share a run; each that does not begins another.
pub(crate) struct LayoutBuilder {
    parts: PartsBuilder,
    runs: Vec<Run>,
    /// Where the last run begins in the columns, and where in its slot its last object ends.
    begin: usize,
    end: usize,
}

impl LayoutBuilder {
    /// With room for so many objects.
    ///
    /// # Errors
    /// [`Error::Table`], as of the other functions: there is no memory for the columns.
    pub(crate) fn new(objects: usize) -> Result<Self, Error> {
        Ok(Self { parts: PartsBuilder::new(objects)?, runs: Vec::new(), begin: 0, end: 0 })
    }

    /// Adds an object.
    pub(crate) fn push(&mut self, span: Span) -> Result<(), Error> {
        match self.runs.last() {
            Some(run) if run.slot == span.slot && span.offset >= self.end => {
                self.parts.push(self.begin + (span.offset - run.offset), span.len)?;
            }
            _ => {
                self.begin = self.parts.end();
                let run = Run { first: self.parts.len(), slot: span.slot, offset: span.offset };
                fallible::push(&mut self.runs, run)?;
                self.parts.push(self.begin, span.len)?;
            }
        }
        self.end = span.offset + span.len.max(1);
        Ok(())
    }

    /// The list, in which every address is a multiple of `align`. Others own what lies between the objects.
    pub(crate) fn finish(self, align: usize) -> Result<ListLayout, Error> {
        let columns = self.parts.finish(align)?;
        Ok(ListLayout::new(columns, self.runs.into_boxed_slice()).with_foreign_gaps())
    }
}
