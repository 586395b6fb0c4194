//! What is known of an object of a pool.

use std::ptr::NonNull;

use crate::os::fork;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};

/// An object, and what is known of it. Whoever has popped it from its table owns its bytes until it is pushed again.
pub struct Node<E = ()> {
    /// In the read-write mirror. Like the next three it is written before anyone knows of the object.
    address: AtomicPtr<u8>,
    /// The table that it is of.
    table: AtomicPtr<()>,
    /// Which of the table's slots it is in.
    slot: AtomicU32,
    index: AtomicU32,
    /// While the object is free: the one below it in its stack.
    pub(super) link: AtomicU32,
    /// While it is in use: how often the process had forked when it was taken.
    forks: AtomicU32,
    extra: E,
}

impl<E> Node<E> {
    /// Writes what stays the same for as long as there is the object. Nobody may know of it yet.
    pub(super) fn set_place(&self, address: NonNull<u8>, table: *const (), slot: u32, index: u32) {
        self.address.store(address.as_ptr(), Ordering::Relaxed);
        self.table.store(table.cast_mut(), Ordering::Relaxed);
        self.slot.store(slot, Ordering::Relaxed);
        self.index.store(index, Ordering::Relaxed);
    }

    /// Where the object is, in the read-write mirror.
    #[inline(always)]
    pub(crate) fn address(&self) -> NonNull<u8> {
        // SAFETY: written before anyone knew of the object, and not null then.
        unsafe { NonNull::new_unchecked(self.address.load(Ordering::Relaxed)) }
    }

    /// The table that it is of. [`Table::of`](super::table::Table::of) knows the type.
    #[inline(always)]
    pub(super) fn table(&self) -> *const () {
        self.table.load(Ordering::Relaxed)
    }

    /// Which of the table's slots it is in.
    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    /// Its number in the table.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// What the layer above keeps beside it.
    pub(crate) fn extra(&self) -> &E {
        &self.extra
    }

    /// How often the process had forked when it was taken.
    #[inline(always)]
    pub(crate) fn forks(&self) -> u32 {
        self.forks.load(Ordering::Relaxed)
    }

    /// Notes that another process may use it, as if it had been forked since.
    pub(crate) fn mark_shared(&self) {
        self.forks.store(fork::count().wrapping_sub(1), Ordering::Relaxed);
    }

    /// Notes that it is taken now.
    #[inline(always)]
    pub(crate) fn set_forks(&self) {
        self.forks.store(fork::count(), Ordering::Relaxed);
    }
}

impl<E: Default> Default for Node<E> {
    fn default() -> Self {
        Self {
            address: AtomicPtr::default(),
            table: AtomicPtr::default(),
            slot: AtomicU32::new(0),
            index: AtomicU32::new(0),
            link: AtomicU32::new(0),
            forks: AtomicU32::new(0),
            extra: E::default(),
        }
    }
}
