//! A list moved through a descriptor, in as many calls as that takes.

use std::ops::Deref;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::bounce::{BOUNCE_BELOW_BYTES, BOUNCE_MIN_PIECES, Bounce};
use crate::list::{ListLayout, Part, Span};
use crate::os::iovecs::{self, Call};
use crate::slot::{LiveSlots, Mirror};

/// Whoever runs a transfer is asked for news this often, so that signals are heard of that interrupt no call.
pub(crate) const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Why a transfer stopped where it did. It can be run again, and goes on there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// All is done, or the input is at its end: the count says which.
    Done,
    /// A signal came, or it is [time](SIGNAL_CHECK_INTERVAL) to look whether one has.
    Pause,
    /// Nothing can be moved without waiting, and the descriptor is one that does not wait.
    WouldBlock,
    /// Nothing could be moved before the deadline.
    TimedOut,
    /// A message was longer than the list. The rest of it is lost.
    Cut,
    /// A list of more iovecs than one message can be made of.
    TooManyIovecs,
    /// The kernel took nothing of what was to go out, and gave no reason.
    TakesNothing,
    /// The kernel refused, with a code as in `errno(3)`.
    Failed(i32),
}

/// Who says whether a list's memory is still mapped while nobody else keeps it so: the kernel finds out by itself, but
/// what is copied here must be.
pub(crate) trait Keeper {
    /// The list's slots, at least as reserved addresses.
    fn slots(&self) -> LiveSlots<'_>;

    /// Does something during which the memory stays. Whether it was there.
    fn while_there(&self, work: impl FnOnce()) -> bool;
}

/// The borrow of a list's group, which keeps it.
pub(crate) struct Borrowed<'a>(pub(crate) LiveSlots<'a>);

impl Keeper for Borrowed<'_> {
    fn slots(&self) -> LiveSlots<'_> {
        self.0
    }

    fn while_there(&self, work: impl FnOnce()) -> bool {
        work();
        true
    }
}

/// Some objects of a list on their way in or out.
#[derive(Debug)]
pub(crate) struct Transfer<P> {
    fd: RawFd,
    call: Call,
    /// One message at most is to be moved, whole.
    is_message: bool,
    deadline: Option<Instant>,
    rest: Rest<P>,
    batch: Batch,
    /// For the small pieces of the batch, unless they are to be left where they are.
    bounce: Option<Bounce>,
    moved: usize,
}

/// What of a list no call has been given yet: all of it to begin with.
#[derive(Debug)]
pub(crate) struct Rest<P> {
    layout: P,
    part: Part,
    mirror: Mirror,
    /// The next object.
    next: usize,
    run: usize,
    /// So many bytes of it are taken.
    taken: usize,
    /// No more bytes than these are to be taken.
    most: usize,
}

impl<P: Deref<Target = ListLayout>> Transfer<P> {
    /// `deadline` is for a descriptor that does not wait by itself.
    pub(crate) fn new(fd: RawFd, call: Call, rest: Rest<P>, deadline: Option<Instant>) -> Result<Self, i32> {
        let has_messages = iovecs::has_messages(fd);
        let is_message = match call {
            Call::Receive | Call::Send => has_messages?,
            // They would take part of a message and lose the rest, or make several of one.
            Call::Read | Call::Write if has_messages == Ok(true) => return Err(libc::EOPNOTSUPP),
            _ => false,
        };
        let bounce =
            (!is_message && rest.part.len() - rest.next >= BOUNCE_MIN_PIECES).then(|| Bounce::new(call.is_input()));
        Ok(Self { fd, call, is_message, deadline, rest, batch: Batch::default(), bounce, moved: 0 })
    }

    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> usize {
        self.moved
    }

    /// Moves what can be moved.
    ///
    /// # Safety
    /// The list must lie in the keeper's slots. Where bytes come in, nothing may be borrowed there.
    pub(crate) unsafe fn run(&mut self, keeper: &impl Keeper) -> Stop {
        let start = Instant::now();
        loop {
            // SAFETY: the list lies in the keeper's slots, by contract.
            if self.batch.bytes() == 0 && !unsafe { self.fill(keeper) } {
                return Stop::Failed(libc::EFAULT);
            }
            let is_empty = self.batch.bytes() == 0;
            if self.is_message && !self.rest.is_empty() {
                return Stop::TooManyIovecs;
            }
            // An empty message is one, too; a stream that is asked for nothing would wait for something to come. Others
            // are asked once, to hear that the descriptor is a good one.
            if is_empty && !self.is_message && (self.moved > 0 || matches!(self.call, Call::Receive | Call::Send)) {
                return Stop::Done;
            }
            let call = self.call.behind(self.moved);
            // SAFETY: the batch has bytes of the list, which lies in the keeper's slots, and of the buffer. Where
            // bytes come in,
            // nothing is borrowed there, by contract.
            match unsafe { iovecs::transfer(self.fd, call, self.batch.pending()) } {
                Ok(moved) => {
                    // SAFETY: the list lies in the keeper's slots and, where bytes come in, is not borrowed, by
                    // contract.
                    if !unsafe { self.copy_out(moved.bytes, keeper) } {
                        return Stop::Failed(libc::EFAULT);
                    }
                    self.moved += moved.bytes;
                    self.batch.advance(moved.bytes);
                    if moved.is_cut {
                        return Stop::Cut;
                    }
                    if moved.bytes == 0 && !is_empty && !self.is_message && !call.is_input() {
                        return Stop::TakesNothing;
                    }
                    if moved.bytes == 0 || self.is_message {
                        return Stop::Done;
                    }
                }
                Err(libc::EINTR) => return Stop::Pause,
                Err(libc::EAGAIN) => {
                    let Some(deadline) = self.deadline else { return Stop::WouldBlock };
                    // Also where the kernel says again and again that the descriptor is ready, for what only others
                    // read (a socket's queue of errors).
                    if Instant::now() >= deadline {
                        return Stop::TimedOut;
                    }
                    match iovecs::wait(self.fd, call, deadline) {
                        Ok(true) => {}
                        Ok(false) => return Stop::TimedOut,
                        Err(libc::EINTR) => return Stop::Pause,
                        Err(code) => return Stop::Failed(code),
                    }
                }
                Err(code) => return Stop::Failed(code),
            }
            if start.elapsed() > SIGNAL_CHECK_INTERVAL {
                return Stop::Pause;
            }
        }
    }
}

impl<P: Deref<Target = ListLayout>> Transfer<P> {
    /// Makes the next batch. Whether the memory was there, if that had to be known.
    ///
    /// # Safety
    /// The list must lie in the keeper's slots.
    unsafe fn fill(&mut self, keeper: &impl Keeper) -> bool {
        let Self { rest, batch, bounce, .. } = self;
        // SAFETY: the list lies in the slots of its keeper, by contract.
        let is_secret = unsafe { rest.layout.is_secret(keeper.slots()) };
        // Secrets leave no copy in the buffer: the kernel moves every piece of them to where it belongs.
        let Some(bounce) = bounce.as_mut().filter(|_| !is_secret) else {
            // SAFETY: the list lies in those slots, by contract; without a buffer nothing is copied, so nothing need
            // be mapped.
            unsafe { rest.fill(keeper.slots(), batch, None) };
            return true;
        };
        bounce.clear();
        // SAFETY: the list lies in those slots, by contract, and the keeper says that the memory is mapped.
        keeper.while_there(|| unsafe { rest.fill(keeper.slots(), batch, Some(bounce)) })
    }

    /// Puts what has just arrived where it belongs, if it went by way of a buffer. Whether the memory was there for
    /// that.
    ///
    /// # Safety
    /// The list must lie in the keeper's slots, and nothing be borrowed there.
    unsafe fn copy_out(&mut self, moved: usize, keeper: &impl Keeper) -> bool {
        let Self { batch, bounce, .. } = self;
        match bounce {
            Some(bounce) if bounce.has_pieces() => keeper.while_there(|| {
                // SAFETY: the keeper says that they are mapped; where bytes come in, the list is writable and not
                // borrowed, by contract.
                unsafe { bounce.copy_out(batch, moved) };
            }),
            _ => true,
        }
    }
}

impl<P: Deref<Target = ListLayout>> Rest<P> {
    /// All bytes of some objects, in order.
    pub(crate) fn new(layout: P, part: Part, mirror: Mirror) -> Self {
        Self { layout, part, mirror, next: 0, run: 0, taken: 0, most: usize::MAX }
    }

    /// These from a byte of an object on; the byte must be there, or the object have none.
    pub(crate) fn at(self, next: usize, taken: usize) -> Self {
        Self { next, taken, ..self }
    }

    /// These up to so many bytes.
    pub(crate) fn up_to(self, most: usize) -> Self {
        Self { most, ..self }
    }

    fn is_empty(&self) -> bool {
        (self.next..self.part.len()).all(|index| self.layout.columns().size(self.part.object(index)) == 0)
    }

    /// These without their first bytes, as many as are to be skipped or there are.
    pub(crate) fn behind(mut self, mut bytes: usize) -> Self {
        while self.next < self.part.len() {
            let size = self.layout.columns().size(self.part.object(self.next));
            if bytes < size {
                self.taken = bytes;
                break;
            }
            bytes -= size;
            self.next += 1;
        }
        self
    }

    /// Has a batch take what it has room for, small pieces by way of a buffer if there is one.
    ///
    /// # Safety
    /// The list must lie in those slots and, with a buffer, its objects be mapped.
    unsafe fn fill(&mut self, slots: LiveSlots<'_>, batch: &mut Batch, mut bounce: Option<&mut Bounce>) {
        while self.next < self.part.len() {
            if let Some(bounce) = &mut bounce {
                // SAFETY: the list lies in those slots and, as there is a buffer, its objects are mapped, by contract.
                unsafe { self.fill_small(slots, batch, bounce) };
                if self.next == self.part.len() {
                    return;
                }
            }
            let (span, objects) = self.layout.span_at(self.part, self.next, &mut self.run);
            // SAFETY: the span is of the list, which lies in those slots, by contract.
            let start = unsafe { address(slots, span, self.mirror) };
            let (left, start) = (span.len - self.taken, start.wrapping_add(self.taken));
            let wanted = left.min(self.most);
            let pushed = match &mut bounce {
                // SAFETY: the objects of the list are mapped, by contract, for there is a buffer.
                Some(bounce) if wanted < BOUNCE_BELOW_BYTES => unsafe { bounce.push(batch, start, wanted) },
                _ => batch.push(start, wanted),
            };
            self.most -= pushed;
            if pushed < left {
                self.take(pushed);
                return;
            }
            self.next += objects;
            self.taken = 0;
        }
    }

    /// Has a batch take whole objects that are small, as far as they come one after the other in a run and there is
    /// room. Those that lie together without padding are better left there once they are no small piece any more.
    ///
    /// # Safety
    /// The list must lie in those slots, and its objects be mapped.
    unsafe fn fill_small(&mut self, slots: LiveSlots<'_>, batch: &mut Batch, bounce: &mut Bounce) {
        let object = self.part.object(self.next);
        if self.taken > 0 || self.part.step() != 1 || self.layout.columns().size(object) >= BOUNCE_BELOW_BYTES {
            return;
        }
        let span = self.layout.object_near(&mut self.run, object);
        let columns = self.layout.columns();
        let end = self.layout.end_of(self.run).min(object + self.part.len() - self.next);
        // SAFETY: the span is of the list, which lies in those slots, by contract.
        let base = unsafe { address(slots, span, self.mirror) }.wrapping_sub(columns.start(object));
        let mut filling = bounce.fill(batch, self.most);
        let (mut together, mut last) = (0, usize::MAX);
        columns.each(object..end, |start, size| {
            together = if start == last { together + size } else { size };
            last = start + size;
            // SAFETY: the objects of the list are mapped, by contract.
            let is_taken = together < BOUNCE_BELOW_BYTES && unsafe { filling.take(base.wrapping_add(start), size) };
            self.next += usize::from(is_taken);
            is_taken
        });
        self.most -= filling.finish();
    }

    /// Notes that bytes of the next objects, not all of them, are taken.
    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        // Objects without padding between them were offered as one.
        while self.next + 1 < self.part.len() {
            let size = self.layout.columns().size(self.part.object(self.next));
            if self.taken < size {
                return;
            }
            self.taken -= size;
            self.next += 1;
        }
    }
}

/// Where a span begins in a mirror.
///
/// # Safety
/// It must lie in one of those slots.
#[inline(always)]
pub(crate) unsafe fn address(slots: LiveSlots<'_>, span: Span, mirror: Mirror) -> *mut u8 {
    // SAFETY: the span lies in one of those slots, by contract.
    let slot = unsafe { slots.get(span.slot) };
    // SAFETY: a span of a list lies within its slot.
    let address = unsafe { slot.address(span.offset, mirror) };
    // No list is protected that has no read-only mirror, and the kernel would answer EFAULT.
    address.map_or(std::ptr::null_mut(), |address| address.as_ptr())
}
