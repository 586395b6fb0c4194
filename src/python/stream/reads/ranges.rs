//! Many ranges of one file, read into one list.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::file::RangesFile;
use super::reading::{PinnedCaller, Reading};
use crate::io::driver::{self, RangesRead};
use crate::io::ranges::Unread;
use crate::io::transfer::Keeper;
use crate::layout::DEFAULT_ALIGN;
use crate::python::ffi::progress::Progress;
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
) -> PyResult<Bound<'py, PyAny>> {
    let py = group.py();
    group.get().check_open(py)?;
    let offsets = sizes::offsets(offsets)?;
    let builder = sizes::builder(group, sizes, DEFAULT_ALIGN)?;
    if offsets.len() != builder.len() {
        let (offsets, sizes) = (offsets.len(), builder.len());
        return Err(PyValueError::new_err(format!("{offsets} offsets and {sizes} sizes: pass as many of each")));
    }
    let source = RangesFile::of(file)?;
    let reading = Reading::new(group, builder)?;
    let progress = Progress::new(py, progress, offsets.len())?;
    let pinned = Pinned::new(py, group.get(), reading.claim(), &reading.layout)?;
    let caller = PinnedCaller { progress: &progress, pinned: &pinned };
    // SAFETY: the slots of the list are pinned, and this layer makes no Rust reference into group memory.
    let read = unsafe { driver::read_ranges(&caller, source.fd, &offsets, pinned.slots(), &reading.layout) }?;
    progress.tell(offsets.len())?;
    let RangesRead { unread, changes, abandoned } = read;
    // The list is there, or what failed has the end of the group for its reason.
    group.get().check(py, reading.claim())?;
    if let Some(error) = source.unreadable(&unread, &reading.layout) {
        return Err(error);
    }
    let size = |unread: &Unread| reading.layout.columns().size(unread.object);
    reading
        .note(&unread, |unread| Ok((unread.object, source.unread(unread, offsets[unread.object], size(unread))?)))?;
    reading.finish(&changes, Vec::new(), Vec::new(), abandoned)
}
