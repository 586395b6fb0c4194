//! Many files, read into one list.

use pyo3::exceptions::{PyMemoryError, PyOSError};
use pyo3::prelude::*;

use super::paths::{encoded, names};
use super::reading::{Progress, Reading};
use super::result::ReadResult;
use crate::error::Error;
use crate::fallible::{self, CStrings};
use crate::io::files::{self, Announced, Files, Longer, Unreadable};
use crate::io::transfer::Keeper;
use crate::layout::DEFAULT_ALIGN;
use crate::list::{Builder, Change};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::stream::pinned::Pinned;
use crate::python::stream::source::os_error;
use crate::slot::{LiveSlots, Mirror};

/// See `MemGroup.read_files`.
pub(crate) fn read_files<'py>(
    group: &Bound<'py, MemGroup>,
    paths: &Bound<'py, PyAny>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<ReadResult> {
    let py = group.py();
    group.get().check_open(py)?;
    let names = names(paths)?;
    let mut paths = CStrings::default();
    for (index, name) in names.iter().enumerate() {
        paths.push(encoded(&name, || format!("paths[{index}]"))?.as_bytes())?;
    }
    let progress = Progress::new(progress, paths.len())?;
    let Announced { sizes, unreadable, open, .. } = announced(group, &paths, &progress)?;
    let mut builder = Builder::new(DEFAULT_ALIGN, group.get().largest(py));
    builder.extend(sizes.into_iter()).map_err(|unfit| unfit.error)?;
    let reading = Reading::new(group, builder)?;
    let pinned = Pinned::new(py, group.get(), reading.claim(), &reading.layout)?;
    let is_secret = group.get().is_secret(py);
    let mut files = Files::new(&paths, pinned.slots(), &reading.layout, unreadable, open, is_secret)?;
    let mut longer = Longest::default();
    loop {
        // SAFETY: the slots are pinned, and this layer makes no Rust reference into group memory.
        match py.detach(|| unsafe { files.run() })? {
            files::Stop::Done => break,
            files::Stop::Pause => {
                progress.check_signals(py, files.done())?;
                pinned.renew();
            }
            files::Stop::Longer(more) => longer.add(&reading, pinned.slots(), &more)?,
        }
    }
    progress.tell(files.done())?;
    let files::Outcome { unreadable, shorter } = files.into_outcome();
    group.get().check(py, reading.claim())?;
    reading.note(&unreadable, |&(file, why)| Ok((file, unreadable_error(why, &names.get_item(file)?))))?;
    let size = |file| reading.layout.columns().size(file);
    let abandoned = longer.abandoned + shorter.iter().map(|&(file, len)| size(file) - len).sum::<usize>();
    let is_readable = |file: &usize| unreadable.binary_search_by_key(file, |&(file, _)| file).is_err();
    let mut changed = longer.changed;
    fallible::extend(&mut changed, shorter.iter().map(|&(file, _)| file).filter(is_readable))?;
    changed.sort_unstable();
    let mut changes = longer.moved;
    fallible::extend(&mut changes, shorter.iter().map(|&(file, len)| (file, Change::Shorter(len))))?;
    changes.sort_unstable_by_key(|&(file, _)| file);
    reading.finish(&changes, changed, longer.unannounced, abandoned)
}

/// The files that are longer than they had announced.
#[derive(Default)]
struct Longest {
    /// Where they went.
    moved: Vec<(usize, Change)>,
    changed: Vec<usize>,
    unannounced: Vec<usize>,
    abandoned: usize,
}

impl Longest {
    /// Puts a file where there is room for it. Where there is none, it keeps what it has, and the error says so.
    fn add(&mut self, reading: &Reading<'_>, slots: LiveSlots<'_>, longer: &Longer) -> PyResult<()> {
        let (py, group) = (reading.group.py(), reading.group.get());
        let object = reading.layout.object(longer.object);
        let piece = match group.alloc_raw(py, object.len + longer.rest.len(), DEFAULT_ALIGN) {
            Ok(piece) => piece,
            Err(error) if error.is_instance_of::<PyMemoryError>(py) => {
                return reading.errors.set_item(longer.object, error.into_value(py));
            }
            Err(error) => return Err(error),
        };
        let rest = Bytes::new(longer.rest.as_ptr().cast_mut(), longer.rest.len());
        let span = group.access(py, piece.into(), Some(reading.claim()), piece.len, move |to| {
            // SAFETY: the object is one of the list, the slots of which are pinned.
            let from =
                Bytes::new(unsafe { crate::io::transfer::address(slots, object, Mirror::ReadWrite) }, object.len);
            // SAFETY: access has just checked that the list is there, and the piece, which is longer.
            unsafe { to.bytes().copy_from(from) };
            // SAFETY: the same, by as many bytes as rest has.
            unsafe { to.bytes().tail(object.len).copy_from(rest) };
            to.span()
        })?;
        fallible::push(&mut self.moved, (longer.object, Change::Moved(span)))?;
        self.abandoned += object.len;
        let numbers = if longer.is_unannounced { &mut self.unannounced } else { &mut self.changed };
        Ok(fallible::push(numbers, longer.object)?)
    }
}

/// What the files announce. None is done meanwhile, but who wants to stop can.
fn announced(group: &Bound<'_, MemGroup>, paths: &CStrings, progress: &Progress<'_, '_>) -> PyResult<Announced> {
    let py = group.py();
    let largest = group.get().largest(py);
    let mut announced = Announced::default();
    while announced.sizes.len() < paths.len() {
        py.detach(|| announced.ask(paths, largest))?;
        match announced.sizes.len() < paths.len() {
            true => progress.check_signals(py, 0)?,
            false => py.check_signals()?,
        }
    }
    Ok(announced)
}

fn unreadable_error(why: Unreadable, name: &Bound<'_, PyAny>) -> PyErr {
    let error = |code: i32, words: String| PyOSError::new_err((code, words, name.clone().unbind()));
    match why {
        Unreadable::Refused(code) => os_error(code, Some(name)),
        Unreadable::NotRegular => error(libc::EINVAL, "Not a regular file".into()),
        Unreadable::Unlocked { locked, limit } => Error::Unlocked { wanted: files::SPILL_BYTES, locked, limit }.into(),
        Unreadable::GoesOn { announced: true } => {
            error(libc::EFBIG, "Grew while it was read by more than 64 MiB".into())
        }
        Unreadable::GoesOn { announced: false } => {
            error(libc::EFBIG, "Announces no size and goes on beyond 64 MiB".into())
        }
        Unreadable::TooLarge(size) => {
            let name = name.repr().map_or_else(|_| "a file".into(), |name| name.to_string());
            PyMemoryError::new_err(format!(
                "{name} has {size} bytes, more than a slot of this group: make the group with a larger base"
            ))
        }
    }
}
