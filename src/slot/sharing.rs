//! Slots that other processes have too: children, and those that were given the memory.

use std::sync::Arc;

use super::Slot;
use crate::error::Error;
use crate::os::{Refusal, SharedFile, fork};

impl Slot {
    /// Whether a child, forked since the slot was opened, may still use what was handed out of it.
    pub(crate) fn is_shared_with_a_child(&self) -> bool {
        // Nobody knows of what is borrowed.
        self.own().is_none_or(|memory| memory.mirrors.are_shared_by_forks() && self.forks != fork::count())
    }

    /// The file of the memory, where other processes may be given it.
    pub(crate) fn shared(&self) -> Option<&Arc<SharedFile>> {
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

    /// Notes that all of the bytes `start..end` were written, and need not be looked for when they are sent.
    pub(crate) fn note_written(&self, start: usize, end: usize) {
        if let Some(shared) = self.shared() {
            shared.note_written(start..end);
        }
    }

    /// Finds memory for what of the bytes `start..end`, all handed out, was never touched, so that others can read them.
    pub(crate) fn fill_holes(&self, start: usize, end: usize) -> Result<(), Error> {
        let refused = |refusal: Refusal| refusal.during(format!("committing slot {} to be sent", self.index.get()));
        self.own().map_or(Ok(()), |memory| memory.mirrors.fill_holes(start, end)).map_err(refused)
    }
}
