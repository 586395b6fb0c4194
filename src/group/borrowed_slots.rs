//! The slots of borrowed memory that a process has made.

use std::ptr::NonNull;

use crate::slot::{Slot, SlotRef};
use crate::sync::{self, Arc, AtomicPtr, Ordering};

/// Slots, the newest first: any number of them, added without a lock that a fork might catch. They leave all at once.
#[derive(Default)]
pub(super) struct BorrowedSlots {
    /// Null, or made by [`Box::into_raw`].
    newest: AtomicPtr<Node>,
}

struct Node {
    /// One reference of an [`Arc`].
    slot: NonNull<Slot>,
    /// As `newest`.
    older: AtomicPtr<Node>,
}

impl BorrowedSlots {
    /// Adds a slot.
    pub(super) fn push(&self, slot: Arc<Slot>) -> SlotRef<'_> {
        // SAFETY: Arc::into_raw returns no null pointer.
        let slot = unsafe { NonNull::new_unchecked(Arc::into_raw(slot).cast_mut()) };
        let mut newest = self.newest.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { slot, older: AtomicPtr::new(newest) }));
        // Release pairs with the Acquire in iter: whoever sees the slot sees it whole.
        while let Err(now) = self.newest.compare_exchange_weak(newest, node, Ordering::Release, Ordering::Relaxed) {
            newest = now;
            // SAFETY: the node was just made, and nobody else has seen it.
            unsafe { &*node }.older.store(newest, Ordering::Relaxed);
        }
        // SAFETY: the reference is the list's, and leaves it only through a unique reference to the list.
        unsafe { SlotRef::new(slot) }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = SlotRef<'_>> {
        let node = |place: &AtomicPtr<Node>| {
            // SAFETY: null, or a node, which is freed only through a unique reference to the list.
            unsafe { place.load(Ordering::Acquire).as_ref() }
        };
        let nodes = std::iter::successors(node(&self.newest), move |newer| node(&newer.older));
        // SAFETY: the slot is alive while its node is, and nodes are freed only through a unique reference to the list.
        nodes.map(|node| unsafe { SlotRef::new(node.slot) })
    }

    /// Takes all out.
    pub(super) fn drain(&mut self) -> Vec<Arc<Slot>> {
        let mut slots = Vec::new();
        let mut next = sync::take(&mut self.newest);
        while !next.is_null() {
            // SAFETY: made by Box::into_raw, and the only copy of the pointer was just taken.
            let mut node = unsafe { Box::from_raw(next) };
            next = sync::take(&mut node.older);
            // SAFETY: the node had one reference made by Arc::into_raw, and is gone.
            slots.push(unsafe { Arc::from_raw(node.slot.as_ptr().cast_const()) });
        }
        slots
    }
}

impl Drop for BorrowedSlots {
    fn drop(&mut self) {
        self.drain();
    }
}
