//! Slots named, slots borrowed, and what was taken from one.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::Slot;
use crate::sync::Arc;

/// Which slot, and nothing about whether it is still there: only [`LiveSlots`] lead from it to the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotPtr(NonNull<Slot>);

// SAFETY: slots may be shared between threads, and the pointer is only a number to whoever has no `LiveSlots`.
unsafe impl Send for SlotPtr {}
// SAFETY: as for Send.
unsafe impl Sync for SlotPtr {}

impl SlotPtr {
    /// `slot` as it comes from [`Arc::into_raw`]; `None` if it is null.
    pub(crate) fn new(slot: *mut Slot) -> Option<Self> {
        NonNull::new(slot).map(Self)
    }

    /// No slot.
    pub(crate) fn dangling() -> Self {
        Self(NonNull::dangling())
    }

    pub(crate) fn as_ptr(self) -> *mut Slot {
        self.0.as_ptr()
    }
}

/// The right to follow a [`SlotPtr`], for as long as something keeps the slots where they are: the borrow of their
/// group, its lock, or references to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveSlots<'a>(PhantomData<&'a Slot>);

impl<'a> LiveSlots<'a> {
    /// # Safety
    /// The slots that it is made for must live for 'a.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(PhantomData)
    }

    /// The slot.
    ///
    /// # Safety
    /// It must be one of those that this was made for.
    #[inline(always)]
    pub(crate) unsafe fn get(self, slot: SlotPtr) -> SlotRef<'a> {
        // SAFETY: whoever made this has promised that its slots live for 'a, and the caller that this is one of them.
        unsafe { SlotRef::new(slot.0) }
    }
}

/// A slot in a table, borrowed. It keeps the pointer that the table got from [`Arc::into_raw`], so that a layer above
/// can take a reference of its own; from a plain `&Slot` it could not, for that has no say over the count beside the
/// slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotRef<'g> {
    slot: NonNull<Slot>,
    borrow: PhantomData<&'g Slot>,
}

impl<'g> SlotRef<'g> {
    /// # Safety
    /// `slot` must come from [`Arc::into_raw`], and that reference must last for 'g.
    pub(crate) unsafe fn new(slot: NonNull<Slot>) -> Self {
        Self { slot, borrow: PhantomData }
    }

    /// Which slot it is, for those who keep that beyond the borrow.
    pub(crate) fn as_ptr(self) -> SlotPtr {
        SlotPtr(self.slot)
    }

    /// A reference to the slot that keeps it beyond the borrow.
    pub(crate) fn share(self) -> Arc<Slot> {
        // SAFETY: `new` was promised that the pointer is an Arc's, which lives for 'g.
        unsafe { Arc::increment_strong_count(self.slot.as_ptr().cast_const()) };
        // SAFETY: this is the reference that was just counted.
        unsafe { Arc::from_raw(self.slot.as_ptr().cast_const()) }
    }

    /// Whether nobody has a reference but the table that it is borrowed from.
    pub(crate) fn is_unshared(self) -> bool {
        // SAFETY: `new` was promised that the pointer is an Arc's, which lives for 'g, and what is made of it is not dropped.
        let slot = unsafe { ManuallyDrop::new(Arc::from_raw(self.slot.as_ptr().cast_const())) };
        Arc::strong_count(&slot) == 1
    }

    /// The slot.
    #[inline(always)]
    pub(crate) fn get(self) -> &'g Slot {
        // SAFETY: new was promised that the slot lives for 'g, and slots are only shared.
        unsafe { self.slot.as_ref() }
    }
}

impl Deref for SlotRef<'_> {
    type Target = Slot;

    #[inline(always)]
    fn deref(&self) -> &Slot {
        self.get()
    }
}

/// Bytes just taken from a slot. They last until the group is reset or freed, or the slot's last reference goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken<'g> {
    /// The first byte, in the read-write mirror.
    pub(crate) address: NonNull<u8>,
    pub(crate) slot: SlotRef<'g>,
}
