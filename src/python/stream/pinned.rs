//! Memory that stays while nobody holds the group's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;

use crate::io::transfer::Keeper;
use crate::list::ListLayout;
use crate::os::fork;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::Claim;
use crate::python::list::object::MemList;
use crate::slot::{LiveSlots, Slot, SlotPtr};

/// Keeps the slots of a list where they are, for a call that may wait for as long as its peer likes. Nobody waits for
/// it: it counts as a view, so that `free` and `reset` refuse, and a gentle end leaves its memory to it. What
/// `free(force=True)` takes away stays reserved, and the kernel answers EFAULT.
///
/// It counts in the process that made it: in a child forked meanwhile by another thread, nobody is within the call.
pub(crate) struct Pinned<'a> {
    group: &'a MemGroup,
    /// Of the process that it counts in.
    generation: AtomicU32,
    _slots: Vec<Arc<Slot>>,
}

impl<'a> Pinned<'a> {
    /// Pins a list that is still there.
    ///
    /// # Errors
    /// ValueError: It is freed.
    pub(crate) fn new(py: Python<'_>, group: &'a MemGroup, claim: Claim, layout: &ListLayout) -> PyResult<Self> {
        let mut slots: Vec<SlotPtr> = Vec::new();
        for run in layout.runs() {
            if !slots.contains(&run.slot) {
                slots.push(run.slot);
            }
        }
        let mut pinned = Vec::with_capacity(slots.len());
        let mut generation = 0;
        group.while_slots_there(py, claim, |live| {
            // SAFETY: they are the slots of the list, which is there.
            pinned.extend(slots.into_iter().map(|slot| unsafe { live.get(slot) }.share()));
            generation = group.uses().add_pin();
        })?;
        Ok(Self { group, generation: AtomicU32::new(generation), _slots: pinned })
    }

    /// Pins a list.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn of(py: Python<'_>, list: &'a MemList) -> PyResult<Self> {
        Self::new(py, list.group().get(), list.claim(), list.layout())
    }

    /// Counts again where Python code that ran in the midst of the call has forked, and this is the child.
    pub(crate) fn renew(&self) {
        if self.generation.load(Ordering::Relaxed) != fork::generation() {
            self.generation.store(self.group.uses().add_pin(), Ordering::Relaxed);
        }
    }
}

/// To be asked by a thread that is detached.
impl Keeper for Pinned<'_> {
    fn slots(&self) -> LiveSlots<'_> {
        // SAFETY: this holds a reference to each slot of the list that it was made for.
        unsafe { LiveSlots::new() }
    }

    fn while_there(&self, work: impl FnOnce()) -> bool {
        self.group.while_mapped(work)
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.group.uses().remove_pin(self.generation.load(Ordering::Relaxed));
    }
}
