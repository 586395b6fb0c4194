//! One slot: its mirrors, its cursor, how far it is committed.

mod address;
mod borrowed;
pub(crate) mod budget;
pub(crate) mod cache;
mod commit;
mod cursor;
mod ends;
mod sharing;
mod slot_ref;

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::error::Error;
use crate::fault::SlotRegistration;
use crate::layout::{self, SlotIndex};
use crate::os::{self, Backing, Mirrors, fork};
use crate::sync::opaque;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering};
pub(crate) use address::Mirror;
pub(crate) use borrowed::{BorrowedMemory, Owner};
use budget::Budget;
use cache::{CacheKey, Memory};
pub use cache::{WarmMemory, set_warm_limit, warm_memory};
use cursor::Cursor;
pub(crate) use slot_ref::{LiveSlots, SlotPtr, SlotRef, Taken};

/// A piece of memory that blocks are cut from, and the bookkeeping to do so. Nothing of the latter lies in the former.
///
/// Groups hold slots by [`Arc`]. A layer above that must keep addresses valid beyond the group's own wish takes a
/// reference of its own: the mappings go, to be unmapped or kept warm for another slot, when the last reference does.
#[derive(Debug)]
#[repr(C, align(64))] // in this order, so that what `try_alloc` touches stands in one cache line
pub struct Slot {
    cursor: Cursor,
    read_write: NonNull<u8>,
    read_only: Option<NonNull<u8>>,
    capacity: usize,
    group: u64,
    index: SlotIndex,
    /// Whether what is handed out was never handed out before: fresh memory is zero.
    fresh: AtomicBool,
    /// How often this process had forked when the slot was opened.
    forks: u32,
    /// Of the process that opened the slot.
    generation: u32,
    /// Which slots its memory can be kept for; `None` for none.
    cache_key: Option<CacheKey>,
    /// Offset below which nothing is taken back singly.
    pinned: AtomicUsize,
    /// Whether something was done to the memory that makes it unfit for another slot.
    is_uncacheable: AtomicBool,
    /// How far it would be committed without huge pages.
    planned: AtomicUsize,
    /// Bytes that a layer above has handed out through the read-only mirror, by its own count.
    protected: AtomicUsize,
    /// There until the slot is dropped, and taken out only then.
    memory: ManuallyDrop<SlotMemory>,
    budget: Arc<Budget>,
}

/// Whose the memory of a slot is.
#[derive(Debug)]
enum SlotMemory {
    /// The slot's own: blocks are cut from it.
    Own(Memory),
    /// Somebody else's, all of it one block: nothing is allocated from it, committed or counted.
    Borrowed { memory: BorrowedMemory, place: SlotRegistration },
}

// SAFETY: the pointers are to mappings that the slot owns and that no thread owns more than another; the cursor is
// atomic; mirrors are only read, but for `revoke`, whose callers promise that nobody uses the memory any more.
unsafe impl Send for Slot {}
// SAFETY: as for Send.
unsafe impl Sync for Slot {}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotStats {
    /// Number of the slot; it holds `base << index` bytes.
    pub index: usize,
    /// Bytes it can hold.
    pub capacity: usize,
    /// Bytes handed out, including gaps between blocks.
    pub allocated: usize,
    /// Bytes committed: accounted for as memory that the group uses.
    pub committed: usize,
    /// Committed bytes that are in huge pages.
    pub huge: usize,
    /// Address space of its mirrors, in bytes.
    pub mapped: usize,
}

impl Slot {
    pub(crate) fn open(
        index: SlotIndex,
        capacity: usize,
        backing: &Backing,
        name: &str,
        group: u64,
        budget: Arc<Budget>,
        is_shared: bool,
    ) -> Result<Self, Error> {
        // Before the memory is found: a fork in between makes it one that a child may see.
        let (forks, generation) = (fork::count(), fork::generation());
        // Secrets are locked, and what may be locked is little: no more of it than is needed. And nobody else gets their memory.
        let is_secret = budget.is_secret();
        let offer = os::huge_page_offer(backing).filter(|_| !is_secret && budget.wants_huge_pages());
        let is_huge = offer.is_some_and(|offer| match offer.is_unasked {
            true => layout::is_for_huge_pages(capacity, budget.limit(), offer.size),
            false => capacity >= offer.size,
        });
        // What other processes may map is never another slot's, before or after.
        let cache_key = CacheKey::of(backing, name, capacity, is_huge).filter(|_| !is_secret && !is_shared);
        let (cache_key, memory) = match cache_key.and_then(cache::take) {
            Some((cache_key, memory)) => {
                // What lived there may have been values with padding.
                opaque(memory.mirrors.read_write());
                (Some(cache_key), memory)
            }
            None => {
                let opened = match is_shared {
                    true => Mirrors::open_shared(name, capacity, is_huge),
                    false => Mirrors::open(backing, name, capacity, is_huge),
                };
                let mirrors = opened
                    .and_then(
                        |mirrors| if is_secret { mirrors.keep_from_dumps().map(|()| mirrors) } else { Ok(mirrors) },
                    )
                    .map_err(|refusal| refusal.during(format!("opening slot {} ({capacity} bytes)", index.get())))?;
                (cache_key, Memory::fresh(mirrors))
            }
        };
        memory.place.belongs_to(name, index);
        Ok(Self {
            cursor: Cursor::new(),
            read_write: memory.mirrors.read_write(),
            read_only: memory.mirrors.read_only(),
            capacity,
            group,
            index,
            fresh: AtomicBool::new(memory.extent == 0),
            forks,
            generation,
            cache_key,
            pinned: AtomicUsize::new(0),
            is_uncacheable: AtomicBool::new(false),
            planned: AtomicUsize::new(0),
            protected: AtomicUsize::new(0),
            memory: ManuallyDrop::new(SlotMemory::Own(memory)),
            budget,
        })
    }

    /// The memory, if it is the slot's own.
    fn own(&self) -> Option<&Memory> {
        match &*self.memory {
            SlotMemory::Own(memory) => Some(memory),
            SlotMemory::Borrowed { .. } => None,
        }
    }

    /// Says why it has not that mirror, if it has not.
    pub(crate) fn check_mirror(&self, mirror: Mirror) -> Result<(), Error> {
        match mirror {
            Mirror::ReadWrite if !self.is_writable() => Err(Error::BorrowedReadOnly),
            Mirror::ReadOnly if self.read_only.is_some() => Ok(()),
            Mirror::ReadOnly if self.is_borrowed() => Err(Error::BorrowedWritable),
            Mirror::ReadOnly => Err(Error::NoMirror),
            Mirror::ReadWrite => Ok(()),
        }
    }

    /// Whether its bytes can be written: all but those that were borrowed to be read.
    pub(crate) fn is_writable(&self) -> bool {
        self.borrowed().is_none_or(|memory| memory.is_writable)
    }

    /// Takes bytes that are ready: the address of the first in the read-write mirror, or `None` if there are not enough.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        let start = self.cursor.bump(size, align)?;
        // SAFETY: the cursor returns offsets below what is ready, which is never more than the mapping holds.
        Some(unsafe { self.read_write.add(start) })
    }

    /// Takes all bytes that are ready: the address of the first in the read-write mirror, and how many there are.
    pub(crate) fn try_alloc_rest(&self) -> Option<(NonNull<u8>, usize)> {
        let taken = self.cursor.bump_rest()?;
        // SAFETY: as for bump.
        Some((unsafe { self.read_write.add(taken.start) }, taken.len()))
    }

    /// The offset behind a request that would be placed now; `None` if the slot has not that much room.
    pub(crate) fn end_of(&self, size: usize, align: usize) -> Option<usize> {
        layout::place(self.cursor.used(), size, align)
            .map(|place| place.end)
            .filter(|&end| end <= self.capacity && !self.is_frozen())
    }

    /// Takes the bytes from `start` up to `end` back, unless something behind them is taken. `used` says whether any of them
    /// may have been written to. Returns whether they were.
    ///
    /// # Safety
    /// Both must be addresses in this slot's read-write mirror, `end` perhaps one past its end. The bytes must have been
    /// taken, and from now on be nobody's.
    pub(crate) unsafe fn give_back(&self, start: usize, end: usize, used: bool) -> bool {
        let base = self.read_write.addr().get();
        if used {
            self.mark_reused();
        }
        self.cursor.give_back(start - base..end - base)
    }

    /// Notes that bytes which were in use may be handed out again.
    pub(crate) fn mark_reused(&self) {
        self.fresh.store(false, Ordering::Relaxed);
    }

    /// The offset of address `to`, if bytes that end at address `end` can grow up to there: nothing behind them is taken,
    /// and there is room.
    pub(crate) fn can_grow(&self, end: usize, to: usize) -> Option<usize> {
        let base = self.read_write.addr().get();
        let to = to - base;
        (to <= self.capacity && self.cursor.used() == end - base && !self.is_frozen()).then_some(to)
    }

    /// Makes the bytes from `start` to `end` longer for their owner, up to `to`, where that is committed; false, and nothing
    /// happens, if something behind them is taken. All three are addresses in the read-write mirror, or one past its end.
    pub(crate) fn grow(&self, start: usize, end: usize, to: usize) -> bool {
        let base = self.read_write.addr().get();
        self.cursor.grow(start - base..end - base, to - base)
    }

    /// Notes that somebody knows the bytes below an address by that address alone, as when an array was protected: none of
    /// them is to be taken back from its first owner, until all are.
    pub(crate) fn pin_below(&self, end: usize) {
        // Relaxed: who gives bytes back has seen all that was done with them.
        self.pinned.fetch_max(end - self.read_write.addr().get(), Ordering::Relaxed);
    }

    /// Whether the owner of bytes that begin at an address may give them back: not if they are known to others, in this
    /// process or in one of its family.
    pub(crate) fn takes_back(&self, start: usize) -> bool {
        start - self.read_write.addr().get() >= self.pinned.load(Ordering::Relaxed)
            && self.is_own()
            && !self.is_shared_with_a_child()
    }

    /// Whether this process opened the slot, and did not inherit it.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Bytes from an address in the read-write mirror to the end of what was handed out.
    pub(crate) fn used_from(&self, start: usize) -> usize {
        (self.read_write.addr().get() + self.cursor.used()).saturating_sub(start)
    }

    /// As `try_alloc` with offsets: see [`Cursor::bump_offsets`].
    pub(crate) fn try_alloc_offsets(&self, size: usize, align: usize) -> Option<(usize, usize)> {
        self.cursor.bump_offsets(size, align)
    }

    /// Bytes that can still be handed out at `align`.
    pub(crate) fn room(&self, align: usize) -> usize {
        self.room_below(self.capacity, align)
    }

    /// The same without committing any.
    pub(crate) fn ready_room(&self, align: usize) -> usize {
        self.room_below(self.cursor.ready(), align)
    }

    fn room_below(&self, end: usize, align: usize) -> usize {
        let start = layout::align_up(self.cursor.used(), align);
        start.map_or(0, |start| end.saturating_sub(start))
    }

    /// Bytes that are committed and not handed out.
    pub(crate) fn idle(&self) -> usize {
        self.ready_room(1)
    }

    /// The same with those that are not committed but resident: the kernel has given them already.
    pub(crate) fn idle_or_resident(&self) -> usize {
        self.room_below(self.cursor.ready().max(self.own().map_or(0, |memory| memory.resident)), 1)
    }

    /// Number of the group that opened the slot.
    #[inline(always)]
    pub(crate) fn group(&self) -> u64 {
        self.group
    }

    /// Bytes it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of the slot in its group, which one of borrowed memory has not.
    pub(crate) fn number(&self) -> Option<usize> {
        self.own().map(|_| self.index.get())
    }

    /// The same of a slot that is known to have one.
    pub(crate) fn index(&self) -> SlotIndex {
        self.index
    }

    /// Whether a request of `size` bytes that did not fit, and went to slot `went_to`, means that this slot is to be left
    /// for that one.
    pub(crate) fn is_done_by(&self, size: usize, went_to: SlotIndex) -> bool {
        let is_next = went_to.get() == self.index.get() + 1;
        layout::is_small_for(size, self.capacity)
            || is_next && layout::is_nearly_full(self.cursor.used(), self.capacity)
    }

    /// Whether memory handed out now was never used before, and so is zero.
    pub(crate) fn is_fresh(&self) -> bool {
        // Relaxed: who was given bytes that were in use before has seen, with the cursor, what was stored before them.
        self.fresh.load(Ordering::Relaxed)
    }

    /// Whether it holds secrets: what passes out of it or into it must not stay elsewhere.
    pub(crate) fn is_secret(&self) -> bool {
        self.budget.is_secret()
    }

    /// A count of protected bytes, for a layer above to keep.
    pub(crate) fn protected(&self) -> &AtomicUsize {
        &self.protected
    }

    pub(crate) fn stats(&self) -> SlotStats {
        SlotStats {
            index: self.index.get(),
            capacity: self.capacity,
            allocated: self.cursor.used(),
            committed: self.cursor.ready(),
            huge: self.own().map_or(0, |memory| memory.mirrors.huge_bytes(self.cursor.ready())),
            mapped: self.own().map_or(0, |memory| memory.mirrors.mapped()),
        }
    }
}

/// What the [loom tests](crate::loom_tests) ask.
#[cfg(all(test, loom))]
impl Slot {
    fn memory_for_loom(&self) -> &Mirrors {
        &self.own().unwrap().mirrors
    }

    pub(crate) fn touch(&self, address: NonNull<u8>) {
        self.memory_for_loom().own(self.offset_of(address));
    }

    pub(crate) fn touch_first(&self) {
        self.memory_for_loom().own(0);
    }

    pub(crate) fn at_start(&self) -> usize {
        self.read_write.addr().get()
    }

    pub(crate) fn mapped(&self) -> usize {
        self.memory_for_loom().mapped()
    }

    pub(crate) fn times_hidden(&self) -> usize {
        self.memory_for_loom().times_hidden()
    }
}
