//! Slots that the end of a group lets go.

use std::sync::Arc;

use crate::slot::Slot;

/// Slots that a freed group has let go: nothing is allocated from them, and no block of theirs can be used any more.
pub(crate) struct LetGo {
    pub(super) slots: Vec<Arc<Slot>>,
    /// Of private memory.
    pub(super) private: Vec<Arc<Slot>>,
    /// Whether exporters are to lose their memory as well, but for what is private.
    pub(super) force: bool,
}

impl LetGo {
    /// Gives the memory back, but for slots that exporters hold. Those stay as they are until the exporters die, with
    /// secrets overwritten; with `force` their memory goes too, and their addresses stay reserved without access.
    /// Private memory stays even so: numpy has to let go of the objects in there, and makes no object of zeros. Returns
    /// how many committed bytes exporters still hold.
    pub(crate) fn give_back(self) -> usize {
        let shared = |slot: &&Arc<Slot>| Arc::strong_count(slot) > 1;
        let end = if self.force { revoke } else { set_aside };
        let held: usize = self.slots.iter().filter(shared).map(|slot| end(slot)).sum();
        held + self.private.iter().filter(shared).map(|slot| set_aside(slot)).sum::<usize>()
    }
}

fn revoke(slot: &Slot) -> usize {
    // SAFETY: only LetGo calls this, which GroupState::free makes: nobody allocates from the slot any more. This layer makes no Rust
    // reference into group memory, and its raw accesses are over: they hold the group's lock, or are a view's that was
    // overruled.
    unsafe { slot.revoke() };
    0
}

fn set_aside(slot: &Slot) -> usize {
    slot.overwrite_secrets();
    slot.stats().committed
}
