//! Memory that a forked child finds zeroed.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::page::{map_page, unmap_page};
use crate::os::{Refusal, page_size};

/// Pages that were dropped, for those that need one next: mapping one takes ten microseconds. Each null or a page that
/// nobody has. A forked child finds them zeroed and its own, as it would any other.
static FREE_LIST: [AtomicPtr<c_void>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];

/// What may live in a page that a fork zeroes.
///
/// # Safety
/// Zeros are a value of the type; it needs no more room and no more alignment than a page, and no drop.
pub(crate) unsafe trait Wipeable {}

// SAFETY: an integer.
unsafe impl Wipeable for AtomicU32 {}

/// A `T` in a page of its own that the kernel wipes in every forked child (`MADV_WIPEONFORK`): no handler has to run,
/// so no way of forking gets past it, and asking costs one load.
pub(crate) struct ForkZeroed<T> {
    value: NonNull<T>,
    owned: PhantomData<T>,
}

// SAFETY: owns its T, as a Box would.
unsafe impl<T: Send> Send for ForkZeroed<T> {}

impl<T: Wipeable> ForkZeroed<T> {
    /// One that is zero.
    pub(crate) fn new() -> Result<Self, Refusal> {
        debug_assert!(size_of::<T>() <= page_size() && align_of::<T>() <= page_size() && !std::mem::needs_drop::<T>());
        let value = take_page()?.cast::<T>();
        // SAFETY: a page is mapped there that nobody else has, and a T fits into it.
        unsafe { value.write_bytes(0, 1) };
        Ok(Self { value, owned: PhantomData })
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

impl<T> Drop for ForkZeroed<T> {
    fn drop(&mut self) {
        let page = self.value.as_ptr().cast();
        // Release pairs with the Acquire in take_page: the next owner writes after this one.
        let mut keep = |place: &AtomicPtr<c_void>| {
            place.compare_exchange(ptr::null_mut(), page, Ordering::Release, Ordering::Relaxed).is_ok()
        };
        if !FREE_LIST.iter().any(&mut keep) {
            // SAFETY: the page was mapped by take_page, and its last user is this.
            unsafe { unmap_page(self.value.cast()) };
        }
    }
}

fn take_page() -> Result<NonNull<c_void>, Refusal> {
    let spare = FREE_LIST.iter().find_map(|place| NonNull::new(place.swap(ptr::null_mut(), Ordering::Acquire)));
    if let Some(page) = spare {
        return Ok(page);
    }
    map_page()
}

#[cfg(all(test, not(heap)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_finds_zeros_and_its_parent_what_was_there() {
        let word = ForkZeroed::<AtomicU32>::new().unwrap();
        assert_eq!(word.get().swap(7, Ordering::Relaxed), 0);
        // SAFETY: the child only looks and leaves without cleaning up.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let was = word.get().swap(8, Ordering::Relaxed);
            // SAFETY: _exit never returns and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(was != 0)) };
        }
        let mut status = -1;
        // SAFETY: child is this process's own, and status outlives the call.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((status, word.get().load(Ordering::Relaxed)), (0, 7));
    }

    #[test]
    fn a_spare_page_is_zero_again() {
        for _ in 0..100 {
            let words = [(); 10].map(|()| ForkZeroed::<AtomicU32>::new().unwrap());
            for word in &words {
                assert_eq!(word.get().swap(1, Ordering::Relaxed), 0);
            }
        }
    }
}
