//! Memory of other processes in a group, and the group's in theirs.

use std::sync::{Arc, PoisonError};

use super::{GroupState, Unavailable};
use crate::os::{ReceivedFile, fork};
use crate::python::group::raw::RawBlock;
use crate::slot::{BorrowedMemory, Owner, SlotPtr, SlotRef};

impl GroupState {
    /// The slots that show what another process has sent, in the order of `memory`: those that the group has already,
    /// or new ones. All are of the epoch that comes with them.
    pub(crate) fn attach(
        &self,
        memory: &[Arc<ReceivedFile>],
    ) -> Result<Result<(Vec<SlotPtr>, u64), crate::Error>, Unavailable> {
        self.check_open()?;
        // A fork must not catch the lock.
        let _no_fork = fork::hold_off();
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attach = |memory: &Arc<ReceivedFile>| {
            // Its slot keeps it, and so nothing else has that address.
            let address = Arc::as_ptr(memory).addr();
            if let Some(&slot) = attached.get(&address) {
                return Ok(slot);
            }
            let owner: Owner = Box::new(Arc::clone(memory));
            // SAFETY: the owner keeps so many bytes mapped, to be read; nobody makes references to them.
            let borrowed = unsafe { BorrowedMemory::new(memory.start(), memory.len(), false, owner) };
            let slot = self.group.borrow_memory(borrowed)?.as_ptr();
            attached.insert(address, slot);
            Ok(slot)
        };
        Ok(memory.iter().map(&mut attach).collect::<Result<_, _>>().map(|slots| (slots, self.epoch)))
    }

    /// Bytes of such a slot.
    ///
    /// # Safety
    /// The slot must be of this epoch of an open group, and have so many bytes from `offset` on.
    pub(crate) unsafe fn attached_block(&self, slot: SlotPtr, offset: usize, len: usize) -> RawBlock {
        // SAFETY: the slot is one of the group's, by contract.
        let there = unsafe { self.group.live_slots().get(slot) };
        // SAFETY: the offset is within the slot, by contract.
        RawBlock { address: unsafe { there.at(offset) }, len, slot, epoch: self.epoch }
    }

    /// To be called before the group lets its slots go.
    pub(super) fn forget_attached(&mut self) {
        self.attached.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many receivers of each slot have not said that they are done, in the order of [`stats`](Self::stats).
    pub(crate) fn receivers(&self) -> impl Iterator<Item = usize> {
        let private = self.private().into_iter().flat_map(|private| private.group.slots());
        let count = |slot: SlotRef<'_>| slot.shared().map_or(0, |file| file.readers());
        self.group.slots().chain(private).map(count)
    }
}
