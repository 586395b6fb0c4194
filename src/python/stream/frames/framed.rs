//! A list as the stream of its messages: each block with its length before it, or a delimiter behind it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::fallible;
use crate::io::framing::Format;
use crate::io::transfer::address;
use crate::layout::MAX_SLOT_BYTES;
use crate::list::layout_builder::LayoutBuilder;
use crate::list::{Builder, ListLayout, Part};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::raw::Claim;
use crate::python::group::state::Runs;
use crate::python::list::object::MemList;
use crate::slot::Mirror;

impl MemList {
    /// The blocks with what a format puts round each. That alone is written to the group.
    pub(crate) fn as_stream<'py>(&self, py: Python<'py>, format: &Format) -> PyResult<Bound<'py, MemList>> {
        self.check(py)?;
        self.check_no_delimiter(py, format.delimiter())?;
        let (mut around, mut sizes) = (Vec::new(), Builder::new(1, MAX_SLOT_BYTES));
        sizes.reserve(self.len())?;
        for index in 0..self.len() {
            let (size, before) = (self.columns().size(self.part().object(index)), around.len());
            // No length is longer than a varint may be.
            fallible::reserve(&mut around, 16 + format.delimiter().len())?;
            format
                .put_length(size, &mut around)
                .map_err(|unframed| PyValueError::new_err(format!("block {index}: {unframed}")))?;
            around.extend(format.delimiter());
            sizes.push(around.len() - before).map_err(|unfit| unfit.error)?;
        }
        let columns = sizes.finish();
        let group = self.group().bind(py);
        let Runs { runs, epoch } = group.get().alloc_many_raw(py, &columns)?;
        let added = ListLayout::new(columns, runs);
        let mut layout = LayoutBuilder::new(2 * self.len())?;
        let is_behind = !format.delimiter().is_empty();
        for (block, added) in self.layout().objects(self.part()).zip(added.objects(Part::all(self.len()))) {
            let pair = if is_behind { [block, added] } else { [added, block] };
            pair.into_iter().try_for_each(|span| layout.push(span))?;
        }
        let many = around.len();
        group.get().access_slots(py, self.claim(), Some(Claim::of_epoch(epoch)), many, |slots| {
            let mut rest = &around[..];
            for span in added.objects(Part::all(added.columns().len())) {
                let (now, later) = rest.split_at(span.len);
                rest = later;
                // SAFETY: the span is of what was just allocated, and found in those slots.
                let to = Bytes::new(unsafe { address(slots, span, Mirror::ReadWrite) }, span.len);
                // SAFETY: the span is as long, mapped, writable, and nobody else's.
                unsafe { to.copy_from(Bytes::new(now.as_ptr().cast_mut(), now.len())) };
            }
        })?;
        MemList::of_parts(group, layout.finish(1)?, epoch, self.mirror(), self.share_lease())
    }

    /// Raises where a block has the delimiter in it: it would be two messages.
    fn check_no_delimiter(&self, py: Python<'_>, delimiter: &[u8]) -> PyResult<()> {
        if delimiter.is_empty() {
            return Ok(());
        }
        let (layout, part, mirror) = (self.layout(), self.part(), self.mirror());
        let delimiter = Bytes::new(delimiter.as_ptr().cast_mut(), delimiter.len());
        let group = self.group().get();
        let found = group.access_slots(py, self.claim(), None, self.columns().nbytes(), move |slots| {
            let delimiter = { delimiter };
            layout.objects(part).position(|span| {
                // SAFETY: the span is of the list, which was just found in those slots.
                let block = Bytes::new(unsafe { address(slots, span, mirror) }, span.len);
                // SAFETY: the block is mapped while the group is looked at; the delimiter is the caller's.
                unsafe { block.find(delimiter) }.is_some()
            })
        })?;
        found.map_or(Ok(()), |index| {
            Err(PyValueError::new_err(format!(
                "block {index} has the delimiter in it: choose another, or send lengths instead"
            )))
        })
    }
}
