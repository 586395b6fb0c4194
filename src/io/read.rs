//! Many files, or many ranges of one, read into one list: what Rust sees of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::driver::{self, Caller, FilesRead, RangesRead};
use super::files::{Longer, SPILL_BYTES, Unreadable};
use super::ranges::Why;
use super::transfer::address;
use crate::error::Error;
use crate::fallible::{self, CStrings};
use crate::group::MemGroup;
use crate::layout::DEFAULT_ALIGN;
use crate::list::{Builder, List, ListLayout, Span};
use crate::slot::Mirror;

/// The contents that were read, and the errors.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadOutcome<'g> {
    /// An allocation for each file or range, with the bytes that were read.
    pub list: List<'g>,
    /// The files or ranges that could not be read in full, by number.
    pub errors: Vec<ReadError>,
    /// Numbers of the files whose size changed between asking for it and reading. They were read whole.
    pub changed: Vec<usize>,
    /// Bytes of the group that were allocated and then given up: a file or range was not as long as expected.
    pub abandoned: usize,
}

/// A file or range that could not be read in full.
#[derive(Debug, thiserror::Error)]
#[error("number {index}: {error}")]
pub struct ReadError {
    /// Number of the file or range. The list has the part that could be read.
    pub index: usize,
    /// Why; of the kind [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) where a range lies beyond the end of its file.
    pub error: io::Error,
}

impl MemGroup {
    /// Many ranges of a file, each an offset and a size, into one list. Ranges that lie close together are read in one
    /// call, and large amounts by several threads.
    ///
    /// # Errors As [`alloc_many`](Self::alloc_many), and nothing is read then. A range that cannot be read is an error
    /// in the outcome.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// let group = memgroup::MemGroup::new()?;
    /// let path = std::env::temp_dir().join(format!("memgroup-doc-{}", std::process::id()));
    /// std::fs::File::create(&path)?.write_all(b"0123456789")?;
    /// let file = std::fs::File::open(&path)?;
    /// let read = group.read_ranges(&file, &[(7, 2), (0, 3), (8, 100)])?;
    /// assert_eq!(read.list.iter().collect::<Vec<_>>(), [&b"78"[..], b"012", b"89"]);
    /// assert_eq!(read.errors[0].index, 2);
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_ranges(&self, file: impl AsFd, ranges: &[(u64, usize)]) -> Result<ReadOutcome<'_>, Error> {
        let layout = self.placed_for(ranges.iter().map(|&(_, size)| size))?;
        // No file reaches beyond, and the kernel says so.
        let offsets = fallible::collect(ranges.iter().map(|&(offset, _)| offset.min(i64::MAX as u64)))?;
        let file = file.as_fd().as_raw_fd();
        // SAFETY: the list lies in the slots of the group, which is borrowed, and nobody else was given it.
        let read = unsafe { driver::read_ranges(&self, file, &offsets, self.live_slots(), &layout) }?;
        let RangesRead { unread, changes, abandoned } = read;
        let errors = unread.iter().map(|unread| ReadError {
            index: unread.object,
            error: match unread.why {
                Why::Ended => io::ErrorKind::UnexpectedEof.into(),
                Why::Refused(code) => io::Error::from_raw_os_error(code),
            },
        });
        let errors = fallible::collect(errors)?;
        let list = List::of_placed(self, layout.changed(&changes)?);
        Ok(ReadOutcome { list, errors, changed: Vec::new(), abandoned })
    }

    /// Many files whole into one list. It gets their sizes, allocates the list, then reads.
    ///
    /// A file that grows or shrinks meanwhile is read whole, and so is a file without a size, as in /proc: up to 64 MiB
    /// beyond its size at first. Only regular files are read; a fifo or a device is never waited for.
    ///
    /// # Errors
    /// As [`read_ranges`](Self::read_ranges).
    ///
    /// ```
    /// let group = memgroup::MemGroup::new()?;
    /// let read = group.read_files(&["/proc/self/stat", "/none"])?;
    /// assert!(read.list[0].starts_with(std::process::id().to_string().as_bytes()));
    /// assert_eq!(read.errors[0].error.kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), memgroup::Error>(())
    /// ```
    pub fn read_files<P: AsRef<Path>>(&self, paths: &[P]) -> Result<ReadOutcome<'_>, Error> {
        let mut encoded = CStrings::default();
        for path in paths {
            let path = path.as_ref().as_os_str().as_bytes();
            // The kernel knows no file with NUL in its path, and none without a path.
            encoded.push(if path.contains(&0) { b"" } else { path })?;
        }
        let mut announced = driver::announced(&self, &encoded, self.largest())?;
        let layout = self.placed_for(std::mem::take(&mut announced.sizes).into_iter())?;
        let mut errors = Vec::new();
        let relocate = |longer: &Longer| match self.relocated(&layout, longer) {
            Ok(span) => Ok(Some(span)),
            Err(error) => {
                let error = io::Error::new(io::ErrorKind::OutOfMemory, error);
                fallible::push(&mut errors, ReadError { index: longer.object, error }).map(|()| None)
            }
        };
        let (slots, is_secret) = (self.live_slots(), self.is_secret());
        // SAFETY: the list lies in the slots of the group, which is borrowed, and nobody else was given it.
        let read = unsafe { driver::read_files(&self, relocate, &encoded, announced, slots, &layout, is_secret) }?;
        let FilesRead { unreadable, changes, changed, abandoned, .. } = read;
        let unreadable = unreadable.into_iter().map(|(index, why)| ReadError { index, error: why.into() });
        fallible::extend(&mut errors, unreadable)?;
        errors.sort_unstable_by_key(|error| error.index);
        Ok(ReadOutcome { list: List::of_placed(self, layout.changed(&changes)?), errors, changed, abandoned })
    }

    /// Room for objects of these sizes.
    fn placed_for(&self, sizes: impl ExactSizeIterator<Item = usize>) -> Result<ListLayout, Error> {
        let mut builder = Builder::new(DEFAULT_ALIGN, self.largest());
        builder.extend(sizes)?;
        let columns = builder.finish();
        let runs = self.alloc_many_raw(&columns)?;
        Ok(ListLayout::new(columns, runs))
    }

    /// Puts a file that is longer than its object where there is room for it.
    fn relocated(&self, layout: &ListLayout, longer: &Longer) -> Result<Span, Error> {
        let object = layout.object(longer.object);
        let len = object.len + longer.rest.len();
        let taken = self.alloc_raw(len, DEFAULT_ALIGN)?;
        let to = taken.address.as_ptr();
        // SAFETY: the object is one of the group's.
        let from = unsafe { address(self.live_slots(), object, Mirror::ReadWrite) };
        // SAFETY: the object is there, nobody else was given it, and what was just taken is longer and elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(from, to, object.len) };
        let behind = to.wrapping_add(object.len);
        // SAFETY: what was just taken has as many bytes behind the object's as rest has, and rest is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(longer.rest.as_ptr(), behind, longer.rest.len()) };
        Ok(Span { slot: taken.slot.as_ptr(), offset: taken.slot.offset_of(taken.address), len })
    }
}

/// Nothing stops it.
impl Caller for &MemGroup {
    type Error = Error;
}

impl From<Unreadable> for io::Error {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::Refused(code) => Self::from_raw_os_error(code),
            Unreadable::NotRegular => Self::new(io::ErrorKind::InvalidInput, "not a regular file"),
            Unreadable::TooLarge(size) => Self::new(
                io::ErrorKind::OutOfMemory,
                format!("it has {size} bytes, more than a slot of this group: make the group with a larger base"),
            ),
            Unreadable::Unlocked { locked, limit } => {
                Self::new(io::ErrorKind::OutOfMemory, Error::Unlocked { wanted: SPILL_BYTES, locked, limit })
            }
            Unreadable::GoesOn { announced: true } => {
                Self::new(io::ErrorKind::FileTooLarge, "it grew by more than 64 MiB while it was read")
            }
            Unreadable::GoesOn { announced: false } => {
                Self::new(io::ErrorKind::FileTooLarge, "it has no size, and more than 64 MiB of content")
            }
        }
    }
}
