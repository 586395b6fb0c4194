//! The ends of a slot: it begins anew, its memory goes, or it is dropped.

use std::mem::ManuallyDrop;

use super::cache::{self, Memory};
use super::{Slot, SlotMemory};
use crate::os::fork;
use crate::sync::{Ordering, opaque};

impl Slot {
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
