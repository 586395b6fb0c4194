//! What threads and mirrors share: loom's own in its place (`--cfg loom`), so that every interleaving is tried, and a
//! barrier against what compilers know of two addresses.

use std::ptr::NonNull;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// A static, which with loom each execution finds new.
#[cfg(not(loom))]
macro_rules! shared {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => { $(#[$doc])* static $name: $type = $value; };
}

#[cfg(loom)]
macro_rules! shared {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! { $(#[$doc])* static ref $name: $type = $value; }
    };
}

pub(crate) use shared;

/// A static of each thread.
#[cfg(not(loom))]
macro_rules! per_thread {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        thread_local! { $(#[$doc])* static $name: $type = const { $value }; }
    };
}

#[cfg(loom)]
macro_rules! per_thread {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::thread_local! { $(#[$doc])* static $name: $type = $value; }
    };
}

pub(crate) use per_thread;

/// Takes the pointer out of a place that nobody shares; null is left.
pub(crate) fn take<T>(place: &mut AtomicPtr<T>) -> *mut T {
    let mut taken = std::ptr::null_mut();
    #[cfg(not(loom))]
    std::mem::swap(place.get_mut(), &mut taken);
    #[cfg(loom)]
    place.with_mut(|pointer| std::mem::swap(pointer, &mut taken));
    taken
}

/// Bytes that others may write to at any time, borrowed for as long as one search by memchr takes, which wants a slice.
///
/// Whoever writes to them meanwhile makes the search find what was never there, or miss it, as in any memory that
/// others write to; memchr keeps every offset within the slice whatever the bytes are, so that is the worst.
///
/// # Safety
/// So many bytes must be mapped there for 'a.
#[inline]
pub(crate) unsafe fn shared_bytes<'a>(start: NonNull<u8>, len: usize) -> &'a [u8] {
    // What the compiler knows of them from before is nothing.
    let start = opaque(start);
    // SAFETY: so many bytes are mapped, by the caller's promise, and what the kernel maps is initialised.
    unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
}

/// Passes the pointer on, and makes the compiler forget what it knows of memory.
///
/// To the compiler the mirrors are two objects: it could move a load through one before a store through the other. And
/// bytes that were a value of some type, padding included, count as written again. No instruction results.
#[inline(always)]
pub(crate) fn opaque(address: NonNull<u8>) -> NonNull<u8> {
    #[cfg(not(miri))]
    // SAFETY: the template is empty, so nothing is executed; without `nomem` it counts as accessing all memory.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) address.as_ptr(), options(nostack, preserves_flags));
    }
    address
}
