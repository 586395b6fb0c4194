//! Memory that is read one small record after the other, at places that the processor does not foresee.

/// So many records ahead is soon enough.
pub(crate) const PREFETCH_RECORDS: usize = 16;

/// Has a cache line fetched that will be read soon. The address may be any.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction reads nothing, and faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address.cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
