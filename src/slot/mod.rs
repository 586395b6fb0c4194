//! One slot: its mirrors, its cursor, how far it is committed.

mod address;
mod borrowed;
pub(crate) mod budget;
pub(crate) mod cache;
mod cursor;
mod slot_ref;

use std::iter::Sum;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::error::Error;
use crate::fault::SlotRegistration;
use crate::layout::{self, HugePages, SlotIndex};
use crate::os::headroom::Grant;
use crate::os::{self, Backing, Mirrors, Refusal, SharedFile, fork};
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
    /// Bytes handed out, the gaps between blocks among them.
    pub allocated: usize,
    /// Bytes committed: accounted for as memory that the group uses.
    pub committed: usize,
    /// Those of them that are in huge pages.
    pub huge: usize,
    /// Address space of its mirrors, in bytes.
    pub mapped: usize,
}

/// What slots use, and what they committed for the sake of huge pages alone and do not use, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) used: usize,
    pub(crate) wasted: usize,
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self { used: sum.used + one.used, wasted: sum.wasted + one.wasted })
    }
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

    /// A slot that shows memory of another owner, for a group of that name.
    pub(crate) fn of_borrowed(memory: BorrowedMemory, name: &str, group: u64, budget: Arc<Budget>) -> Self {
        Self {
            cursor: Cursor::new(),
            read_write: memory.start,
            read_only: (!memory.is_writable).then_some(memory.start),
            capacity: memory.len,
            group,
            index: SlotIndex::FIRST,
            fresh: AtomicBool::new(false),
            forks: fork::count(),
            generation: fork::generation(),
            cache_key: None,
            pinned: AtomicUsize::new(0),
            is_uncacheable: AtomicBool::new(true),
            planned: AtomicUsize::new(0),
            protected: AtomicUsize::new(0),
            memory: ManuallyDrop::new(SlotMemory::Borrowed { place: memory.place(name), memory }),
            budget,
        }
    }

    /// The memory, if it is the slot's own.
    fn own(&self) -> Option<&Memory> {
        match &*self.memory {
            SlotMemory::Own(memory) => Some(memory),
            SlotMemory::Borrowed { .. } => None,
        }
    }

    /// The memory, if it is somebody else's.
    fn borrowed(&self) -> Option<&BorrowedMemory> {
        match &*self.memory {
            SlotMemory::Own(_) => None,
            SlotMemory::Borrowed { memory, .. } => Some(memory),
        }
    }

    /// What keeps the memory, if that is somebody else's.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        self.borrowed().map(BorrowedMemory::owner)
    }

    /// Whether the memory is somebody else's.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed().is_some()
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

    /// How far to commit so that all below offset `end` is ready; `None` if it is. `elsewhere` says what the group's other
    /// slots use and waste.
    pub(crate) fn window(&self, end: usize, elsewhere: impl FnOnce() -> Usage) -> Option<layout::Commit> {
        let (ready, memory) = (self.cursor.ready(), self.own()?);
        if end <= ready {
            return None;
        }
        let small = layout::commit(ready, end, self.capacity, memory.mirrors.granule());
        Some(memory.mirrors.huge_page().map_or(small, |size| {
            let base = self.capacity >> self.index.get();
            let Usage { used, wasted } = elsewhere();
            let pages = HugePages::new(size, base, used + end, wasted).within(self.budget.remaining());
            pages.widen(small, ready, self.capacity)
        }))
    }

    /// What of it is used, and what was committed for the sake of huge pages alone and is not.
    pub(crate) fn usage(&self) -> Usage {
        let used = self.cursor.used();
        Usage { used, wasted: self.cursor.ready().saturating_sub(used.max(self.planned.load(Ordering::Relaxed))) }
    }

    /// Commits up to offset `to`, beyond what is ready, in huge pages where they are to be had and that are no more than
    /// `most_huge` bytes. Only the thread that holds the lock of the slot's table may.
    pub(crate) fn commit_to(&self, to: usize, most_huge: usize) -> Result<(), Error> {
        // What is borrowed is there.
        let Some(memory) = self.own() else { return Ok(()) };
        let (more, from) = self.cold_part(memory, to);
        let cold = if memory.mirrors.are_in_files() { 0 } else { to - from };
        let mut grant = self.budget.take(more, cold)?;
        let as_huge = cold <= most_huge && may_be_huge(&memory.mirrors, &mut grant, from, to);
        self.populate(&memory.mirrors, from, to, as_huge, &grant).inspect_err(|_| self.budget.give_back(more))?;
        self.extend(to, to);
        Ok(())
    }

    /// The same for the sake of huge pages alone: whether they may be had. If not, nothing is committed. Without them the slot
    /// would be committed up to `planned`.
    pub(crate) fn commit_huge(&self, to: usize, planned: usize, most_huge: usize) -> bool {
        let Some(memory) = self.own() else { return false };
        let (more, from) = self.cold_part(memory, to);
        let cold = to - from;
        let Ok(mut grant) = self.budget.take(more, cold) else { return false };
        let may_be_huge = cold <= most_huge && may_be_huge(&memory.mirrors, &mut grant, from, to);
        let done = may_be_huge && self.populate(&memory.mirrors, from, to, true, &grant).is_ok();
        match done {
            true => self.extend(to, planned),
            false => self.budget.give_back(more),
        }
        done
    }

    fn extend(&self, to: usize, planned: usize) {
        // Relaxed: only those who hold the lock of the slot's table look at it.
        self.planned.store(planned, Ordering::Relaxed);
        self.cursor.extend(to);
    }

    /// How many bytes the group has to answer for, if the slot is committed that far, and where those begin for which the
    /// machine is asked: they lie beyond the resident part.
    fn cold_part(&self, memory: &Memory, to: usize) -> (usize, usize) {
        let ready = self.cursor.ready();
        (to - ready, ready.max(memory.resident).min(to))
    }

    fn populate(&self, mirrors: &Mirrors, from: usize, to: usize, as_huge: bool, grant: &Grant) -> Result<(), Error> {
        let cold = to - from;
        if cold == 0 {
            return Ok(());
        }
        if self.budget.is_secret() {
            return mirrors.commit_locked(from, to).map_err(|unlocked| {
                unlocked.error(cold, || format!("locking {cold} bytes of slot {} in memory", self.index.get()))
            });
        }
        let ahead = cold <= layout::MAX_WINDOW.max(mirrors.granule()) || grant.must_populate();
        let committed = match as_huge {
            true => mirrors.commit_huge(from, to, ahead),
            false => mirrors.commit(from, to, ahead),
        };
        committed.map_err(|refusal| {
            // Some of it may be there now, and nobody knows how much.
            self.is_uncacheable.store(true, Ordering::Relaxed);
            refusal.during(format!("committing {cold} bytes of slot {}", self.index.get()))
        })
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

    /// Whether a child, forked since the slot was opened, may still use what was handed out of it.
    pub(crate) fn is_shared_with_a_child(&self) -> bool {
        // Nobody knows of what is borrowed.
        self.own().is_none_or(|memory| memory.mirrors.are_shared_by_forks() && self.forks != fork::count())
    }

    /// The file of the memory, where other processes may be given it.
    pub(crate) fn shared(&self) -> Option<&std::sync::Arc<SharedFile>> {
        self.own()?.mirrors.shared()
    }

    /// Whether other processes may read the memory, or nobody can write to it any more: it is not to be used again.
    pub(crate) fn is_given_away(&self) -> bool {
        self.shared().is_some_and(|shared| shared.is_given_away())
    }

    /// Whether nobody can write to the memory any more.
    pub(crate) fn is_frozen(&self) -> bool {
        self.shared().is_some_and(|shared| shared.is_frozen())
    }

    /// The other processes that can write to the memory, as far as they can be found.
    pub(crate) fn other_writers(&self) -> Vec<u32> {
        let may_have_some = self.is_shared_with_a_child() || !self.is_own();
        self.shared().filter(|_| may_have_some).map_or_else(Vec::new, |shared| shared.other_writers())
    }

    /// Makes the memory what nobody can write to, and hands out no more of it; see [`Mirrors::freeze`].
    ///
    /// # Safety
    /// No unique Rust reference into the slot may be left, and nobody may allocate from it meanwhile.
    pub(crate) unsafe fn freeze(&self) -> Result<(), Error> {
        let Some(memory) = self.own() else { return Ok(()) };
        let _rest = self.cursor.bump_rest();
        // SAFETY: no unique reference into the mirrors is left, as the contract says.
        let frozen = unsafe { memory.mirrors.freeze() };
        memory.place.is_frozen();
        frozen.map_err(|refusal| refusal.during(format!("freezing slot {}", self.index.get())))
    }

    /// Finds memory for what of the bytes `start..end`, all handed out, was never touched, so that others can read them.
    pub(crate) fn fill_holes(&self, start: usize, end: usize) -> Result<(), Error> {
        let refused = |refusal: Refusal| refusal.during(format!("committing slot {} to be sent", self.index.get()));
        self.own().map_or(Ok(()), |memory| memory.mirrors.fill_holes(start, end)).map_err(refused)
    }

    /// Takes all bytes back and keeps the memory, for a group that begins anew.
    pub(crate) fn rewind(&mut self) {
        if self.cursor.used() > 0 {
            self.fresh.store(false, Ordering::Relaxed);
        }
        if self.budget.is_secret()
            && let Some(memory) = self.own()
        {
            memory.mirrors.wipe(self.cursor.ready());
            self.fresh.store(true, Ordering::Relaxed);
        }
        self.cursor.rewind();
        self.protected.store(0, Ordering::Relaxed);
        self.pinned.store(0, Ordering::Relaxed);
        // What lived there may have been values with padding.
        opaque(self.read_write);
    }

    /// Gives the memory back and keeps the addresses without access; see [`Mirrors::revoke`]. What is borrowed stays, for it is
    /// not the slot's to give.
    ///
    /// # Safety
    /// No Rust reference into the slot may be left, and nobody may allocate from it any more.
    pub(crate) unsafe fn revoke(&self) {
        let Some(memory) = self.own() else { return };
        self.is_uncacheable.store(true, Ordering::Relaxed);
        let committed = self.cursor.close();
        self.wipe_secrets(committed);
        self.budget.give_back(committed);
        memory.place.is_freed();
        // SAFETY: no Rust reference into the mirrors is left and nobody allocates from them any more, as the contract
        // says.
        unsafe { memory.mirrors.revoke() };
    }

    /// Overwrites what is committed, if it is secret, of a slot that others hold beyond the end of its group.
    pub(crate) fn overwrite_secrets(&self) {
        self.wipe_secrets(self.cursor.ready());
    }

    /// Overwrites what was handed out, if it was secret, of a slot that is committed that far.
    ///
    /// What the mirrors share with other processes only the process that opened the slot overwrites, for all of them: secrets
    /// end where their owner ends them, and a child that is done with its copy of a group does not take them from its parent.
    /// Private memory is everyone's own.
    fn wipe_secrets(&self, committed: usize) {
        let Some(Memory { mirrors, .. }) = self.own() else { return };
        let is_own = self.generation == fork::generation() || !mirrors.are_shared_by_forks();
        if self.budget.is_secret() && is_own {
            mirrors.wipe(committed);
        }
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

/// Whether huge pages are to be made of what is committed from one offset to another: one fits, and the kernel is not near its
/// limits, for refusing takes it long.
fn may_be_huge(mirrors: &Mirrors, grant: &mut Grant, from: usize, to: usize) -> bool {
    mirrors.huge_page().is_some_and(|size| {
        let len = to.saturating_sub(layout::first_huge_page(from, size)) / size * size;
        let has_extra = len > 0 && grant.claim_extra(len.min(size.saturating_mul(layout::MAX_COLLAPSED_AT_ONCE)));
        if len > 0 && !has_extra {
            mirrors.skip_huge_pages();
        }
        has_extra
    })
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A child would have mappings that nobody knows of.
        let no_fork = fork::hold_off();
        let committed = self.cursor.close();
        self.wipe_secrets(committed);
        self.budget.give_back(committed);
        // SAFETY: this is the only place that takes it, and nothing looks at it afterwards.
        let memory = match unsafe { ManuallyDrop::take(&mut self.memory) } {
            SlotMemory::Own(memory) => memory,
            SlotMemory::Borrowed { memory, place } => {
                drop(place);
                // An owner may be anything, and take its time.
                drop(no_fork);
                return drop(memory);
            }
        };
        // Relaxed: dropping the last reference has made all that was done through others visible here.
        let is_uncacheable = self.is_uncacheable.load(Ordering::Relaxed);
        // What came from another process of the family, or went to one, may still be used there.
        let is_private = self.generation == fork::generation() && self.forks == fork::count();
        match self.cache_key {
            Some(key) if is_private && !is_uncacheable => cache::keep(key, memory, committed, self.group, self.forks),
            _ => drop(memory),
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
