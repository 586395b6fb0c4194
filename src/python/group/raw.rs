//! Where a block's bytes are.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::list::Span;
use crate::list::layout::Run;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::block_flags::FlagsRef;
use crate::slot::{LiveSlots, Mirror, Slot, SlotPtr, SlotRef};

/// A run of bytes in a slot, through one of its mirrors.
#[derive(Clone, Copy)]
pub(crate) struct RawBlock {
    /// In the mirror that the block shows.
    pub(crate) address: NonNull<u8>,
    pub(crate) len: usize,
    /// There while the epoch lasts, and beyond it for those who hold a reference: see [`LiveBlock`].
    pub(crate) slot: SlotPtr,
    pub(crate) epoch: u64,
}

// SAFETY: slots may be shared between threads, and an address is only a number until somebody argues otherwise.
unsafe impl Send for RawBlock {}
// SAFETY: slots may be shared between threads, and an address is only a number until somebody argues otherwise.
unsafe impl Sync for RawBlock {}

impl RawBlock {
    pub(crate) fn bytes(self) -> Bytes {
        Bytes::new(self.address.as_ptr(), self.len)
    }

    /// The `len` bytes from `start` on; they must be within the raw block.
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        debug_assert!(start + len <= self.len);
        // SAFETY: start is within the raw block or at its end.
        let address = unsafe { self.address.add(start) };
        Self { address, len, ..self }
    }

    /// What must be there for the bytes to be touched.
    #[inline(always)]
    pub(crate) fn claim(self) -> Claim {
        Claim::of_epoch(self.epoch)
    }
}

/// A raw block while its slot is certainly there. The group's lock hands it in, or whoever holds a reference to the slot: nothing
/// else leads from a raw block to its slot.
#[derive(Clone, Copy)]
pub(crate) struct LiveBlock<'a> {
    raw: RawBlock,
    slots: LiveSlots<'a>,
}

impl<'a> LiveBlock<'a> {
    /// # Safety
    /// The raw block must be in one of those slots.
    #[inline(always)]
    pub(crate) unsafe fn new(raw: RawBlock, slots: LiveSlots<'a>) -> Self {
        Self { raw, slots }
    }

    pub(crate) fn raw(self) -> RawBlock {
        self.raw
    }

    #[inline(always)]
    pub(crate) fn bytes(self) -> Bytes {
        self.raw.bytes()
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> SlotRef<'a> {
        // SAFETY: the raw block is in one of those slots, by the contract of `new`.
        unsafe { self.slots.get(self.raw.slot) }
    }

    /// None of its bytes.
    pub(crate) fn empty_part(self) -> Self {
        Self { raw: self.raw.part(0, 0), ..self }
    }

    /// Notes that somebody may keep the bytes knowing nothing but their address: they are not given back singly any more.
    ///
    /// # Safety
    /// The address of the raw block must lie in that mirror.
    pub(crate) unsafe fn pin(self, mirror: Mirror) {
        let (slot, raw) = (self.slot(), self.raw);
        let address = match mirror {
            Mirror::ReadWrite => raw.address,
            // SAFETY: the address lies in the read-only mirror, by contract.
            Mirror::ReadOnly => unsafe { slot.to_read_write(raw.address) },
        };
        slot.pin_below(address.addr().get() + raw.len);
    }

    /// A reference to the slot.
    pub(crate) fn share_slot(self) -> Arc<Slot> {
        self.slot().share()
    }

    /// Where the raw block is in its slot.
    pub(crate) fn span(self) -> Span {
        let start = self.raw.address.addr().get();
        let offset = self.slot().offset_within(&(start..start + self.raw.len)).unwrap_or_default();
        Span { slot: self.raw.slot, offset, len: self.raw.len }
    }

    /// Notes that all its bytes were written, which the kernel else finds out page by page when they are sent.
    pub(crate) fn note_written(self) {
        // It does not take long over fewer.
        const MANY_BYTES: usize = 1 << 20;

        if self.raw.len >= MANY_BYTES {
            let Span { offset, len, .. } = self.span();
            self.slot().note_written(offset, offset + len);
        }
    }

    /// A run of a list that begins where the raw block does, with this object.
    pub(crate) fn run(self, first: usize) -> Run {
        let Span { slot, offset, .. } = self.span();
        Run { first, slot, offset }
    }

    /// Where `bytes` lie in the read-write mirror of this raw block's slot, if they lie in the slot at all; else where they
    /// are.
    pub(crate) fn in_read_write_mirror(self, bytes: Bytes) -> Bytes {
        let slot = self.slot();
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
    /// The address of the raw block must lie in mirror `from`.
    pub(crate) unsafe fn move_to(self, from: Mirror, to: Mirror) -> Option<RawBlock> {
        let (slot, raw) = (self.slot(), self.raw);
        let address = match (from, to) {
            // SAFETY: the address lies in the read-write mirror, by contract.
            (Mirror::ReadWrite, Mirror::ReadOnly) => unsafe { slot.to_read_only(raw.address) }?,
            // SAFETY: the address lies in the read-only mirror, by contract.
            (Mirror::ReadOnly, Mirror::ReadWrite) if slot.is_writable() => unsafe { slot.to_read_write(raw.address) },
            (Mirror::ReadOnly, Mirror::ReadWrite) => return None,
            _ => raw.address,
        };
        if (from, to) == (Mirror::ReadWrite, Mirror::ReadOnly) {
            count(slot.protected(), raw.len);
        }
        Some(RawBlock { address, ..raw })
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

/// What must be there: something of an epoch. What an exporter holds outlasts a gentle end, and what a block has given back to its
/// pool is not to be touched.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) epoch: u64,
    /// Of the block that holds it, if one does.
    pub(crate) flags: FlagsRef,
}

impl Claim {
    /// A claim to what no block holds.
    #[inline(always)]
    pub(crate) fn of_epoch(epoch: u64) -> Self {
        Self { epoch, flags: FlagsRef::NONE }
    }
}

/// A raw block, and the flags of the block that holds it.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) raw: RawBlock,
    pub(crate) flags: FlagsRef,
}

impl Held {
    #[inline(always)]
    pub(crate) fn claim(self) -> Claim {
        Claim { epoch: self.raw.epoch, flags: self.flags }
    }
}

impl From<RawBlock> for Held {
    fn from(raw: RawBlock) -> Self {
        Self { raw, flags: FlagsRef::NONE }
    }
}
