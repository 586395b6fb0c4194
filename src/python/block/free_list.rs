//! The free list: memory of dead blocks, kept for the next ones.
//!
//! Taking memory from Python's allocator and putting it back is a third of the time that making and dropping a block
//! takes; of a million blocks kept at once it is more than half, for the allocator gives its memory back to the kernel
//! and has to fault it in again. Like CPython's own lists of this kind this one relies on the GIL; a build without one
//! goes to the allocator.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use pyo3::{Python, ffi};

/// Pieces of memory of one size that Python's allocator gave. The atomics are here to be plain loads and stores.
pub(crate) struct FreeList<const SIZE: usize> {
    /// Null, or a piece whose first word points to the next.
    first: AtomicPtr<c_void>,
    many: AtomicUsize,
    /// How many are kept at most.
    most: AtomicUsize,
}

impl<const SIZE: usize> FreeList<SIZE> {
    pub(crate) const fn new() -> Self {
        const { assert!(SIZE >= size_of::<*mut c_void>()) };
        Self { first: AtomicPtr::new(null_mut()), many: AtomicUsize::new(0), most: AtomicUsize::new(0) }
    }

    /// `SIZE` bytes, or null if there is no memory.
    #[inline(always)]
    pub(crate) fn take(&self, _attached: Python<'_>) -> *mut c_void {
        let first = self.first.load(Relaxed);
        if first.is_null() {
            // SAFETY: the thread is attached.
            return unsafe { ffi::PyObject_Malloc(SIZE) };
        }
        // SAFETY: put wrote it there, and nobody else has the piece.
        let next = unsafe { first.cast::<*mut c_void>().read() };
        self.first.store(next, Relaxed);
        self.many.store(self.many.load(Relaxed) - 1, Relaxed);
        first
    }

    /// Takes back what [`take`](Self::take) gave.
    ///
    /// # Safety
    /// It must come from there, and nobody may use it any more.
    #[inline(always)]
    pub(crate) unsafe fn put(&self, _attached: Python<'_>, piece: *mut c_void) {
        let many = self.many.load(Relaxed);
        if cfg!(Py_GIL_DISABLED) || many >= self.most.load(Relaxed) {
            // SAFETY: it comes from PyObject_Malloc, and nobody uses it any more, by contract.
            return unsafe { ffi::PyObject_Free(piece) };
        }
        // SAFETY: a piece has room for a pointer, and Python's allocator aligns to 16 bytes.
        unsafe { piece.cast::<*mut c_void>().write(self.first.load(Relaxed)) };
        self.first.store(piece, Relaxed);
        self.many.store(many + 1, Relaxed);
    }
    /// How many pieces are kept.
    pub(crate) fn many(&self) -> usize {
        self.many.load(Relaxed)
    }

    /// Keeps pieces of so many bytes in all at most. What is more goes back to Python's allocator at once.
    pub(crate) fn limit(&self, attached: Python<'_>, bytes: usize) {
        let most = bytes / SIZE;
        self.most.store(most, Relaxed);
        while self.many() > most {
            // SAFETY: it is one that was put here, and nobody's any more.
            unsafe { ffi::PyObject_Free(self.take(attached)) };
        }
    }
}
