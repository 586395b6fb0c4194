//! Memory that a forked child finds zeroed.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapMut, MmapRaw};
use nix::sys::mman::{MmapAdvise, madvise};

use super::{Refusal, page_size};

/// What may live in a page that is wiped.
///
/// # Safety
/// Zeros are a value of the type; it needs no more room and no more alignment than a page, and no drop.
pub(crate) unsafe trait Wipeable {}

// SAFETY: an integer.
unsafe impl Wipeable for AtomicU32 {}

/// A `T` in a page of its own that the kernel wipes in every forked child (`MADV_WIPEONFORK`): no handler has to run, so no
/// way of forking gets past it, and asking costs one load.
pub(crate) struct Wiped<T> {
    value: NonNull<T>,
    _page: MmapRaw,
    owned: PhantomData<T>,
}

// SAFETY: owns its T, as a Box would.
unsafe impl<T: Send> Send for Wiped<T> {}

impl<T: Wipeable> Wiped<T> {
    /// One that is zero.
    pub(crate) fn new() -> Result<Self, Refusal> {
        debug_assert!(size_of::<T>() <= page_size() && align_of::<T>() <= page_size() && !std::mem::needs_drop::<T>());
        let page: MmapRaw = MmapMut::map_anon(page_size()).map_err(Refusal::of_io("mmap"))?.into();
        // A mapping never starts at address 0 (vm.mmap_min_addr), and memmap2 never returns a null one.
        let value = NonNull::new(page.as_mut_ptr()).unwrap_or(NonNull::dangling());
        // SAFETY: the range is the page mapped above; the advice changes nothing in this process.
        unsafe { madvise(value.cast(), page.len(), MmapAdvise::MADV_WIPEONFORK) }
            .map_err(Refusal::of("madvise(MADV_WIPEONFORK)"))?;
        // SAFETY: a page is mapped there, and nobody else knows of it. It is zero already: the store makes it resident now.
        unsafe { value.write_volatile(0) };
        Ok(Self { value: value.cast(), _page: page, owned: PhantomData })
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: the page is mapped as long as self lives and only ever shared; it holds zeros or what was put there since,
        // both of which are a T.
        unsafe { self.value.as_ref() }
    }

    /// Keeps it until the process ends.
    pub(crate) fn leak(self) -> NonNull<T> {
        let value = self.value;
        std::mem::forget(self);
        value
    }
}
