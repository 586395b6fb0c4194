//! Memory that a slot shows and does not own.

use std::any::Any;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::fault::SlotRegistration;
use crate::os::ReceivedFile;

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
        let received = self.owner.downcast_ref::<Arc<ReceivedFile>>();
        let name = received.and_then(|file| file.name());
        let name = name.as_deref().unwrap_or(group);
        let place = SlotRegistration::of_borrowed(self.start.addr().get(), self.len, name);
        if received.is_some() {
            place.is_received();
        }
        place
    }
}
