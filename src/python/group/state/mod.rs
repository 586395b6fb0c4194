//! The state of a group: what may be used when, and what each end takes away.
//!
//! | | blocks | what exporters hold |
//! | --- | --- | --- |
//! | open | usable in the epoch they were made in | – |
//! | after a reset | freed | stays untouched until they die |
//! | ended (gently) | freed, but for exporters | stays untouched until they die |
//! | freed | freed | stays untouched until they die, secrets overwritten |
//! | freed by force | freed | addresses stay reserved, without access, until they die |
//!
//! `alloc` hands out what is usable, until `freeze` ends that, and `attach` shows what other processes have sent. `find` finds it again, `take_back` takes back what numpy has got, and `let_go` is what an end
//! leaves to be given back.
//!
//! Slots are kept by reference counts alone: the group holds one reference to each, every exporter another.

mod alloc;
mod attach;
mod find;
mod freeze;
mod let_go;
mod refusal;
mod take_back;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use pyo3::prelude::*;

use crate::python::group::free_ranges::FreeRanges;
use crate::python::group::gil_chunk::{GilChunk, Last};
use crate::python::group::raw::Claim;
use crate::slot::{LiveSlots, Slot, SlotPtr};
pub(crate) use alloc::Runs;
pub(crate) use find::Known;
pub(crate) use let_go::LetGo;
use refusal::check_unseen;
pub(crate) use refusal::{EndRefused, Unavailable};

/// A group and where it is in its state.
pub(crate) struct GroupState {
    group: crate::MemGroup,
    /// Taken from the group and not handed out yet.
    gil_chunk: GilChunk,
    last: Last,
    free_ranges: FreeRanges,
    phase: Phase,
    /// Whether nothing can be written, and nothing allocated.
    is_frozen: bool,
    /// Grows with every reset: a block is good in the epoch that it was made in.
    epoch: u64,
    /// Slots that the group has let go and that exporters may keep.
    aside: Vec<Weak<Slot>>,
    /// The slots of what other processes have sent, by the address of its [`ReceivedFile`](crate::os::ReceivedFile).
    attached: Mutex<HashMap<usize, SlotPtr>>,
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
            is_frozen: false,
            epoch: 0,
            aside: Vec::new(),
            attached: Mutex::default(),
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

    /// The group, for what does not depend on its state: its options.
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

    /// Whether the bytes of a raw block or a list of this group may be touched. If so, its slots are there while the group is
    /// looked at: the group holds them or, after a gentle end, the exporter that asks.
    #[inline(always)]
    pub(crate) fn check(&self, claim: Claim) -> Result<LiveSlots<'_>, Unavailable> {
        let is_there = self.phase == Phase::Open && self.epoch == claim.epoch && !claim.flags.is_given_back();
        if !is_there {
            self.check_closely(claim)?;
        }
        // SAFETY: every end of a group borrows it uniquely, and changes the epoch or the phase. So while this borrow lasts, the
        // slots that this epoch's raw blocks and lists lie in are the group's or, of an exporter, its own.
        Ok(unsafe { LiveSlots::new() })
    }

    #[cold]
    fn check_closely(&self, claim: Claim) -> Result<(), Unavailable> {
        match self.phase {
            Phase::Freed => Err(Unavailable::Freed),
            _ if self.epoch != claim.epoch => Err(Unavailable::Reset),
            Phase::Ended if !claim.flags.is_exporter() => Err(Unavailable::Ended),
            _ if claim.flags.is_given_back() => Err(Unavailable::Returned),
            _ => Ok(()),
        }
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
    pub(crate) fn reset(&mut self, attached: Python<'_>, views: usize) -> Result<Vec<Arc<Slot>>, EndRefused> {
        self.check_open().map_err(EndRefused::Unavailable)?;
        check_unseen(views, "reset")?;
        self.epoch += 1;
        self.is_frozen = false;
        self.forget_attached();
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
        self.forget_attached();
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
    pub(crate) fn free(&mut self, attached: Python<'_>, views: usize, force: bool) -> Result<LetGo, EndRefused> {
        if self.phase != Phase::Freed && !force {
            check_unseen(views, "free")?;
        }
        let private = self.private.as_mut().map_or_else(Vec::new, |private| private.let_go(attached));
        Ok(LetGo { slots: self.let_go(attached), private, force })
    }

    /// Takes every slot away from a group that is freed from now on.
    fn let_go(&mut self, attached: Python<'_>) -> Vec<Arc<Slot>> {
        self.phase = Phase::Freed;
        self.forget_attached();
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
