//! Bytes of a group as Python sees them: shared with views, other threads and other processes, any of which may write at
//! any time. So they are moved, compared and searched through raw pointers, by the C library, and never borrowed.

use std::cmp::Ordering;

/// Where some bytes begin, for closures that run detached.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) start: *mut u8,
    pub(crate) len: usize,
}

// SAFETY: an address and a length; what makes an access safe is argued where it is made.
unsafe impl Send for Bytes {}

impl Bytes {
    pub(crate) fn new(start: *mut u8, len: usize) -> Self {
        Self { start, len }
    }

    /// Copies `from` to the start of these bytes; the two may overlap.
    ///
    /// # Safety
    /// Both must be mapped, these writable, and `from` not longer.
    pub(crate) unsafe fn copy_from(self, from: Bytes) {
        // SAFETY: the caller's promise.
        unsafe { libc::memmove(self.start.cast(), from.start.cast(), from.len) };
    }

    /// Sets every byte to 0.
    ///
    /// # Safety
    /// The bytes must be mapped and writable.
    pub(crate) unsafe fn clear(self) {
        // SAFETY: the caller's promise.
        unsafe { libc::memset(self.start.cast(), 0, self.len) };
    }

    /// Compares as Python's bytes do.
    ///
    /// # Safety
    /// Both must be mapped.
    pub(crate) unsafe fn compare(self, other: Bytes) -> Ordering {
        let common = self.len.min(other.len);
        // SAFETY: the caller's promise; memcmp reads `common` bytes of each.
        let difference = unsafe { libc::memcmp(self.start.cast(), other.start.cast(), common) };
        difference.cmp(&0).then(self.len.cmp(&other.len))
    }

    /// Offset of the first occurrence of `needle`; an empty one is found at once.
    ///
    /// # Safety
    /// Both must be mapped.
    pub(crate) unsafe fn find(self, needle: Bytes) -> Option<usize> {
        // SAFETY: the caller's promise.
        let found =
            unsafe { libc::memmem(self.start.cast(), self.len, needle.start.cast::<libc::c_void>(), needle.len) };
        (!found.is_null()).then(|| found.addr() - self.start.addr())
    }

    /// How often `needle` occurs, occurrences that overlap an earlier one not counted.
    ///
    /// # Safety
    /// Both must be mapped.
    pub(crate) unsafe fn count(self, needle: Bytes) -> usize {
        match needle.len {
            0 => return self.len + 1,
            1 => {
                // SAFETY: the caller's promise; a needle of one byte has one.
                let byte = unsafe { needle.get(0) };
                // SAFETY: the caller's promise.
                return unsafe { self.count_byte(byte) };
            }
            _ => {}
        }
        let mut rest = self;
        let mut count = 0;
        // SAFETY: rest is always a tail of self.
        while let Some(at) = unsafe { rest.find(needle) } {
            count += 1;
            rest = rest.tail(at + needle.len);
        }
        count
    }

    /// How often a byte occurs. Where it is frequent, looking at every byte is faster than finding each.
    ///
    /// # Safety
    /// The bytes must be mapped.
    unsafe fn count_byte(self, byte: u8) -> usize {
        // SAFETY: each offset is less than the length.
        (0..self.len).filter(|&at| unsafe { self.get(at) } == byte).count()
    }

    /// The byte at an offset.
    ///
    /// # Safety
    /// The bytes must be mapped, and more than `at`.
    pub(crate) unsafe fn get(self, at: usize) -> u8 {
        // SAFETY: the caller's promise. Volatile: somebody else may write at the same time.
        unsafe { self.start.wrapping_add(at).read_volatile() }
    }

    /// Sets the byte at an offset.
    ///
    /// # Safety
    /// The bytes must be mapped, writable, and more than `at`.
    pub(crate) unsafe fn set(self, at: usize, byte: u8) {
        // SAFETY: as for get.
        unsafe { self.start.wrapping_add(at).write_volatile(byte) };
    }

    /// The `len` bytes from `start` on, which must be within these.
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        debug_assert!(start + len <= self.len);
        Self::new(self.start.wrapping_add(start), len)
    }

    /// What is left behind the first `skipped` bytes, of which there must be that many.
    pub(crate) fn tail(self, skipped: usize) -> Self {
        debug_assert!(skipped <= self.len);
        Self::new(self.start.wrapping_add(skipped), self.len - skipped)
    }
}
