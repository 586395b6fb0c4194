//! Many ranges of one file, each into an object of a list: in the order of the file, and those that lie close together in
//! one call.

use std::os::fd::RawFd;
use std::time::Instant;

use super::batch::Batch;
use super::transfer::{BREATH, Stop, address};
use crate::error::Error;
use crate::list::Placed;
use crate::slot::Mirror;
use crate::sys::vectored::{self, Call};

/// Bytes between two ranges that are rather read, and forgotten, than made the end of a call: reading so many takes about as
/// long as a call.
const MOST_BETWEEN: u64 = 4096;

/// An object that did not get all of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) object: usize,
    /// Bytes of it that were read.
    pub(crate) read: usize,
    pub(crate) why: Why,
}

/// Why an object did not get all of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The file ends there.
    Ended,
    /// The kernel refused, with a code as in `errno(3)`.
    Refused(i32),
}

/// Ranges on their way in. Object i of the list is to get what lies at `offsets[i]` of the file.
pub(crate) struct Ranges<'a> {
    file: RawFd,
    placed: &'a Placed,
    offsets: &'a [u64],
    /// The objects by their place in the file, unless that is their order anyway.
    order: Option<Vec<usize>>,
    /// How many of these are done.
    done: usize,
    /// Bytes of the next one that are read.
    taken: usize,
    batch: Batch,
    /// Gets what lies between ranges.
    between: Box<[u8]>,
    unread: Vec<Unread>,
}

impl<'a> Ranges<'a> {
    /// There must be an offset for each object, less than 2^63.
    ///
    /// # Errors
    /// [`Error::Table`]: there is no memory to put them in order.
    pub(crate) fn new(file: RawFd, placed: &'a Placed, offsets: &'a [u64]) -> Result<Self, Error> {
        debug_assert_eq!(offsets.len(), placed.columns().len());
        let mut order = None;
        if !offsets.is_sorted() {
            let mut objects = Vec::new();
            let no_memory = |_| Error::Table { objects: offsets.len() };
            objects.try_reserve_exact(offsets.len()).map_err(no_memory)?;
            objects.extend(0..offsets.len());
            objects.sort_unstable_by_key(|&object: &usize| (offsets[object], object));
            order = Some(objects);
        }
        let between = vec![0; MOST_BETWEEN as usize].into();
        Ok(Self {
            file,
            placed,
            offsets,
            order,
            done: 0,
            taken: 0,
            batch: Batch::default(),
            between,
            unread: Vec::new(),
        })
    }

    /// How many objects are done, well or not.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// What did not get all of its bytes, in the order of the file.
    pub(crate) fn into_unread(self) -> Vec<Unread> {
        self.unread
    }

    /// Reads until all is done or [`Stop::Pause`].
    ///
    /// # Safety
    /// As for [`Transfer::run`](super::Transfer::run).
    pub(crate) unsafe fn run(&mut self) -> Stop {
        let start = Instant::now();
        loop {
            // SAFETY: the caller's promise.
            let end = unsafe { self.fill() };
            if end == self.done {
                return Stop::Done;
            }
            let at = self.offset(self.done) + self.taken as u64;
            // SAFETY: the caller's promise, and nothing is borrowed of what lies between.
            match unsafe { vectored::transfer(self.file, Call::ReadAt(at), self.batch.pending()) } {
                Ok(moved) if moved.bytes > 0 => self.advance(at + moved.bytes as u64, end),
                Ok(_) => self.give_up(Why::Ended),
                Err(libc::EINTR) => return Stop::Pause,
                Err(code) => self.give_up(Why::Refused(code)),
            }
            if start.elapsed() > BREATH {
                return Stop::Pause;
            }
        }
    }

    /// Makes a batch of what comes next, as far as it hangs together. Returns up to which object, in the order of the file.
    unsafe fn fill(&mut self) -> usize {
        let columns = self.placed.columns();
        while self.done < self.offsets.len() && columns.size(self.object(self.done)) == 0 {
            self.done += 1;
        }
        self.batch.clear();
        let mut end = self.done;
        let mut run = 0;
        // Where the last range ends in the file, where its bytes do in memory, and its object.
        let mut last: Option<(u64, *mut u8, usize)> = None;
        while end < self.offsets.len() {
            let object = self.object(end);
            let span = self.placed.object_near(&mut run, object);
            // SAFETY: the slots are there, by the promise to run.
            let start = unsafe { address(span, Mirror::ReadWrite) };
            let taken = if last.is_none() { self.taken } else { 0 };
            if let Some((at, memory, before)) = last {
                let Some(gap) = self.offset(end).checked_sub(at).filter(|&gap| gap <= MOST_BETWEEN) else { break };
                // Padding between two objects is the list's own and may as well get what lies between their ranges.
                let is_padding = before + 1 == object
                    && self.placed.runs()[run].first < object
                    && memory.addr() + gap as usize == start.addr();
                let into = if is_padding { memory } else { self.between.as_mut_ptr() };
                if gap > 0 && self.batch.push(into, gap as usize) < gap as usize {
                    break;
                }
            }
            let left = span.len - taken;
            if left > 0 && self.batch.push(start.wrapping_add(taken), left) < left {
                // Where nothing of it was taken, nothing will be noted of it either.
                end += 1;
                break;
            }
            last = Some((self.offset(end) + span.len as u64, start.wrapping_add(span.len), object));
            end += 1;
        }
        end
    }

    /// Notes that the batch is done up to a place in the file, and with it no object from `end` on.
    fn advance(&mut self, place: u64, end: usize) {
        while self.done < end {
            let (offset, size) = (self.offset(self.done), self.placed.columns().size(self.object(self.done)));
            if offset + size as u64 > place {
                self.taken = place.saturating_sub(offset) as usize;
                return;
            }
            self.done += 1;
            self.taken = 0;
        }
    }

    /// Notes that the next object will not get more.
    fn give_up(&mut self, why: Why) {
        self.unread.push(Unread { object: self.object(self.done), read: self.taken, why });
        self.done += 1;
        self.taken = 0;
    }

    fn object(&self, index: usize) -> usize {
        self.order.as_ref().map_or(index, |order| order[index])
    }

    fn offset(&self, index: usize) -> u64 {
        self.offsets[self.object(index)]
    }
}
