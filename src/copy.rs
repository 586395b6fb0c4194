//! Copies of bytes: those that fit into a processor's cache by the C library, larger ones past it.

/// So many bytes stay in no cache. The C library's stores read the memory that they overwrite into it nevertheless.
pub(crate) const STREAMED_BYTES: usize = 32 << 20;

/// Copies `len` bytes; the two may overlap.
///
/// # Safety
/// So many bytes must be mapped at both addresses, and writable at `to`.
#[inline]
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    if len >= STREAMED_BYTES && to.addr().abs_diff(from.addr()) >= len {
        // SAFETY: the bytes are mapped and writable, by contract, and their addresses at least `len` apart.
        unsafe { stream(to, from, len) }
    } else {
        // SAFETY: the bytes are mapped and writable, by contract; memmove lets them overlap.
        unsafe { libc::memmove(to.cast(), from.cast(), len) };
    }
}

/// Copies bytes past the cache.
///
/// # Safety
/// As for [`copy`], and the two must not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn stream(to: *mut u8, from: *const u8, len: usize) {
    const LINE: usize = 64;

    let head = to.align_offset(LINE).min(len);
    let lines = (len - head) / LINE;
    let behind = head + lines * LINE;
    // SAFETY: the head is within the bytes, which are mapped, writable and apart, by contract.
    unsafe { libc::memcpy(to.cast(), from.cast(), head) };
    if lines > 0 {
        // SAFETY: the loop reads and writes `lines` lines behind the head, which are within the bytes. Each store is to a multiple
        // of 16, for the head ends at a multiple of a line; the fence orders them before all later stores, as other code expects
        // of a copy. A prefetch faults at no address. The registers and flags that change are named.
        unsafe {
            std::arch::asm!(
                "2:",
                "prefetchnta [{from} + 1024]",
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                "movntdq [{to}], {a}",
                "movntdq [{to} + 16], {b}",
                "movntdq [{to} + 32], {c}",
                "movntdq [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "dec {lines}",
                "jnz 2b",
                "sfence",
                from = inout(reg) from.wrapping_add(head) => _,
                to = inout(reg) to.wrapping_add(head) => _,
                lines = inout(reg) lines => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }
    // SAFETY: what is left behind the lines is within the bytes, which are mapped, writable and apart, by contract.
    unsafe { libc::memcpy(to.wrapping_add(behind).cast(), from.wrapping_add(behind).cast(), len - behind) };
}

/// Copies bytes as the C library does.
///
/// # Safety
/// As for [`copy`], and the two must not overlap.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn stream(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the bytes are mapped, writable and apart, by contract.
    unsafe { libc::memcpy(to.cast(), from.cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::{STREAMED_BYTES, copy, stream};

    /// Bytes of which none is like its neighbours, at any alignment.
    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
    }

    #[test]
    fn a_streamed_copy_has_every_byte_and_no_other_at_all_alignments_and_lengths() {
        let source = pattern(1024);
        for (to, from) in (0..80).flat_map(|to| [0, 1, 7, 15, 33].map(|from| (to, from))) {
            for len in [0, 1, 15, 63, 64, 65, 127, 128, 200, 513] {
                let mut target = vec![0xee; 1024];
                // SAFETY: both vectors have 1024 bytes, more than any offset and length together, and are apart.
                unsafe { stream(target.as_mut_ptr().wrapping_add(to), source.as_ptr().wrapping_add(from), len) };
                assert_eq!(target[to..to + len], source[from..from + len]);
                assert!(target[..to].iter().chain(&target[to + len..]).all(|&byte| byte == 0xee));
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many bytes for an interpreter")]
    fn large_copies_that_overlap_move_the_bytes() {
        let before = pattern(STREAMED_BYTES + 100);
        for (to, from) in [(100, 0), (0, 100), (0, 0)] {
            let mut bytes = before.clone();
            let start = bytes.as_mut_ptr();
            // SAFETY: both ranges are within the vector, which has 100 bytes more.
            unsafe { copy(start.wrapping_add(to), start.wrapping_add(from), STREAMED_BYTES) };
            assert!(bytes[to..to + STREAMED_BYTES] == before[from..from + STREAMED_BYTES]);
        }
    }
}
