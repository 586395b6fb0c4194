//! The ends of a group: it begins anew, or all of it goes.

use super::MemGroup;
use super::slot_table::SlotTable;
use crate::os::fork;
use crate::slot::Slot;
use crate::sync::Arc;

impl MemGroup {
    /// Empties the group and keeps its memory, warm, for later allocations.
    ///
    /// The borrow checker proves that no block is left in this process. After a fork, slots that a child or a parent
    /// may still use are released instead.
    pub fn reset(&mut self) {
        let released = {
            let _no_fork = fork::hold_off();
            self.rewind()
        };
        // Owners of borrowed memory may be anything, and take their time.
        drop(released);
    }

    /// Frees all memory in one shot, as dropping the group does. Some of it is kept for the next groups; see
    /// [`warm_memory`](crate::warm_memory).
    pub fn free(self) {
        drop(self);
    }

    /// [`reset`](Self::reset) for a layer that may hold references to slots: those slots are set aside and returned, and
    /// new ones will be opened in their places.
    pub(crate) fn rewind(&mut self) -> Vec<Arc<Slot>> {
        // Else a child could be forked, with all that was handed out, between the question whether there is one and the end.
        let _no_fork = fork::hold_off();
        let mut aside = self.take_inherited();
        let (table, is_own) = self.tables.newest_mut();
        aside.append(&mut table.drain_borrowed());
        for mut slot in table.drain() {
            match Arc::get_mut(&mut slot) {
                Some(unique) if is_own && !unique.is_shared_with_a_child() && !unique.is_given_away() => {
                    unique.rewind();
                    table.put(slot);
                }
                _ => aside.push(slot),
            }
        }
        // The caller drops borrowed ones, for their owners may be anything.
        aside.retain(|slot| slot.is_borrowed() || Arc::strong_count(slot) > 1);
        aside
    }

    /// Takes every slot away: what nobody else holds is kept warm or unmapped as the returned references go. While the group
    /// lives on, the caller holds off forks until then: its copy in a child would not know them any more.
    pub(crate) fn release(&mut self) -> Vec<Arc<Slot>> {
        let mut slots = self.take_inherited();
        let (table, _) = self.tables.newest_mut();
        slots.append(&mut table.drain());
        slots.append(&mut table.drain_borrowed());
        slots
    }

    fn take_inherited(&mut self) -> Vec<Arc<Slot>> {
        let drain = |mut table: SlotTable| [table.drain(), table.drain_borrowed()];
        self.tables.take_inherited().into_iter().flat_map(drain).flatten().collect()
    }
}
