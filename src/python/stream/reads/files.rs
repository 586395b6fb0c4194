//! Many files, read into one list.

use pyo3::exceptions::{PyMemoryError, PyOSError};
use pyo3::prelude::*;

use super::paths::{encoded, names};
use super::reading::{PinnedCaller, Reading};
use crate::error::Error;
use crate::fallible::CStrings;
use crate::io::driver::{self, FilesRead};
use crate::io::files::{Longer, SPILL_BYTES, Unreadable};
use crate::io::transfer::{Keeper, address};
use crate::layout::DEFAULT_ALIGN;
use crate::list::{Builder, Span};
use crate::python::ffi::progress::Progress;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::LiveBlock;
use crate::python::stream::pinned::Pinned;
use crate::python::stream::source::os_error;
use crate::slot::Mirror;

/// See `MemGroup.read_files`.
pub(crate) fn read_files<'py>(
    group: &Bound<'py, MemGroup>,
    paths: &Bound<'py, PyAny>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = group.py();
    group.get().check_open(py)?;
    let names = names(paths)?;
    let mut paths = CStrings::default();
    for (index, name) in names.iter().enumerate() {
        paths.push(encoded(&name, || format!("paths[{index}]"))?.as_bytes())?;
    }
    let progress = Progress::new(py, progress, paths.len())?;
    let mut announced = driver::announced(&progress, &paths, group.get().largest(py))?;
    py.check_signals()?;
    let mut builder = Builder::new(DEFAULT_ALIGN, group.get().largest(py));
    builder.extend(std::mem::take(&mut announced.sizes).into_iter()).map_err(|unfit| unfit.error)?;
    let reading = Reading::new(group, builder)?;
    let pinned = Pinned::new(py, group.get(), reading.claim(), &reading.layout)?;
    let caller = PinnedCaller { progress: &progress, pinned: &pinned };
    let relocate = |longer: &Longer| relocated(&reading, &pinned, longer);
    let (slots, is_secret) = (pinned.slots(), group.get().is_secret(py));
    // SAFETY: the slots of the list are pinned, and this layer makes no Rust reference into group memory.
    let read = unsafe { driver::read_files(&caller, relocate, &paths, announced, slots, &reading.layout, is_secret) }?;
    progress.tell(paths.len())?;
    let FilesRead { unreadable, changes, changed, unannounced, abandoned } = read;
    group.get().check(py, reading.claim())?;
    reading.note(&unreadable, |&(file, why)| Ok((file, unreadable_error(why, &names.get_item(file)?))))?;
    reading.finish(&changes, changed, unannounced, abandoned)
}

/// Puts a file that is longer than its object where there is room for it. Where there is none, the error says so.
fn relocated(reading: &Reading<'_>, pinned: &Pinned<'_>, longer: &Longer) -> PyResult<Option<Span>> {
    let (py, group, slots) = (reading.group.py(), reading.group.get(), pinned.slots());
    let object = reading.layout.object(longer.object);
    let block = match group.alloc_raw(py, object.len + longer.rest.len(), DEFAULT_ALIGN) {
        Ok(block) => block,
        Err(error) if error.is_instance_of::<PyMemoryError>(py) => {
            return reading.errors.set_item(longer.object, error.into_value(py)).map(|()| None);
        }
        Err(error) => return Err(error),
    };
    let rest = Bytes::new(longer.rest.as_ptr().cast_mut(), longer.rest.len());
    let copy = move |to: LiveBlock<'_>| {
        // SAFETY: the object is one of the list, the slots of which are pinned.
        let from = Bytes::new(unsafe { address(slots, object, Mirror::ReadWrite) }, object.len);
        // SAFETY: access has just checked that the list is there, and the new block, which is longer.
        unsafe { to.bytes().copy_from(from) };
        // SAFETY: the new block has as many bytes behind the object's as rest has.
        unsafe { to.bytes().tail(object.len).copy_from(rest) };
        to.span()
    };
    group.access(py, block.into(), Some(reading.claim()), block.len, copy).map(Some)
}

fn unreadable_error(why: Unreadable, name: &Bound<'_, PyAny>) -> PyErr {
    let error = |code: i32, words: String| PyOSError::new_err((code, words, name.clone().unbind()));
    match why {
        Unreadable::Refused(code) => os_error(code, Some(name)),
        Unreadable::NotRegular => error(libc::EINVAL, "Not a regular file".into()),
        Unreadable::Unlocked { locked, limit } => Error::Unlocked { wanted: SPILL_BYTES, locked, limit }.into(),
        Unreadable::GoesOn { announced: true } => {
            error(libc::EFBIG, "Grew by more than 64 MiB while it was read".into())
        }
        Unreadable::GoesOn { announced: false } => {
            error(libc::EFBIG, "Has no size, and more than 64 MiB of content".into())
        }
        Unreadable::TooLarge(size) => {
            let name = name.repr().map_or_else(|_| "a file".into(), |name| name.to_string());
            PyMemoryError::new_err(format!(
                "{name} has {size} bytes, more than a slot of this group: make the group with a larger base"
            ))
        }
    }
}
