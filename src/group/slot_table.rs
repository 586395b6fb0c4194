//! The slots that one process allocates from.

use std::ptr::NonNull;
use std::sync::PoisonError;

use super::borrowed_slots::BorrowedSlots;
use crate::error::Error;
use crate::layout::{MAX_SLOTS, SlotIndex};
use crate::os::fork;
use crate::slot::{Slot, SlotRef};
use crate::sync::{self, Arc, AtomicPtr, Mutex, MutexGuard, Ordering};

/// Up to 32 slots, the one that small requests are served from, and the lock under which slots are opened and
/// committed.
#[derive(Default)]
pub(crate) struct SlotTable {
    /// Null until the first slot is opened.
    current: AtomicPtr<Slot>,
    /// Each null or one reference of an [`Arc`].
    slots: [AtomicPtr<Slot>; MAX_SLOTS],
    /// Null, or one reference to a slot that is not open to all yet. A child whose parent was opening it ends it with
    /// the others.
    newcomer: AtomicPtr<Slot>,
    opening: Mutex<()>,
    borrowed: BorrowedSlots,
}

impl SlotTable {
    /// The slot that small requests are served from.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<SlotRef<'_>> {
        self.borrow(&self.current)
    }

    /// Serves small requests from `slot`, which must be one of this table's, from now on.
    pub(crate) fn set_current(&self, slot: SlotRef<'_>) {
        self.current.store(slot.as_ptr().as_ptr(), Ordering::Release);
    }

    /// Slot `index`, if it is open.
    pub(crate) fn get(&self, index: SlotIndex) -> Option<SlotRef<'_>> {
        self.borrow(&self.slots[index.get()])
    }

    #[inline(always)]
    fn borrow(&self, place: &AtomicPtr<Slot>) -> Option<SlotRef<'_>> {
        // Acquire pairs with the Release in put: whoever sees the slot sees it whole.
        let slot = NonNull::new(place.load(Ordering::Acquire))?;
        // SAFETY: put got the pointer from Arc::into_raw, and a slot leaves the table only through a unique reference to
        // the table, so it lives as long as this borrow.
        Some(unsafe { SlotRef::new(slot) })
    }

    /// Adds a slot of borrowed memory, which nothing is allocated from.
    pub(super) fn put_borrowed(&self, slot: Arc<Slot>) -> SlotRef<'_> {
        self.borrowed.push(slot)
    }

    /// The slots of borrowed memory.
    pub(super) fn borrowed(&self) -> impl Iterator<Item = SlotRef<'_>> {
        self.borrowed.iter()
    }

    /// Takes every slot of borrowed memory out.
    pub(super) fn drain_borrowed(&mut self) -> Vec<Arc<Slot>> {
        self.borrowed.drain()
    }

    /// The open slots of its own, smallest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = SlotRef<'_>> {
        (0..MAX_SLOTS).filter_map(SlotIndex::new).filter_map(|index| self.get(index))
    }

    /// The right to open, commit and choose slots.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        // What the lock guards is consistent at every step, so a panic under it breaks nothing.
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a slot that only the caller, who holds the lock, uses before it is [put](Self::put_newcomer) or
    /// [dismissed](Self::dismiss_newcomer).
    pub(crate) fn admit(&self, open: impl FnOnce() -> Result<Arc<Slot>, Error>) -> Result<SlotRef<'_>, Error> {
        let _no_fork = fork::hold_off();
        let slot = Arc::into_raw(open()?).cast_mut();
        debug_assert!(self.newcomer.load(Ordering::Relaxed).is_null());
        self.newcomer.store(slot, Ordering::Release);
        // SAFETY: Arc::into_raw returns no null pointer.
        let slot = unsafe { NonNull::new_unchecked(slot) };
        // SAFETY: the table holds a reference to the slot while it is borrowed: the caller alone takes it out again.
        Ok(unsafe { SlotRef::new(slot) })
    }

    /// Adds the slot that was admitted. The caller holds the lock, and there is none of that number.
    pub(crate) fn put_newcomer(&self) -> Option<SlotRef<'_>> {
        // A child would find it in both places.
        let _no_fork = fork::hold_off();
        Some(self.put(self.take_newcomer()?))
    }

    /// Ends the slot that was admitted. The caller holds the lock, and uses it no more.
    pub(crate) fn dismiss_newcomer(&self) {
        let _no_fork = fork::hold_off();
        drop(self.take_newcomer());
    }

    fn take_newcomer(&self) -> Option<Arc<Slot>> {
        let slot = self.newcomer.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: a place that is not null holds one reference made by Arc::into_raw, and is null from now on.
        (!slot.is_null()).then(|| unsafe { Arc::from_raw(slot) })
    }

    /// Adds a slot. The caller holds the lock, and there is none of that number.
    pub(crate) fn put(&self, slot: Arc<Slot>) -> SlotRef<'_> {
        let place = &self.slots[slot.index().get()];
        debug_assert!(place.load(Ordering::Relaxed).is_null());
        // SAFETY: Arc::into_raw returns no null pointer.
        let slot = unsafe { NonNull::new_unchecked(Arc::into_raw(slot).cast_mut()) };
        place.store(slot.as_ptr(), Ordering::Release);
        // SAFETY: the table has just taken a reference to the slot, and keeps it for as long as it is borrowed.
        unsafe { SlotRef::new(slot) }
    }

    /// Takes every slot of its own out.
    pub(crate) fn drain(&mut self) -> Vec<Arc<Slot>> {
        self.current = AtomicPtr::default();
        self.slots.iter_mut().chain([&mut self.newcomer]).filter_map(take).collect()
    }
}

fn take(place: &mut AtomicPtr<Slot>) -> Option<Arc<Slot>> {
    let slot = sync::take(place);
    // SAFETY: a place that is not null holds one reference made by Arc::into_raw, and is null from now on.
    (!slot.is_null()).then(|| unsafe { Arc::from_raw(slot) })
}

impl Drop for SlotTable {
    fn drop(&mut self) {
        self.drain();
    }
}
