//! Many whole files, each into an object of a list, and straight so if it is as long as announced.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use super::batch::Batch;
use super::transfer::{SIGNAL_CHECK_INTERVAL, address};
use crate::error::Error;
use crate::fallible::{self, CStrings};
use crate::list::ListLayout;
use crate::os::iovecs::{self, Call};
use crate::os::regular::{self, Kind};
use crate::os::temporary::Temporary;
use crate::scratch::Scratch;
use crate::slot::{LiveSlots, Mirror};

/// Offered to each read behind the object, and left untouched unless there is more than was announced: so one call
/// reads a file and finds that this was all of it.
pub(crate) const SPILL_BYTES: usize = 64 * 1024;

/// Most bytes that are read of a file beyond what it announced, which is nothing for those of /proc: some of them go on
/// for longer than any memory lasts, as /proc/self/pagemap does.
const MAX_UNANNOUNCED_BYTES: usize = 64 << 20;

/// So many files are opened at once and asked then, which saves looking up each path a second time. A process may
/// commonly have a thousand descriptors, and others need some.
const MAX_OPEN_FILES: usize = 128;

/// What is told of some files, each by its number.
type Numbered<T> = Vec<(usize, T)>;

/// Why a file could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The kernel refused, with a code as in `errno(3)`.
    Refused(i32),
    /// It is a fifo, a socket or a device.
    NotRegular,
    /// It announces so many bytes, which no slot holds.
    TooLarge(u64),
    /// It has more than it announces, and no more of a secret can be locked in memory.
    Unlocked { locked: usize, limit: usize },
    /// It goes on for too long after what it announced, if it did.
    GoesOn { announced: bool },
}

/// Why reading does not go on as it is.
enum Failure {
    /// The next file cannot be read to its end.
    Unreadable(Unreadable),
    /// Nothing can be noted any more.
    NoMemory(Error),
}

impl From<Unreadable> for Failure {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::NoMemory(error)
    }
}

/// How long each file says that it is.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// Of one file after the other; 0 for one that cannot be read.
    pub(crate) sizes: Vec<usize>,
    /// The number of each file that cannot be read, and why.
    pub(crate) unreadable: Numbered<Unreadable>,
    /// The first files, as far as they are open.
    pub(crate) open: Vec<Option<Temporary>>,
    /// Whether descriptors ran out.
    are_scarce: bool,
}

impl Announced {
    /// Asks until all have been or it is time to pause. No object can have more than `largest` bytes.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    pub(crate) fn ask(&mut self, paths: &CStrings, largest: usize) -> Result<(), Error> {
        let left = paths.len() - self.sizes.len();
        fallible::reserve(&mut self.sizes, left)?;
        let start = Instant::now();
        while self.sizes.len() < paths.len() && start.elapsed() < SIGNAL_CHECK_INTERVAL {
            let file = self.sizes.len();
            let size = match self.kind(paths.get(file)) {
                Err(libc::EINTR) => break,
                Err(code) => Err(Unreadable::Refused(code)),
                Ok(Kind::Directory) => Err(Unreadable::Refused(libc::EISDIR)),
                Ok(Kind::Other) => Err(Unreadable::NotRegular),
                Ok(Kind::Regular(size)) => {
                    usize::try_from(size).ok().filter(|&size| size <= largest).ok_or(Unreadable::TooLarge(size))
                }
            };
            if let Err(why) = size {
                fallible::push(&mut self.unreadable, (file, why))?;
            }
            self.sizes.push(size.unwrap_or(0));
        }
        Ok(())
    }
}

impl Announced {
    /// What is at the next path. It may be opened for that.
    fn kind(&mut self, path: &CStr) -> Result<Kind, i32> {
        if self.sizes.len() >= MAX_OPEN_FILES || self.are_scarce {
            return regular::kind_at(path);
        }
        let (file, kind) = match regular::open_at_once(path) {
            Ok(file) => {
                let kind = regular::kind_of(file.as_fd());
                (Some(file), kind)
            }
            // Those that are open are let go: memory may take a descriptor for a moment.
            Err(libc::EMFILE | libc::ENFILE) => {
                self.are_scarce = true;
                self.open.clear();
                return regular::kind_at(path);
            }
            // A socket, or a file that somebody has a lease of and is now asked to give up.
            Err(libc::ENXIO | libc::EAGAIN) => (None, regular::kind_at(path)),
            Err(code) => (None, Err(code)),
        };
        if kind != Err(libc::EINTR) {
            self.open.push(file.filter(|_| matches!(kind, Ok(Kind::Regular(_)))));
        }
        kind
    }
}

/// Files on their way in.
pub(crate) struct Files<'a> {
    paths: &'a CStrings,
    slots: LiveSlots<'a>,
    layout: &'a ListLayout,
    /// Those that are not even to be tried, in order, and later found so.
    unreadable: Numbered<Unreadable>,
    /// How many of them were found in advance and are still to be passed over.
    skipped: usize,
    /// The files that are shorter than their objects, and how long they are.
    shorter: Numbered<usize>,
    /// How many are done.
    done: usize,
    current: Option<Current>,
    open: Vec<Option<Temporary>>,
    batch: Batch,
    is_secret: bool,
    spill: Scratch<u8>,
}

/// The file that is being read.
struct Current {
    file: Temporary,
    /// Bytes in the object.
    got: usize,
    /// Bytes beyond it.
    rest: Scratch<u8>,
    /// Whether a place in it can be named. What a fork copies of a descriptor shares the place where it is read, so
    /// that parent and child would each miss what the other reads.
    is_seekable: bool,
}

impl Current {
    fn new(file: Temporary, rest: Scratch<u8>) -> Self {
        Self { file, got: 0, rest, is_seekable: true }
    }

    /// How its next bytes are read.
    fn call(&self) -> Call {
        if self.is_seekable { Call::ReadAt((self.got + self.rest.len()) as u64) } else { Call::Read }
    }
}

/// Why reading stopped. It can be run again, and goes on there.
pub(crate) enum FilesStop {
    Done,
    /// A signal came, or it is time to look whether one has.
    Pause,
    /// A file is longer than its object, which is full.
    Longer(Longer),
}

/// What an object cannot hold of its file.
pub(crate) struct Longer {
    pub(crate) object: usize,
    pub(crate) rest: Scratch<u8>,
    /// Whether it is a file that announces nothing, whatever is in it.
    pub(crate) is_unannounced: bool,
}

impl<'a> Files<'a> {
    /// The objects of `layout` must be of the sizes that were announced, and lie in `slots`. What files of a secret
    /// group have beyond them is kept as secret as the group is.
    ///
    /// # Errors
    /// There is no memory for what files have beyond their objects, or it cannot be locked.
    pub(crate) fn new(
        paths: &'a CStrings,
        announced: Announced,
        slots: LiveSlots<'a>,
        layout: &'a ListLayout,
        is_secret: bool,
    ) -> Result<Self, Error> {
        let Announced { unreadable, open, .. } = announced;
        Ok(Self {
            paths,
            slots,
            layout,
            skipped: 0,
            shorter: fallible::collect(unreadable.iter().map(|&(file, _)| (file, 0)))?,
            unreadable,
            done: 0,
            current: None,
            open,
            batch: Batch::default(),
            is_secret,
            spill: Scratch::zeroed(is_secret, SPILL_BYTES)?,
        })
    }

    /// How many files are done, well or not.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// What could not be read and why, and what is shorter than its object and how long it is: each by number.
    pub(super) fn into_unreadable_and_shorter(self) -> (Numbered<Unreadable>, Numbered<usize>) {
        let Self { mut unreadable, mut shorter, .. } = self;
        unreadable.sort_unstable_by_key(|&(file, _)| file);
        shorter.sort_unstable();
        shorter.dedup_by_key(|&mut (file, _)| file);
        (unreadable, shorter)
    }

    /// Reads on.
    ///
    /// # Errors
    /// As [`fallible::reserve`]: what became of a file cannot be noted.
    ///
    /// # Safety
    /// The list must lie in the slots, and nothing be borrowed there.
    pub(crate) unsafe fn run(&mut self) -> Result<FilesStop, Error> {
        let start = Instant::now();
        while self.done < self.paths.len() {
            if self.is_skipped() {
                self.done += 1;
                continue;
            }
            // SAFETY: the list lies in the slots, and nothing is borrowed there, by contract.
            match unsafe { self.read() } {
                Ok(Some(stop)) => return Ok(stop),
                Ok(None) => {}
                Err(Failure::Unreadable(why)) => self.give_up(why)?,
                Err(Failure::NoMemory(error)) => return Err(error),
            }
            if start.elapsed() > SIGNAL_CHECK_INTERVAL {
                return Ok(FilesStop::Pause);
            }
        }
        Ok(FilesStop::Done)
    }

    /// Whether the next file is one that was found unreadable in advance.
    fn is_skipped(&mut self) -> bool {
        let is_skipped =
            self.current.is_none() && self.unreadable.get(self.skipped).is_some_and(|&(file, _)| file == self.done);
        self.skipped += usize::from(is_skipped);
        is_skipped
    }

    /// Opens the next file or reads some of it.
    ///
    /// # Safety
    /// The list must lie in the slots, and nothing be borrowed there.
    unsafe fn read(&mut self) -> Result<Option<FilesStop>, Failure> {
        let object = self.done;
        let Some(current) = &mut self.current else {
            let rest = Scratch::new(self.is_secret);
            if let Some(file) = self.open.get_mut(object).and_then(Option::take) {
                self.current = Some(Current::new(file, rest));
                return Ok(None);
            }
            let file = match regular::open_at_once(self.paths.get(object)) {
                Err(libc::EINTR) => return Ok(Some(FilesStop::Pause)),
                Err(libc::EAGAIN) => {
                    regular::wait_for_lease();
                    return Ok(Some(FilesStop::Pause));
                }
                Err(code) => return Err(Unreadable::Refused(code).into()),
                Ok(file) => file,
            };
            match regular::kind_of(file.as_fd()).map_err(Unreadable::Refused)? {
                Kind::Regular(_) => {}
                Kind::Directory => return Err(Unreadable::Refused(libc::EISDIR).into()),
                Kind::Other => return Err(Unreadable::NotRegular.into()),
            }
            self.current = Some(Current::new(file, rest));
            return Ok(None);
        };
        let span = self.layout.object(object);
        // SAFETY: the list lies in the slots, by contract.
        let start = unsafe { address(self.slots, span, Mirror::ReadWrite) };
        let room = span.len - current.got;
        self.batch.clear();
        if self.batch.push(start.wrapping_add(current.got), room) == room {
            self.batch.push(self.spill.as_mut_ptr(), SPILL_BYTES);
        }
        // SAFETY: the iovecs are free bytes of the object and the spill, and nothing is borrowed of either.
        let read =
            match unsafe { iovecs::transfer(current.file.as_fd().as_raw_fd(), current.call(), self.batch.pending()) } {
                Err(libc::EINTR) => return Ok(Some(FilesStop::Pause)),
                Err(libc::ESPIPE) if current.is_seekable => {
                    current.is_seekable = false;
                    return Ok(None);
                }
                read => read.map_err(Unreadable::Refused)?.bytes,
            };
        let spilled = read.saturating_sub(room);
        current.got += read - spilled;
        if spilled > 0 {
            if current.rest.len() + spilled > MAX_UNANNOUNCED_BYTES {
                return Err(Unreadable::GoesOn { announced: span.len > 0 }.into());
            }
            current.rest.extend(&self.spill[..spilled]).map_err(|error| match error {
                Error::Unlocked { locked, limit, .. } => Unreadable::Unlocked { locked, limit },
                _ => Unreadable::Refused(libc::ENOMEM),
            })?;
        }
        // A read that left room behind the object has met the end; where there was more than announced, so has one of
        // none.
        let is_whole = current.got == span.len && current.rest.is_empty() && read <= room;
        if read > 0 && !(is_whole && self.batch.bytes() > room) {
            return Ok(None);
        }
        if current.got < span.len {
            fallible::push(&mut self.shorter, (object, current.got))?;
        }
        let Some(Current { file, rest, .. }) = self.current.take() else { return Ok(None) };
        self.done += 1;
        if rest.is_empty() {
            return Ok(None);
        }
        let is_unannounced = span.len == 0 && regular::kind_of(file.as_fd()) == Ok(Kind::Regular(0));
        Ok(Some(FilesStop::Longer(Longer { object, rest, is_unannounced })))
    }

    /// Notes that no more will come of the current file, or that it could not be opened.
    fn give_up(&mut self, why: Unreadable) -> Result<(), Error> {
        let got = self.current.take().map_or(0, |current| current.got);
        fallible::push(&mut self.shorter, (self.done, got))?;
        fallible::push(&mut self.unreadable, (self.done, why))?;
        self.done += 1;
        Ok(())
    }
}
