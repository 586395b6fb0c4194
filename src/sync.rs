//! What threads share, so that loom can put its own in its place (`--cfg loom`) and try every interleaving.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
};

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
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

/// Takes the pointer out of a place that nobody shares; null is left.
pub(crate) fn take<T>(place: &mut AtomicPtr<T>) -> *mut T {
    let mut taken = std::ptr::null_mut();
    #[cfg(not(loom))]
    std::mem::swap(place.get_mut(), &mut taken);
    #[cfg(loom)]
    place.with_mut(|pointer| std::mem::swap(pointer, &mut taken));
    taken
}
