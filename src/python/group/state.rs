//! The life of a group: what may be used when, and what each end takes away.
//!
//! | | blocks | what exporters hold |
//! | --- | --- | --- |
//! | open | usable in the epoch they were made in | – |
//! | after a reset | freed | stays untouched until they die |
//! | ended (gently) | freed, but for exporters | stays untouched until they die |
//! | freed | freed | stays untouched until they die, secrets overwritten |
//! | freed by force | freed | addresses stay reserved, without access, until they die |
//!
//! Slots are kept by reference counts alone: the group holds one reference to each, every exporter another.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

use crate::list::Columns;
use crate::list::layout::Run;
use crate::python::ffi::text::plural;
use crate::python::group::free_ranges::FreeRanges;
use crate::python::group::gil_chunk::{GilChunk, Last};
use crate::python::group::raw::{Claim, LiveBlock, RawBlock};
use crate::slot::{BorrowedMemory, LiveSlots, Mirror, Owner, Slot, SlotPtr, SlotRef, Taken};

/// A group and where it is in its state.
pub(crate) struct GroupState {
    group: crate::MemGroup,
    /// Taken from the group and not handed out yet.
    gil_chunk: GilChunk,
    last: Last,
    free_ranges: FreeRanges,
    phase: Phase,
    /// Grows with every reset: a block is good in the epoch that it was made in.
    epoch: u64,
    /// Slots that the group has let go and that exporters may keep.
    aside: Vec<Weak<Slot>>,
    /// What numpy's arrays are allocated from, which may hold pointers to objects of this process: memory that a fork copies,
    /// and that is never taken away from those who hold it.
    private: Option<Box<Self>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Ended gently: exporters live on.
    Ended,
    Freed,
}

impl GroupState {
    pub(crate) fn new(group: crate::MemGroup) -> Self {
        Self {
            group,
            gil_chunk: GilChunk::default(),
            last: Last::default(),
            free_ranges: FreeRanges::default(),
            phase: Phase::Open,
            epoch: 0,
            aside: Vec::new(),
            private: None,
        }
    }

    /// Sees to it that there is private memory.
    pub(crate) fn open_private(&mut self) -> Result<(), crate::Error> {
        if self.private.is_none() {
            let (phase, epoch) = (self.phase, self.epoch);
            self.private = Some(Box::new(Self { phase, epoch, ..Self::new(self.group.private()?) }));
        }
        Ok(())
    }

    /// What is allocated from private memory, if there is any.
    pub(crate) fn private(&self) -> Option<&Self> {
        self.private.as_deref()
    }

    /// The group, for what does not depend on its life: its options.
    pub(crate) fn group(&self) -> &crate::MemGroup {
        &self.group
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The epoch that blocks are made in now.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    #[inline(always)]
    pub(crate) fn check_open(&self) -> Result<(), Unavailable> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Ended => Err(Unavailable::Ended),
            Phase::Freed => Err(Unavailable::Freed),
        }
    }

    /// Whether what a view holds is still accessible: a strict end refuses over views, so a freed group was freed by force.
    pub(crate) fn keeps_memory(&self) -> bool {
        self.phase != Phase::Freed
    }

    /// Whether the bytes of a piece or a list of this group may be touched. If so, its slots are there while the group is
    /// looked at: the group holds them or, after a gentle end, the exporter that asks.
    #[inline(always)]
    pub(crate) fn check(&self, claim: Claim) -> Result<LiveSlots<'_>, Unavailable> {
        let is_there = self.phase == Phase::Open && self.epoch == claim.epoch;
        if !is_there {
            match self.phase {
                Phase::Freed => return Err(Unavailable::Freed),
                _ if self.epoch != claim.epoch => return Err(Unavailable::Reset),
                Phase::Ended if !claim.by_exporter => return Err(Unavailable::Ended),
                _ => {}
            }
        }
        // SAFETY: every end of a group borrows it uniquely, and changes the epoch or the phase. So while this borrow lasts, the
        // slots that this epoch's pieces and lists lie in are the group's or, of an exporter, its own.
        Ok(unsafe { LiveSlots::new() })
    }

    /// Bytes that are ready: of the chunk or, without a GIL, of the current slot. `None` if there are not enough, or the
    /// group is not open.
    #[inline(always)]
    pub(crate) fn try_alloc(&self, attached: Python<'_>, size: usize, align: usize) -> Option<RawBlock> {
        if cfg!(Py_GIL_DISABLED) {
            self.check_open().ok()?;
            return self.group.try_alloc(size, align).map(|taken| self.piece(taken, size));
        }
        // An empty chunk has enough for nobody, and the chunk of a group that has ended is empty.
        let (address, slot) = self.gil_chunk.try_alloc(attached, size, align)?;
        Some(RawBlock { address, len: size, slot, epoch: self.epoch })
    }

    /// Bytes that are ready in the current slot; see [`crate::MemGroup::try_alloc`].
    pub(crate) fn try_alloc_in_slot(
        &self,
        attached: Python<'_>,
        size: usize,
        align: usize,
    ) -> Result<Option<RawBlock>, Unavailable> {
        self.check_open()?;
        self.gil_chunk.give_back(attached);
        let taken = self.group.try_alloc(size, align).map(|taken| self.piece(taken, size));
        if taken.is_some() {
            self.fill_chunk(attached);
        }
        Ok(taken)
    }

    /// Bytes that may have to be committed first; see [`crate::MemGroup::alloc_slow`].
    pub(crate) fn alloc_slow(&self, size: usize, align: usize) -> Result<Result<RawBlock, crate::Error>, Unavailable> {
        self.check_open()?;
        Ok(self.group.alloc_slow(size, align).map(|taken| self.piece(taken, size)))
    }

    /// Makes what is ready in the current slot the chunk, unless there is one.
    pub(crate) fn fill_chunk(&self, attached: Python<'_>) {
        // Without a GIL, threads that are attached would share the chunk.
        if cfg!(not(Py_GIL_DISABLED))
            && self.gil_chunk.is_empty()
            && let Some(slot) = self.group.current()
        {
            self.gil_chunk.fill(attached, slot);
        }
    }

    /// Room for a whole list in what is ready; see [`crate::MemGroup::try_alloc_many`].
    pub(crate) fn try_alloc_many(&self, attached: Python<'_>, columns: &Columns) -> Result<Option<Runs>, Unavailable> {
        self.check_open()?;
        self.gil_chunk.give_back(attached);
        Ok(self.group.try_alloc_many(columns).map(|runs| Runs { runs, epoch: self.epoch }))
    }

    /// The same with memory that may have to be committed first; see [`crate::MemGroup::alloc_many_slow`].
    pub(crate) fn alloc_many_slow(&self, columns: &Columns) -> Result<Result<Runs, crate::Error>, Unavailable> {
        self.check_open()?;
        Ok(self.group.alloc_many_slow(columns).map(|runs| Runs { runs, epoch: self.epoch }))
    }

    #[inline(always)]
    fn piece(&self, taken: Taken<'_>, len: usize) -> RawBlock {
        RawBlock { address: taken.address, len, slot: taken.slot.as_ptr(), epoch: self.epoch }
    }

    /// A piece that was just found in a slot of the group.
    fn live(&self, piece: RawBlock) -> LiveBlock<'_> {
        // SAFETY: the slot is one of the group's, by the caller's word.
        unsafe { LiveBlock::new(piece, self.group.live_slots()) }
    }

    /// The bytes at these addresses, and the mirror that they are seen through, if they live in the group.
    pub(crate) fn find(&self, addresses: &Range<usize>) -> Result<Option<(LiveBlock<'_>, Mirror)>, Unavailable> {
        let private = self.private().map_or(Ok(None), |private| private.find(addresses))?;
        Ok(self.find_shared(addresses)?.or(private))
    }

    /// The same for memory that is not private.
    pub(crate) fn find_shared(&self, addresses: &Range<usize>) -> Result<Option<(LiveBlock<'_>, Mirror)>, Unavailable> {
        self.check_open()?;
        Ok(self.group.locate(addresses).map(|(slot, mirror, address)| {
            let piece = RawBlock { address, len: addresses.len(), slot: slot.as_ptr(), epoch: self.epoch };
            (self.live(piece), mirror)
        }))
    }

    /// A block of memory of another owner, who is let go if there is no room for one.
    pub(crate) fn borrow(
        &self,
        memory: BorrowedMemory,
    ) -> Result<Result<(RawBlock, Mirror), crate::Error>, Unavailable> {
        self.check_open()?;
        Ok(self.group.borrow_memory(memory).map(|slot| {
            let mirror = if slot.is_writable() { Mirror::ReadWrite } else { Mirror::ReadOnly };
            // SAFETY: the offset is at most the capacity.
            let address = unsafe { slot.at(0) };
            (RawBlock { address, len: slot.capacity(), slot: slot.as_ptr(), epoch: self.epoch }, mirror)
        }))
    }

    /// What the group has of the bytes at these addresses already: as they are to be shown, if it can show them so.
    pub(crate) fn known(&self, addresses: &Range<usize>, is_writable: bool) -> Option<Known> {
        let private = self.private().and_then(|private| private.known(addresses, is_writable));
        let mut owner = None;
        let mut slots = self.group.slots().chain(self.group.borrowed_slots());
        let block = slots.find_map(|slot| {
            let (from, address) = slot.locate(addresses)?;
            let piece = RawBlock { address, len: addresses.len(), slot: slot.as_ptr(), epoch: self.epoch };
            let to = if is_writable { Mirror::ReadWrite } else { Mirror::ReadOnly };
            // SAFETY: locate has just found it in that mirror.
            let moved = unsafe { self.live(piece).move_to(from, to) };
            if moved.is_some() {
                // SAFETY: the same.
                unsafe { self.live(piece).pin(from) };
            } else if !is_writable {
                owner.get_or_insert(slot);
            }
            Some(Known::Block(moved?, to))
        });
        let owner = owner.map(|slot: SlotRef<'_>| Known::Owner(Box::new(slot.share())));
        block.or(owner).or(private)
    }

    /// The owners of what the group alone has borrowed.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.group.borrowed_slots().filter(|slot| slot.is_unshared()).filter_map(|slot| slot.get().owner())
    }

    /// What the group holds, and how many committed bytes are in slots that it has let go and that exporters keep. The
    /// address space counts both. A group that has ended gently still tells.
    pub(crate) fn stats(&self, attached: Python<'_>) -> Result<(crate::Stats, usize), Unavailable> {
        if self.phase == Phase::Freed {
            return Err(Unavailable::Freed);
        }
        let states = [Some(self), self.private()];
        let states = || states.into_iter().flatten();
        states().for_each(|state| state.gil_chunk.give_back(attached)); // it was not handed out
        // Held meanwhile, so that each is in all sums.
        let aside: Vec<_> = states().flat_map(|state| &state.aside).filter_map(Weak::upgrade).collect();
        let mut stats = self.group.stats_with(self.private().map(Self::group));
        let mut held = 0;
        for slot in aside.iter().map(|slot| slot.stats()) {
            stats.mapped += slot.mapped;
            held += slot.committed;
        }
        Ok((stats, held))
    }

    /// How many bytes of each slot `protect` has handed out, in the order of [`stats`](Self::stats).
    pub(crate) fn protected(&self) -> impl Iterator<Item = usize> {
        let private = self.private().into_iter().flat_map(|private| private.group.slots());
        self.group.slots().chain(private).map(|slot| slot.protected().load(Ordering::Relaxed))
    }

    /// Begins anew: blocks are freed, memory stays. What is to be dropped is returned.
    pub(crate) fn reset(&mut self, attached: Python<'_>, views: usize) -> Result<Vec<Arc<Slot>>, Refusal> {
        self.check_open().map_err(Refusal::Unavailable)?;
        check_unseen(views, "reset")?;
        self.epoch += 1;
        self.free_ranges.clear(attached);
        self.gil_chunk.give_back(attached);
        let mut let_go = self.group.rewind();
        self.set_aside(&let_go);
        if let Some(private) = &mut self.private {
            let_go.append(&mut private.reset(attached, views)?);
        }
        Ok(let_go)
    }

    /// The gentle end. What is to be dropped is returned, or `None` if the group had ended before.
    pub(crate) fn end(&mut self, attached: Python<'_>) -> Option<Vec<Arc<Slot>>> {
        self.check_open().ok()?;
        self.phase = Phase::Ended;
        self.free_ranges.clear(attached);
        self.gil_chunk.give_back(attached);
        let mut let_go = self.group.release();
        self.set_aside(&let_go);
        let private = self.private.as_mut().and_then(|private| private.end(attached));
        let_go.extend(private.into_iter().flatten());
        Some(let_go)
    }

    /// The strict end, or with `force` the one that leaves nothing to views and exporters either. After a strict end, a
    /// forced one takes what that has left to exporters.
    pub(crate) fn free(&mut self, attached: Python<'_>, views: usize, force: bool) -> Result<LetGo, Refusal> {
        if self.phase != Phase::Freed && !force {
            check_unseen(views, "free")?;
        }
        let private = self.private.as_mut().map_or_else(Vec::new, |private| private.let_go(attached));
        Ok(LetGo { slots: self.let_go(attached), private, force })
    }

    /// Takes every slot away from a group that is freed from now on.
    fn let_go(&mut self, attached: Python<'_>) -> Vec<Arc<Slot>> {
        self.phase = Phase::Freed;
        self.free_ranges.clear(attached);
        self.gil_chunk.give_back(attached);
        let mut slots = self.group.release();
        slots.extend(self.aside.drain(..).filter_map(|slot| slot.upgrade()));
        // Arrays that numpy allocated here look for their slots when they die.
        self.aside.extend(slots.iter().filter(|slot| Arc::strong_count(slot) > 1).map(Arc::downgrade));
        slots
    }

    fn set_aside(&mut self, let_go: &[Arc<Slot>]) {
        self.aside.retain(|slot| slot.strong_count() > 0);
        self.aside.extend(let_go.iter().map(Arc::downgrade));
    }
}

/// What an allocator of somebody else's needs, which may neither wait nor raise. The caller counts the views, and holds the
/// slots. Sizes are multiples of the alignment, so that what is taken in turn lies one behind the other without a gap.
impl GroupState {
    /// Bytes by whatever path gives some, without letting go of the GIL. `None` if there are none to be had.
    pub(crate) fn alloc_attached(&self, attached: Python<'_>, size: usize, align: usize) -> Option<LiveBlock<'_>> {
        debug_assert!(size > 0 && size.is_multiple_of(align));
        let piece = match self.try_alloc_free_range(attached, size).or_else(|| self.try_alloc(attached, size, align)) {
            Some(piece) => piece,
            None => match self.try_alloc_in_slot(attached, size, align).ok()? {
                Some(piece) => piece,
                None => {
                    let piece = self.alloc_slow(size, align).ok()?.ok()?;
                    self.fill_chunk(attached);
                    piece
                }
            },
        };
        self.last.set(attached, piece.address.addr().get(), size);
        Some(self.live(piece))
    }

    /// Bytes that others have left.
    fn try_alloc_free_range(&self, attached: Python<'_>, size: usize) -> Option<RawBlock> {
        let (slot, start) = self.free_ranges.take(attached, size)?;
        // SAFETY: what is left is forgotten before the group lets a slot go.
        let known = unsafe { self.group.live_slots().get(slot) };
        // Others may know the bytes since, or this may be a child.
        if !known.takes_back(start) {
            return None;
        }
        let (_, address) = known.locate(&(start..start + size))?;
        Some(RawBlock { address, len: size, slot, epoch: self.epoch })
    }

    /// The slot that an address in a read-write mirror is in, even of a slot that the group has let go, if anyone holds it.
    pub(crate) fn slot_of(&self, address: usize) -> Option<SlotPtr> {
        let bytes = address..address + 1;
        let current = self.group.current().filter(|slot| slot.locate(&bytes).is_some());
        if let Some(slot) = current.or_else(|| Some(self.group.locate(&bytes)?.0)) {
            return Some(slot.as_ptr());
        }
        let mut aside = self.aside.iter().filter_map(Weak::upgrade);
        // The reference that somebody else holds keeps it where it is.
        aside.find(|slot| slot.locate(&bytes).is_some()).and_then(|slot| SlotPtr::new(Arc::as_ptr(&slot).cast_mut()))
    }

    /// Takes bytes back that nobody else knows: at once if they were handed out last, else to be left to others. Returns
    /// whether it took them.
    ///
    /// # Safety
    /// They must be `size` bytes of that slot, which somebody holds, got from [`alloc_attached`](Self::alloc_attached) and
    /// nobody's any more.
    pub(crate) unsafe fn take_back(&self, attached: Python<'_>, slot: SlotPtr, address: usize, size: usize) -> bool {
        // SAFETY: the caller says that it lives.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is the slot that this was made for.
        let known = unsafe { slots.get(slot) };
        if !self.is_open() || !known.takes_back(address) {
            return false;
        }
        known.mark_reused();
        let (mut start, mut end) = (address, address + size);
        // SAFETY: the caller's promise; and what is left is nobody's.
        while unsafe { self.take_end_back(attached, slot, start, end) } {
            match self.free_ranges.take_before(attached, slot, start) {
                Some(before) if known.takes_back(before) => (start, end) = (before, start),
                _ => return true,
            }
        }
        self.free_ranges.put(attached, slot, start, end);
        true
    }

    /// Takes bytes back if they were handed out last.
    ///
    /// # Safety
    /// As for [`take_back`](Self::take_back).
    unsafe fn take_end_back(&self, attached: Python<'_>, slot: SlotPtr, start: usize, end: usize) -> bool {
        if self.gil_chunk.is_of(slot) {
            return self.gil_chunk.take_back(attached, start, end);
        }
        // SAFETY: the caller says that the slot lives.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is the slot that this was made for.
        let known = unsafe { slots.get(slot) };
        // SAFETY: the caller's promise.
        unsafe { known.give_back(start, end, true) }
    }

    /// Makes bytes longer or shorter where they are, which only those that were handed out last can be. Returns how many
    /// there were before, if it did.
    ///
    /// # Safety
    /// As for [`take_back`](Self::take_back), but they are still the caller's.
    pub(crate) unsafe fn resize(
        &self,
        attached: Python<'_>,
        slot: SlotPtr,
        address: usize,
        size: usize,
    ) -> Option<usize> {
        let before = self.last.size_of(attached, address)?;
        let (end, to) = (address + before, address + size);
        if !self.is_open() {
            return None;
        }
        // SAFETY: the caller says that it lives.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is the slot that this was made for.
        let known = unsafe { slots.get(slot) };
        if to < end {
            // SAFETY: the end of what is the caller's is nobody's from now on. Whether it is taken back makes no difference.
            unsafe { self.take_back(attached, slot, to, end - to) };
        } else if to > end && !(self.gil_chunk.is_of(slot) && self.gil_chunk.resize(attached, end, to)) {
            self.gil_chunk.give_back(attached);
            let has_grown = self.group.grow(known.get(), address, end, to);
            self.fill_chunk(attached);
            if !has_grown {
                return None;
            }
        }
        self.last.set(attached, address, size);
        Some(before)
    }
}

/// What a group has of bytes that it is to borrow.
pub(crate) enum Known {
    /// The bytes, as they are to be shown.
    Block(RawBlock, Mirror),
    /// What keeps them, but not a mirror through which nobody can write.
    Owner(Owner),
}

/// Where the objects of a list are, while the epoch lasts.
pub(crate) struct Runs {
    pub(crate) runs: Box<[Run]>,
    pub(crate) epoch: u64,
}

impl Runs {
    pub(crate) fn claim(&self) -> Claim {
        Claim { epoch: self.epoch, by_exporter: false }
    }
}

/// Slots that a freed group has let go: nothing is allocated from them, and no block of theirs can be used any more.
pub(crate) struct LetGo {
    slots: Vec<Arc<Slot>>,
    /// Of private memory.
    private: Vec<Arc<Slot>>,
    /// Whether exporters are to lose their memory as well, but for what is private.
    force: bool,
}

impl LetGo {
    /// Gives the memory back, but for slots that exporters hold. Those stay as they are until the exporters die, with secrets
    /// overwritten; with `force` their memory goes too, and their addresses stay reserved without access. Private memory stays
    /// even so: numpy has to let go of the objects in there, and makes no object of zeros. Returns how many committed bytes
    /// exporters still hold.
    pub(crate) fn give_back(self) -> usize {
        let shared = |slot: &&Arc<Slot>| Arc::strong_count(slot) > 1;
        let end = if self.force { revoke } else { set_aside };
        let held: usize = self.slots.iter().filter(shared).map(|slot| end(slot)).sum();
        held + self.private.iter().filter(shared).map(|slot| set_aside(slot)).sum::<usize>()
    }
}

fn revoke(slot: &Slot) -> usize {
    // SAFETY: only LetGo calls this, which GroupState::free makes: nobody allocates from the slot any more. This layer makes no Rust
    // reference into group memory, and its raw accesses are over: they hold the group's lock, or are a view's that was overruled.
    unsafe { slot.revoke() };
    0
}

fn set_aside(slot: &Slot) -> usize {
    slot.overwrite_secrets();
    slot.stats().committed
}

fn check_unseen(views: usize, end: &'static str) -> Result<(), Refusal> {
    if views == 0 { Ok(()) } else { Err(Refusal::Views { views, end }) }
}

/// Why a block or a group cannot be used any more.
#[derive(Clone, Copy)]
pub(crate) enum Unavailable {
    Reset,
    Ended,
    Freed,
}

impl Unavailable {
    #[cold]
    pub(crate) fn error(self, group: &str) -> PyErr {
        PyValueError::new_err(match self {
            Self::Reset => format!("this block was freed when its group {group:?} was reset: allocate a new one"),
            Self::Ended => format!("the group {group:?} has ended and is freed: use it within its with block"),
            Self::Freed => format!("the group {group:?} is freed: make a new one"),
        })
    }
}

/// Why the end of a group was refused.
pub(crate) enum Refusal {
    Unavailable(Unavailable),
    /// So many views, and the end that they stand in the way of.
    Views {
        views: usize,
        end: &'static str,
    },
}

impl Refusal {
    pub(crate) fn error(self, group: &str) -> PyErr {
        match self {
            Self::Unavailable(why) => why.error(group),
            Self::Views { views, end } => {
                let force = if end == "free" { ", or pass force=True" } else { "" };
                PyBufferError::new_err(format!(
                    "cannot {end} the group {group:?}, it has {views} live view{}: release memoryviews and delete \
                     arrays made from its blocks{force}",
                    plural(views),
                ))
            }
        }
    }
}
