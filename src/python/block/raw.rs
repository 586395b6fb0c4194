//! Where a block's bytes are.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::python::ffi::raw_bytes::Bytes;
use crate::slot::{Mirror, Slot};

/// A run of bytes in a slot, through one of its mirrors.
#[derive(Clone, Copy)]
pub(crate) struct RawBlock {
    /// In the mirror that the block shows.
    pub(crate) address: NonNull<u8>,
    pub(crate) len: usize,
    /// Valid while the epoch lasts, and beyond it for those who hold a reference.
    pub(crate) slot: NonNull<Slot>,
    pub(crate) epoch: u64,
}

// SAFETY: slots may be shared between threads, and an address is only a number until somebody argues otherwise.
unsafe impl Send for RawBlock {}
// SAFETY: as for Send.
unsafe impl Sync for RawBlock {}

impl RawBlock {
    /// No bytes at all, of some epoch: for asking [`GroupState`](crate::python::group::state::GroupState) whether it lasts. There is no slot.
    pub(crate) fn nothing(epoch: u64) -> Self {
        Self { address: NonNull::dangling(), len: 0, slot: NonNull::dangling(), epoch }
    }

    pub(crate) fn bytes(self) -> Bytes {
        Bytes::new(self.address.as_ptr(), self.len)
    }

    /// The `len` bytes from `start` on; they must be within the piece.
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        debug_assert!(start + len <= self.len);
        // SAFETY: start is within the piece or at its end.
        let address = unsafe { self.address.add(start) };
        Self { address, len, ..self }
    }

    /// # Safety
    /// The piece must be there: its epoch lasts, or somebody holds a reference to the slot.
    pub(crate) unsafe fn slot(&self) -> &Slot {
        // SAFETY: the caller's promise.
        unsafe { self.slot.as_ref() }
    }

    /// Where `bytes` lie in the read-write mirror of this piece's slot, if they lie in the slot at all; else where they
    /// are.
    ///
    /// # Safety
    /// As for `slot`.
    pub(crate) unsafe fn in_read_write_mirror(&self, bytes: Bytes) -> Bytes {
        // SAFETY: the caller's promise.
        let slot = unsafe { self.slot() };
        let start = bytes.start.addr();
        match slot.locate(&(start..start + bytes.len)) {
            Some((Mirror::ReadOnly, address)) => {
                // SAFETY: locate has just found it in that mirror.
                Bytes::new(unsafe { slot.to_read_write(address) }.as_ptr(), bytes.len)
            }
            _ => bytes,
        }
    }

    /// The same bytes in another mirror, if there is one.
    ///
    /// # Safety
    /// As for `slot`, and the address must lie in mirror `from`.
    pub(crate) unsafe fn move_to(self, from: Mirror, to: Mirror) -> Option<Self> {
        // SAFETY: the caller's promise.
        let slot = unsafe { self.slot() };
        let address = match (from, to) {
            // SAFETY: the address of a piece lies in the mirror that it was made for.
            (Mirror::ReadWrite, Mirror::ReadOnly) => unsafe { slot.to_read_only(self.address) }?,
            // SAFETY: the same.
            (Mirror::ReadOnly, Mirror::ReadWrite) => unsafe { slot.to_read_write(self.address) },
            _ => self.address,
        };
        if (from, to) == (Mirror::ReadWrite, Mirror::ReadOnly) {
            count(slot.protected(), self.len);
        }
        Some(Self { address, ..self })
    }
}

/// Raises a count that only attached threads raise.
#[inline(always)]
pub(crate) fn count(count: &AtomicUsize, more: usize) {
    #[cfg(Py_GIL_DISABLED)]
    count.fetch_add(more, Ordering::Relaxed);
    // The GIL makes the pair one step, for a fraction of what an atomic addition costs.
    #[cfg(not(Py_GIL_DISABLED))]
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// A piece, and whether its holder is an exporter: what such a one holds outlasts a gentle end.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) piece: RawBlock,
    pub(crate) by_exporter: bool,
}

impl From<RawBlock> for Held {
    fn from(piece: RawBlock) -> Self {
        Self { piece, by_exporter: false }
    }
}
