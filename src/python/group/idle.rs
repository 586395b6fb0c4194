//! Blocks of a pool that nobody refers to, kept with their objects for the next `alloc`: it takes one and gives it out.
//!
//! As lists of this kind do, this one relies on the GIL; a build without one keeps nothing, and goes to the table.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

use pyo3::Python;

/// A list of pieces of Python's memory, last in, first out. The atomics are here to be plain loads and stores.
pub(crate) struct IdleBlocks {
    first: AtomicPtr<c_void>,
    many: AtomicUsize,
    is_open: AtomicBool,
}

impl IdleBlocks {
    pub(super) fn new(is_open: bool) -> Self {
        let is_open = AtomicBool::new(is_open && cfg!(not(Py_GIL_DISABLED)));
        Self { first: AtomicPtr::new(null_mut()), many: AtomicUsize::new(0), is_open }
    }

    /// Takes the block that came last, or null. `next` is where a block keeps what lies below it, which is null from now on.
    #[inline(always)]
    pub(crate) fn pop(&self, _attached: Python<'_>, next: impl FnOnce(*mut c_void) -> *mut c_void) -> *mut c_void {
        let first = self.first.load(Relaxed);
        if !first.is_null() {
            self.first.store(next(first), Relaxed);
            self.many.store(self.many.load(Relaxed) - 1, Relaxed);
        }
        first
    }

    /// Keeps a block, if the list is open: then it is to remember what this returns, which lies below it.
    #[inline(always)]
    pub(crate) fn push(&self, _attached: Python<'_>, block: *mut c_void) -> Option<*mut c_void> {
        if !self.is_open.load(Relaxed) {
            return None;
        }
        let below = self.first.load(Relaxed);
        self.first.store(block, Relaxed);
        self.many.store(self.many.load(Relaxed) + 1, Relaxed);
        Some(below)
    }

    /// Keeps nothing from now on. What there is must be taken.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Relaxed);
    }

    /// How many blocks there are.
    pub(crate) fn many(&self) -> usize {
        self.many.load(Relaxed)
    }
}
