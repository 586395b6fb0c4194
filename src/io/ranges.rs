//! Many ranges of one file, each into an object of a list: in the order of the file, and those that lie close together
//! in one call. Much is read by several threads.

use std::num::NonZero;
use std::os::fd::RawFd;
use std::time::Instant;

use super::batch::Batch;
use super::transfer::{SIGNAL_CHECK_INTERVAL, Stop, address};
use crate::error::Error;
use crate::fallible;
use crate::list::ListLayout;
use crate::os::iovecs::{self, Call};
use crate::slot::{LiveSlots, Mirror};

/// Bytes between two ranges that are rather read, and forgotten, than made the end of a call: reading so many takes
/// about as long as a call.
const MAX_GAP_BYTES: u64 = 4096;

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
    job: Job<'a>,
    lanes: Vec<Lane>,
}

/// What is to be read.
struct Job<'a> {
    file: RawFd,
    slots: LiveSlots<'a>,
    layout: &'a ListLayout,
    offsets: &'a [u64],
    /// The objects by their place in the file, unless that is their order anyway.
    order: Option<Vec<usize>>,
}

/// Some consecutive ranges, which one thread reads.
struct Lane {
    first: usize,
    /// The first that is not done.
    next: usize,
    end: usize,
    /// Bytes of the next one that are read.
    taken: usize,
    batch: Batch,
    /// Gets what lies between ranges.
    between: Box<[u8]>,
    unread: Vec<Unread>,
    /// Why it did not go on.
    failure: Option<Error>,
}

/// So many bytes are worth a thread: reading them takes a hundred times as long as starting one.
const LANE_BYTES: usize = 32 << 20;

/// Few processors fill the memory's bandwidth.
const MAX_LANES: usize = 8;

impl<'a> Ranges<'a> {
    /// There must be an offset for each object, less than 2^63.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    pub(crate) fn new(
        file: RawFd,
        slots: LiveSlots<'a>,
        layout: &'a ListLayout,
        offsets: &'a [u64],
    ) -> Result<Self, Error> {
        debug_assert_eq!(offsets.len(), layout.columns().len());
        let mut order = None;
        if !offsets.is_sorted() {
            let mut objects = fallible::collect(0..offsets.len())?;
            objects.sort_unstable_by_key(|&object: &usize| (offsets[object], object));
            order = Some(objects);
        }
        let job = Job { file, slots, layout, offsets, order };
        let lanes = job.lanes(lanes_for(layout.columns().nbytes()))?;
        Ok(Self { job, lanes })
    }

    /// How many objects are done, well or not.
    pub(crate) fn done(&self) -> usize {
        self.lanes.iter().map(|lane| lane.next - lane.first).sum()
    }

    /// What did not get all of its bytes, by number.
    ///
    /// # Errors
    /// As [`fallible::reserve`].
    pub(crate) fn into_unread(self) -> Result<Vec<Unread>, Error> {
        let mut unread = fallible::collect(self.lanes.into_iter().flat_map(|lane| lane.unread))?;
        unread.sort_unstable_by_key(|unread| unread.object);
        Ok(unread)
    }

    /// Reads until all is done or [`Stop::Pause`].
    ///
    /// # Errors
    /// As [`fallible::reserve`]: what could not be read cannot be noted.
    ///
    /// # Safety
    /// The list must lie in the slots, and nothing be borrowed there.
    pub(crate) unsafe fn run(&mut self) -> Result<Stop, Error> {
        let Self { job, lanes } = self;
        // What is not done, as far as there are threads for it; the first is this thread's.
        let mut open: Vec<_> = lanes.iter_mut().filter(|lane| lane.next < lane.end).collect();
        let Some((own, others)) = open.split_first_mut() else { return Ok(Stop::Done) };
        std::thread::scope(|scope| {
            for lane in others {
                let read = || {
                    // SAFETY: by contract the list lies in the slots and is not borrowed; no two lanes have an object
                    // in common.
                    unsafe { lane.run(job) };
                };
                // Where no thread can be had, its turn comes when those before it are done.
                let _ = std::thread::Builder::new().spawn_scoped(scope, read);
            }
            // SAFETY: by contract the list lies in the slots and is not borrowed; no two lanes have an object in
            // common.
            unsafe { own.run(job) };
        });
        if let Some(error) = lanes.iter_mut().find_map(|lane| lane.failure.take()) {
            return Err(error);
        }
        Ok(if lanes.iter().all(|lane| lane.next == lane.end) { Stop::Done } else { Stop::Pause })
    }
}

/// How many threads are to read so many bytes: no more than this one may run on.
fn lanes_for(nbytes: usize) -> usize {
    match (nbytes / LANE_BYTES).min(MAX_LANES) {
        0 | 1 => 1,
        most => std::thread::available_parallelism().map_or(1, NonZero::get).min(most),
    }
}

impl Job<'_> {
    /// Shares the ranges out, about as many bytes to each lane.
    fn lanes(&self, many: usize) -> Result<Vec<Lane>, Error> {
        let columns = self.layout.columns();
        let share = columns.nbytes() / many;
        let mut lanes = Vec::with_capacity(many);
        let (mut first, mut end) = (0, 0);
        for _ in 1..many {
            let mut bytes = 0;
            while end < self.offsets.len() && bytes < share {
                bytes += columns.size(self.object(end));
                end += 1;
            }
            lanes.push(Lane::new(first, end)?);
            first = end;
        }
        lanes.push(Lane::new(first, self.offsets.len())?);
        Ok(lanes)
    }

    fn object(&self, index: usize) -> usize {
        self.order.as_ref().map_or(index, |order| order[index])
    }

    fn offset(&self, index: usize) -> u64 {
        self.offsets[self.object(index)]
    }
}

impl Lane {
    fn new(first: usize, end: usize) -> Result<Self, Error> {
        let between = fallible::filled(0, MAX_GAP_BYTES as usize)?.into();
        let (batch, unread) = (Batch::default(), Vec::new());
        Ok(Self { first, next: first, end, taken: 0, batch, between, unread, failure: None })
    }

    /// Reads until all is done, it is time to pause, or there is a failure.
    ///
    /// # Safety
    /// The list must lie in the slots, and nothing be borrowed there.
    unsafe fn run(&mut self, job: &Job<'_>) {
        let start = Instant::now();
        loop {
            // SAFETY: the list lies in the slots, by contract.
            let end = unsafe { self.fill(job) };
            if end == self.next {
                return;
            }
            let at = job.offset(self.next) + self.taken as u64;
            // SAFETY: the batch has objects of the list, which lies in the slots and is not borrowed, by contract, and
            // bytes of
            // `between`, of which nothing is borrowed.
            match unsafe { iovecs::transfer(job.file, Call::ReadAt(at), self.batch.pending()) } {
                Ok(moved) if moved.bytes > 0 => self.advance(job, at + moved.bytes as u64, end),
                Ok(_) => self.give_up(job, Why::Ended),
                Err(libc::EINTR) => return,
                Err(code) => self.give_up(job, Why::Refused(code)),
            }
            if self.failure.is_some() || start.elapsed() > SIGNAL_CHECK_INTERVAL {
                return;
            }
        }
    }

    /// Makes a batch of what comes next, as far as it hangs together. Returns up to which object, in the order of the
    /// file.
    unsafe fn fill(&mut self, job: &Job<'_>) -> usize {
        let columns = job.layout.columns();
        while self.next < self.end && columns.size(job.object(self.next)) == 0 {
            self.next += 1;
        }
        self.batch.clear();
        // What lies between ranges of a file with secrets may be secret, and stays out of ordinary memory.
        // SAFETY: the list lies in these slots, by the contract of `run`.
        let most_between = if unsafe { job.layout.is_secret(job.slots) } { 0 } else { MAX_GAP_BYTES };
        let mut end = self.next;
        let mut run = 0;
        // Where the last range ends in the file, where its bytes do in memory, and its object.
        let mut last: Option<(u64, *mut u8, usize)> = None;
        while end < self.end {
            let object = job.object(end);
            let span = job.layout.object_near(&mut run, object);
            // SAFETY: the span is of the list, which lies in these slots, by the contract of `run`.
            let start = unsafe { address(job.slots, span, Mirror::ReadWrite) };
            let taken = if last.is_none() { self.taken } else { 0 };
            if let Some((at, memory, before)) = last {
                let Some(gap) = job.offset(end).checked_sub(at).filter(|&gap| gap <= most_between) else { break };
                // Padding between two objects is the list's own and may as well get what lies between their ranges.
                let is_padding = before + 1 == object
                    && job.layout.runs()[run].first < object
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
            last = Some((job.offset(end) + span.len as u64, start.wrapping_add(span.len), object));
            end += 1;
        }
        end
    }

    /// Notes that the batch is done up to a place in the file, and with it no object from `end` on.
    fn advance(&mut self, job: &Job<'_>, place: u64, end: usize) {
        while self.next < end {
            let (offset, size) = (job.offset(self.next), job.layout.columns().size(job.object(self.next)));
            if offset + size as u64 > place {
                self.taken = place.saturating_sub(offset) as usize;
                return;
            }
            self.next += 1;
            self.taken = 0;
        }
    }

    /// Notes that the next object will not get more.
    fn give_up(&mut self, job: &Job<'_>, why: Why) {
        let unread = Unread { object: job.object(self.next), read: self.taken, why };
        if let Err(error) = fallible::push(&mut self.unread, unread) {
            self.failure = Some(error);
            return;
        }
        self.next += 1;
        self.taken = 0;
    }
}
