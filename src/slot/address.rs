//! Addresses of a slot: one offset, two mirrors. Each mirror has a base of its own, and no address is made from the
//! other's.

use std::ops::Range;
use std::ptr::NonNull;

use super::Slot;

/// One of the two mappings of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirror {
    ReadWrite,
    ReadOnly,
}

impl Slot {
    /// Offset of an address in the read-write mirror.
    #[inline(always)]
    pub(crate) fn offset_of(&self, address: NonNull<u8>) -> usize {
        address.addr().get() - self.read_write.addr().get()
    }

    /// The address of an offset in the read-write mirror.
    ///
    /// # Safety
    /// `offset` must be at most the capacity.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the mirror holds the capacity, and offset is at most that by contract.
        unsafe { self.read_write.add(offset) }
    }

    /// The same in a mirror of the caller's choice, if there is that mirror.
    ///
    /// # Safety
    /// As for `at`.
    #[inline(always)]
    pub(crate) unsafe fn address(&self, offset: usize, mirror: Mirror) -> Option<NonNull<u8>> {
        let base = match mirror {
            Mirror::ReadWrite => self.read_write,
            Mirror::ReadOnly => self.read_only?,
        };
        // SAFETY: as for at.
        Some(unsafe { base.add(offset) })
    }

    /// The address in the read-only mirror of what is at `address` in the read-write mirror; `None` without one.
    ///
    /// # Safety
    /// `address` must lie in this slot's read-write mirror, or one past its end.
    #[inline(always)]
    pub(crate) unsafe fn to_read_only(&self, address: NonNull<u8>) -> Option<NonNull<u8>> {
        let offset = address.addr().get() - self.read_write.addr().get();
        // SAFETY: by contract offset is at most the capacity, which both mirrors hold.
        self.read_only.map(|base| unsafe { base.add(offset) })
    }

    /// The address in the read-write mirror of what is at `address` in the read-only mirror.
    ///
    /// # Safety
    /// `address` must lie in this slot's read-only mirror, or one past its end.
    #[inline(always)]
    pub(crate) unsafe fn to_read_write(&self, address: NonNull<u8>) -> NonNull<u8> {
        let base = self.read_only.unwrap_or(self.read_write);
        let offset = address.addr().get() - base.addr().get();
        // SAFETY: by contract offset is at most the capacity, which both mirrors hold.
        unsafe { self.read_write.add(offset) }
    }

    /// Which mirror all of `bytes` (a range of addresses) lies in, if any, and a pointer to the first of them with the
    /// provenance of that mirror.
    pub(crate) fn locate(&self, bytes: &Range<usize>) -> Option<(Mirror, NonNull<u8>)> {
        let within = |base: NonNull<u8>| {
            let start = base.addr().get();
            let end = start + self.capacity;
            // No bytes at the end of the mirror count as in it: no other mapping begins there, for guards stand
            // between.
            let is_within = start <= bytes.start && (bytes.start..=end).contains(&bytes.end);
            // SAFETY: the offset is at most the capacity, which the mirror holds.
            is_within.then(|| unsafe { base.add(bytes.start - start) })
        };
        let read_write = Some(self.read_write).filter(|_| self.is_writable());
        let writable = read_write.and_then(within).map(|address| (Mirror::ReadWrite, address));
        writable.or_else(|| Some((Mirror::ReadOnly, within(self.read_only?)?)))
    }

    /// Offset of `bytes` (a range of addresses) in whichever mirror they lie in, if any.
    pub(crate) fn offset_within(&self, bytes: &Range<usize>) -> Option<usize> {
        let (mirror, address) = self.locate(bytes)?;
        let address = match mirror {
            Mirror::ReadWrite => address,
            // SAFETY: locate has just found it in that mirror.
            Mirror::ReadOnly => unsafe { self.to_read_write(address) },
        };
        Some(self.offset_of(address))
    }
}
