//! Bytes of a group as Python sees them: shared with views, other threads and other processes, any of which may write
//! at any time. So they are moved and compared through raw pointers, by the C library, and borrowed by searches alone,
//! for as long as one takes.

use std::cmp::Ordering;
use std::ptr::NonNull;

use memchr::memmem;

use crate::copy::copy;
use crate::sync::shared_bytes;

/// The most that is copied at once where a pattern is repeated, or one pattern more: so much stays in a processor's
/// cache.
const MAX_REPEATED_BYTES: usize = 1 << 15;

/// At how many places where the first byte of a needle is a search looks for all of it, before memmem prepares one: that takes
/// longer than they.
const TRIES: usize = 4;

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
        // SAFETY: both are mapped, these writable and `from` not longer, by contract.
        unsafe { copy(self.start, from.start, from.len) };
    }

    /// Sets every byte to 0.
    ///
    /// # Safety
    /// The bytes must be mapped and writable.
    pub(crate) unsafe fn clear(self) {
        // SAFETY: the bytes are mapped and writable, by contract.
        unsafe { libc::memset(self.start.cast(), 0, self.len) };
    }

    /// Compares as Python's bytes do.
    ///
    /// # Safety
    /// Both must be mapped.
    pub(crate) unsafe fn compare(self, other: Bytes) -> Ordering {
        let common = self.len.min(other.len);
        // SAFETY: both are mapped, by contract, and memcmp reads `common` bytes of each, which is the length of the
        // shorter.
        let difference = unsafe { libc::memcmp(self.start.cast(), other.start.cast(), common) };
        difference.cmp(&0).then(self.len.cmp(&other.len))
    }

    /// Offset of the first occurrence of `needle`; an empty one is found at once.
    ///
    /// # Safety
    /// Both must be mapped.
    #[inline]
    pub(crate) unsafe fn find(self, needle: Bytes) -> Option<usize> {
        // SAFETY: the bytes are mapped, by contract, and the slice is not used after this function.
        let haystack = unsafe { self.as_slice() };
        // SAFETY: the needle is mapped, by contract, and the slice is not used after this function.
        let needle = unsafe { needle.as_slice() };
        match needle {
            &[byte] => memchr::memchr(byte, haystack),
            &[first, ..] => {
                let mut from = 0;
                for _ in 0..TRIES {
                    let start = from + memchr::memchr(first, &haystack[from..])?;
                    if haystack[start..].starts_with(needle) {
                        return Some(start);
                    }
                    from = start + 1;
                }
                memmem::find(&haystack[from..], needle).map(|at| from + at)
            }
            [] => Some(0),
        }
    }

    /// Offset of the last occurrence of `needle`; an empty one is found at the end.
    ///
    /// # Safety
    /// Both must be mapped.
    pub(crate) unsafe fn rfind(self, needle: Bytes) -> Option<usize> {
        // SAFETY: the bytes are mapped, by contract, and the slice is not used after this function.
        let haystack = unsafe { self.as_slice() };
        // SAFETY: the needle is mapped, by contract, and the slice is not used after this function.
        let needle = unsafe { needle.as_slice() };
        match needle {
            &[byte] => memchr::memrchr(byte, haystack),
            &[.., last] => {
                let mut to = haystack.len();
                for _ in 0..TRIES {
                    let end = memchr::memrchr(last, &haystack[..to])? + 1;
                    if haystack[..end].ends_with(needle) {
                        return Some(end - needle.len());
                    }
                    to = end - 1;
                }
                memmem::rfind(&haystack[..to], needle)
            }
            [] => Some(haystack.len()),
        }
    }

    /// Fills these with one pattern, again and again.
    ///
    /// # Safety
    /// Both must be mapped and apart, these writable, and as long as some number of patterns.
    pub(crate) unsafe fn repeat(self, pattern: Bytes) {
        let mut filled = pattern.len.min(self.len);
        // SAFETY: both are mapped and these writable, by contract; the part is no longer than these.
        unsafe { self.copy_from(pattern.part(0, filled)) };
        while filled < self.len && filled > 0 {
            let more = filled.min(self.len - filled).min(MAX_REPEATED_BYTES.next_multiple_of(pattern.len));
            // SAFETY: the first `filled` bytes are whole patterns, and the part behind them is within these.
            unsafe { self.tail(filled).copy_from(self.part(0, more)) };
            filled += more;
        }
    }

    /// How often `needle` occurs, occurrences that overlap an earlier one not counted.
    ///
    /// # Safety
    /// Both must be mapped.
    pub(crate) unsafe fn count(self, needle: Bytes) -> usize {
        // SAFETY: the bytes are mapped, by contract, and the slice is not used after this function.
        let haystack = unsafe { self.as_slice() };
        // SAFETY: the needle is mapped, by contract, and the slice is not used after this function.
        let needle = unsafe { needle.as_slice() };
        match needle {
            // Where a byte is frequent, counting is faster than finding each.
            &[byte] => memchr::memchr_iter(byte, haystack).count(),
            needle => memmem::find_iter(haystack, needle).count(),
        }
    }

    /// The bytes as memchr wants them, for as long as one search takes.
    ///
    /// # Safety
    /// The bytes must be mapped for 'a.
    pub(crate) unsafe fn as_slice<'a>(self) -> &'a [u8] {
        // Without bytes there may be no address either.
        let Some(start) = NonNull::new(self.start).filter(|_| self.len > 0) else { return &[] };
        // SAFETY: the bytes are mapped for 'a, by contract.
        unsafe { shared_bytes(start, self.len) }
    }

    /// The byte at an offset.
    ///
    /// # Safety
    /// The bytes must be mapped, and more than `at`.
    #[inline(always)]
    pub(crate) unsafe fn get(self, at: usize) -> u8 {
        // SAFETY: the bytes are mapped and more than `at`, by contract. Volatile: somebody else may write at the same
        // time.
        unsafe { self.start.wrapping_add(at).read_volatile() }
    }

    /// Sets the byte at an offset.
    ///
    /// # Safety
    /// The bytes must be mapped, writable, and more than `at`.
    pub(crate) unsafe fn set(self, at: usize, byte: u8) {
        // SAFETY: the bytes are mapped, writable and more than `at`, by contract. Volatile: somebody else may write at
        // the same time.
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
