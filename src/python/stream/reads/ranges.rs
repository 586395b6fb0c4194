//! Many ranges of one file, read into one list.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::file::Source;
use super::reading::{Progress, Reading};
use super::result::ReadResult;
use crate::fallible;
use crate::io::Stop;
use crate::io::ranges::{Ranges, Unread};
use crate::io::transfer::Keeper;
use crate::layout::DEFAULT_ALIGN;
use crate::list::Change;
use crate::python::group::object::MemGroup;
use crate::python::list::sizes;
use crate::python::stream::pinned::Pinned;

/// See `MemGroup.read_ranges`.
pub(crate) fn read_ranges<'py>(
    group: &Bound<'py, MemGroup>,
    file: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    sizes: &Bound<'py, PyAny>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<ReadResult> {
    let py = group.py();
    group.get().check_open(py)?;
    let offsets = sizes::offsets(offsets)?;
    let builder = sizes::builder(group, sizes, DEFAULT_ALIGN)?;
    if offsets.len() != builder.len() {
        let (offsets, sizes) = (offsets.len(), builder.len());
        return Err(PyValueError::new_err(format!("{offsets} offsets and {sizes} sizes: pass as many of each")));
    }
    let source = Source::of(file)?;
    let reading = Reading::new(group, builder)?;
    let progress = Progress::new(progress, offsets.len())?;
    let pinned = Pinned::new(py, group.get(), reading.claim(), &reading.layout)?;
    let mut ranges = py.detach(|| Ranges::new(source.fd, pinned.slots(), &reading.layout, &offsets))?;
    // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
    while py.detach(|| unsafe { ranges.run() })? != Stop::Done {
        progress.check_signals(py, ranges.done())?;
        pinned.renew();
    }
    progress.tell(ranges.done())?;
    let unread = ranges.into_unread()?;
    // The list is there, or what failed has the end of the group for its reason.
    group.get().check(py, reading.claim())?;
    if let Some(error) = source.unreadable(&unread, &reading.layout) {
        return Err(error);
    }
    let size = |unread: &Unread| reading.layout.columns().size(unread.object);
    let abandoned = unread.iter().map(|unread| size(unread) - unread.read).sum();
    reading
        .note(&unread, |unread| Ok((unread.object, source.unread(unread, offsets[unread.object], size(unread))?)))?;
    let changes = fallible::collect(unread.iter().map(|unread| (unread.object, Change::Shorter(unread.read))))?;
    reading.finish(&changes, Vec::new(), Vec::new(), abandoned)
}
