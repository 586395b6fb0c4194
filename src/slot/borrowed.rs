//! Memory that a slot shows and does not own.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

use super::budget::Budget;
use super::cursor::Cursor;
use super::{Slot, SlotMemory};
use crate::fault::SlotRegistration;
use crate::layout::SlotIndex;
use crate::os::{ReceivedFile, fork};
use crate::sync::{Arc, AtomicBool, AtomicUsize};

/// What keeps borrowed memory in place. It is dropped when nobody uses the memory any more: by any thread, perhaps one
/// that holds off forks, so it must not wait for another.
pub(crate) type Owner = Box<dyn Any + Send + Sync>;

/// Memory of another owner.
#[derive(Debug)]
pub(crate) struct BorrowedMemory {
    pub(super) start: NonNull<u8>,
    pub(super) len: usize,
    pub(super) is_writable: bool,
    owner: Owner,
}

// SAFETY: the owner may be sent, and the pointer leads to memory that no thread owns more than another.
unsafe impl Send for BorrowedMemory {}
// SAFETY: as for Send.
unsafe impl Sync for BorrowedMemory {}

// An owner is only dropped, and what it keeps is bytes.
impl RefUnwindSafe for BorrowedMemory {}
impl UnwindSafe for BorrowedMemory {}

impl BorrowedMemory {
    /// `len` bytes from `start` on, which `owner` keeps.
    ///
    /// # Safety
    /// The bytes must be mapped and readable until the owner is dropped, and writable if `is_writable`. While it lives,
    /// no Rust reference may claim them for itself: others may write to them at any time, and so may users of the slot
    /// if it is writable.
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize, is_writable: bool, owner: Owner) -> Self {
        Self { start, len, is_writable, owner }
    }

    /// What keeps it.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Writes down where it is, for a group of that name.
    pub(super) fn place(&self, group: &str) -> SlotRegistration {
        let received = self.owner.downcast_ref::<std::sync::Arc<ReceivedFile>>();
        let name = received.and_then(|file| file.name());
        let name = name.as_deref().unwrap_or(group);
        let place = SlotRegistration::of_borrowed(self.start.addr().get(), self.len, name);
        if received.is_some() {
            place.is_received();
        }
        place
    }
}

impl Slot {
    /// A slot that shows memory of another owner, for a group of that name.
    pub(crate) fn of_borrowed(memory: BorrowedMemory, name: &str, group: u64, budget: Arc<Budget>) -> Self {
        Self {
            cursor: Cursor::new(),
            read_write: memory.start,
            read_only: (!memory.is_writable).then_some(memory.start),
            capacity: memory.len,
            group,
            index: SlotIndex::FIRST,
            fresh: AtomicBool::new(false),
            forks: fork::count(),
            generation: fork::generation(),
            cache_key: None,
            pinned: AtomicUsize::new(0),
            is_uncacheable: AtomicBool::new(true),
            planned: AtomicUsize::new(0),
            protected: AtomicUsize::new(0),
            memory: ManuallyDrop::new(SlotMemory::Borrowed { place: memory.place(name), memory }),
            budget,
        }
    }

    /// The memory, if it is somebody else's.
    pub(super) fn borrowed(&self) -> Option<&BorrowedMemory> {
        match &*self.memory {
            SlotMemory::Own(_) => None,
            SlotMemory::Borrowed { memory, .. } => Some(memory),
        }
    }

    /// What keeps the memory, if that is somebody else's.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        self.borrowed().map(BorrowedMemory::owner)
    }

    /// Whether the memory is somebody else's.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed().is_some()
    }
}
