//! The drivers of many files or ranges that are read into one list: each runs to its end, and calls back for what only
//! its caller can do.

use std::os::fd::RawFd;

use super::files::{Announced, Files, FilesStop, Longer, Unreadable};
use super::ranges::{Ranges, Unread};
use super::transfer::Stop;
use crate::error::Error;
use crate::fallible::{self, CStrings};
use crate::list::{Change, ListLayout, Span};
use crate::slot::LiveSlots;

/// What a caller does while many files or ranges are read.
pub(crate) trait Caller {
    type Error: From<Error>;

    /// Runs work that may wait for the kernel; a caller that holds up others lets them go on meanwhile.
    fn blocking<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// Says, between two stretches of work, whether to go on. So many files or ranges are done.
    fn pause(&self, _done: usize) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// What came of many files. Everything is in the order of the files.
#[derive(Default)]
pub(crate) struct FilesRead {
    pub(crate) unreadable: Vec<(usize, Unreadable)>,
    /// What became of the objects that are not as they were placed.
    pub(crate) changes: Vec<(usize, Change)>,
    /// The files that were longer or shorter than they had announced.
    pub(crate) changed: Vec<usize>,
    /// The files that announced nothing and had content.
    pub(crate) unannounced: Vec<usize>,
    /// Bytes that were allocated and given up.
    pub(crate) abandoned: usize,
}

impl FilesRead {
    fn moved(&mut self, layout: &ListLayout, longer: &Longer, span: Span) -> Result<(), Error> {
        fallible::push(&mut self.changes, (longer.object, Change::Moved(span)))?;
        self.abandoned += layout.columns().size(longer.object);
        let numbers = if longer.is_unannounced { &mut self.unannounced } else { &mut self.changed };
        fallible::push(numbers, longer.object)
    }

    /// Takes in what was found by the end.
    fn finish(&mut self, layout: &ListLayout, files: Files<'_>) -> Result<(), Error> {
        let (unreadable, shorter) = files.into_unreadable_and_shorter();
        let is_readable = |file: &usize| unreadable.binary_search_by_key(file, |&(file, _)| file).is_err();
        fallible::extend(&mut self.changed, shorter.iter().map(|&(file, _)| file).filter(is_readable))?;
        fallible::extend(&mut self.changes, shorter.iter().map(|&(file, len)| (file, Change::Shorter(len))))?;
        self.abandoned += shorter.iter().map(|&(file, len)| layout.columns().size(file) - len).sum::<usize>();
        self.changed.sort_unstable();
        self.changes.sort_unstable_by_key(|&(file, _)| file);
        self.unreadable = unreadable;
        Ok(())
    }
}

/// Asks many files how long they are. No object can have more than `largest` bytes.
///
/// # Errors
/// As [`fallible::reserve`], and what stops the caller.
pub(crate) fn announced<C: Caller>(caller: &C, paths: &CStrings, largest: usize) -> Result<Announced, C::Error> {
    let mut announced = Announced::default();
    loop {
        caller.blocking(|| announced.ask(paths, largest))?;
        if announced.sizes.len() == paths.len() {
            return Ok(announced);
        }
        caller.pause(0)?;
    }
}

/// Reads many files, each into an object of the size that it announced. What files of a secret group have beyond that is
/// kept as secret as the group is. `relocate` copies a file that is longer than its object to where there is room for it;
/// where there is none, the file keeps what it has.
///
/// # Errors
/// As [`fallible::reserve`], and what stops the caller.
///
/// # Safety
/// The list must lie in the slots, and nothing be borrowed there.
pub(crate) unsafe fn read_files<C: Caller>(
    caller: &C,
    mut relocate: impl FnMut(&Longer) -> Result<Option<Span>, C::Error>,
    paths: &CStrings,
    announced: Announced,
    slots: LiveSlots<'_>,
    layout: &ListLayout,
    is_secret: bool,
) -> Result<FilesRead, C::Error> {
    let mut files = Files::new(paths, announced, slots, layout, is_secret)?;
    let mut read = FilesRead::default();
    loop {
        // SAFETY: the list lies in the slots, and nothing is borrowed there, by contract.
        match caller.blocking(|| unsafe { files.run() })? {
            FilesStop::Done => break,
            FilesStop::Pause => caller.pause(files.done())?,
            FilesStop::Longer(longer) => {
                if let Some(span) = relocate(&longer)? {
                    read.moved(layout, &longer, span)?;
                }
            }
        }
    }
    read.finish(layout, files)?;
    Ok(read)
}

/// What came of many ranges.
pub(crate) struct RangesRead {
    /// By number.
    pub(crate) unread: Vec<Unread>,
    /// What became of the objects that are not as they were placed.
    pub(crate) changes: Vec<(usize, Change)>,
    /// Bytes that were allocated and given up.
    pub(crate) abandoned: usize,
}

/// Reads many ranges of a file: object i of the list gets what lies at `offsets[i]`. There must be an offset for each
/// object, less than 2^63.
///
/// # Errors
/// As [`fallible::reserve`], and what stops the caller.
///
/// # Safety
/// The list must lie in the slots, and nothing be borrowed there.
pub(crate) unsafe fn read_ranges<C: Caller>(
    caller: &C,
    file: RawFd,
    offsets: &[u64],
    slots: LiveSlots<'_>,
    layout: &ListLayout,
) -> Result<RangesRead, C::Error> {
    let mut ranges = caller.blocking(|| Ranges::new(file, slots, layout, offsets))?;
    // SAFETY: the list lies in the slots, and nothing is borrowed there, by contract.
    while caller.blocking(|| unsafe { ranges.run() })? != Stop::Done {
        caller.pause(ranges.done())?;
    }
    let unread = ranges.into_unread()?;
    let abandoned = unread.iter().map(|unread| layout.columns().size(unread.object) - unread.read).sum();
    let changes = fallible::collect(unread.iter().map(|unread| (unread.object, Change::Shorter(unread.read))))?;
    Ok(RangesRead { unread, changes, abandoned })
}
