//! Memory by its addresses: where it is in a group, or how the group borrows it.

use std::ops::Range;

use super::{GroupState, Unavailable};
use crate::python::group::raw::{LiveBlock, RawBlock};
use crate::slot::{BorrowedMemory, Mirror, Owner, SlotRef};

impl GroupState {
    /// A raw block that was just found in a slot of the group.
    pub(super) fn live(&self, raw: RawBlock) -> LiveBlock<'_> {
        // SAFETY: the callers have just found the raw block in a slot of this group, whose slots live while it is
        // borrowed.
        unsafe { LiveBlock::new(raw, self.group.live_slots()) }
    }

    /// The bytes at these addresses, and the mirror that they are seen through, if they live in the group.
    pub(crate) fn find(&self, addresses: &Range<usize>) -> Result<Option<(LiveBlock<'_>, Mirror)>, Unavailable> {
        let private = self.private().map_or(Ok(None), |private| private.find(addresses))?;
        Ok(self.find_shared(addresses)?.or(private))
    }

    /// The bytes at these addresses, if they live in memory of the group that is not private.
    pub(crate) fn find_shared(&self, addresses: &Range<usize>) -> Result<Option<(LiveBlock<'_>, Mirror)>, Unavailable> {
        self.check_open()?;
        Ok(self.group.locate(addresses).map(|(slot, mirror, address)| {
            let raw = RawBlock { address, len: addresses.len(), slot: slot.as_ptr(), epoch: self.epoch };
            (self.live(raw), mirror)
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
            let raw = RawBlock { address, len: addresses.len(), slot: slot.as_ptr(), epoch: self.epoch };
            let to = if is_writable { Mirror::ReadWrite } else { Mirror::ReadOnly };
            // SAFETY: locate has just found it in that mirror.
            let moved = unsafe { self.live(raw).move_to(from, to) };
            if moved.is_some() {
                // SAFETY: locate has just found it in that mirror.
                unsafe { self.live(raw).pin(from) };
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
}

/// What a group has of bytes that it is to borrow.
pub(crate) enum Known {
    /// The bytes, as they are to be shown.
    Block(RawBlock, Mirror),
    /// What keeps them, but not a mirror through which nobody can write.
    Owner(Owner),
}
