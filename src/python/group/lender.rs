//! Buffers of other objects that groups show, and how they are given back.
//!
//! To release a buffer may run any Python code, and a slot may die anywhere: under the lock of a group, with forks held
//! off, in a thread that Python does not know. So a lender that dies is only put on a list, which threads go through
//! that are attached and hold nothing: whoever ended a group or let a block go, or else the main thread, soon.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

/// What keeps the memory of an object that exports a buffer: the owner of a slot's borrowed memory.
pub(crate) struct Lender {
    /// Null once it was put on the list.
    node: *mut Node,
    /// What the buffer holds, for the garbage collector: not a reference of its own.
    exporter: Option<ManuallyDrop<Py<PyAny>>>,
}

struct Node {
    due: Due,
    /// The next on the list.
    next: *mut Node,
}

/// What is to be given back.
enum Due {
    /// A buffer that Python has filled, and that nobody else releases.
    Buffer(Box<ffi::Py_buffer>),
    /// Something whose drop gives it back.
    Other(Box<dyn Any + Send + Sync>),
}

// SAFETY: it is an address that nobody follows but whoever takes it from the list, by an attached thread.
unsafe impl Send for Lender {}
// SAFETY: a shared one only shows the exporter, which is reached with the thread attached.
unsafe impl Sync for Lender {}

/// Buffers to be released.
static DUE: AtomicPtr<Node> = AtomicPtr::new(null_mut());

impl Lender {
    /// # Safety
    /// The buffer must have been filled by Python, and be released by nobody else.
    pub(crate) unsafe fn new(py: Python<'_>, buffer: Box<ffi::Py_buffer>) -> Self {
        // SAFETY: it is an object, or null. The reference stays the buffer's, for what is made of it is never dropped.
        let exporter = unsafe { Bound::from_owned_ptr_or_opt(py, buffer.obj) };
        let exporter = exporter.map(|exporter| ManuallyDrop::new(exporter.unbind()));
        // To collect one that exports ends the process, in CPython up to 3.12 at least.
        let exporter = exporter.filter(|exporter| !exporter.bind(py).is_instance_of::<PyMemoryView>());
        Self::keeping(Due::Buffer(buffer), exporter)
    }

    /// Keeps what is not Python's, but may run Python code as it is dropped: an Arrow array, say.
    pub(crate) fn of(other: impl Any + Send + Sync) -> Self {
        Self::keeping(Due::Other(Box::new(other)), None)
    }

    fn keeping(due: Due, exporter: Option<ManuallyDrop<Py<PyAny>>>) -> Self {
        Self { node: Box::into_raw(Box::new(Node { due, next: null_mut() })), exporter }
    }

    /// What the buffer holds.
    pub(crate) fn exporter(&self) -> Option<&Py<PyAny>> {
        self.exporter.as_deref()
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        let mut first = DUE.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody else knows it yet.
            unsafe { (*self.node).next = first };
            // Release pairs with the Acquire in release_due: whoever takes it sees what is in it.
            match DUE.compare_exchange_weak(first, self.node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        // Whoever put the first there has asked already. After the interpreter there is nobody to release anything.
        // SAFETY: both can be called by any thread at any time.
        if first.is_null() && unsafe { ffi::Py_IsInitialized() } != 0 {
            // Where it is refused, too much else is to be done, after which somebody else comes by.
            // SAFETY: the function takes no argument.
            let _refused = unsafe { ffi::Py_AddPendingCall(Some(release_when_called), null_mut()) };
        }
    }
}

extern "C" fn release_when_called(_nothing: *mut c_void) -> c_int {
    // SAFETY: Python calls with the thread attached.
    release_due(unsafe { Python::assume_attached() });
    0
}

/// Releases the buffers of lenders that have died. The thread must hold no lock: this may run any Python code.
#[inline(always)]
pub(crate) fn release_due(py: Python<'_>) {
    if !DUE.load(Ordering::Relaxed).is_null() {
        release_all(py);
    }
}

#[cold]
fn release_all(_attached: Python<'_>) {
    thread_local! {
        /// Whether this thread is in here: what a release gives up is left to that call, however long the chain is.
        static IS_RELEASING: Cell<bool> = const { Cell::new(false) };
    }
    if IS_RELEASING.replace(true) {
        return;
    }
    loop {
        let mut next = DUE.swap(null_mut(), Ordering::Acquire);
        if next.is_null() {
            break;
        }
        while !next.is_null() {
            // SAFETY: Lender::new made it of a Box, and only whoever takes it from the list has it.
            let node = *unsafe { Box::from_raw(next) };
            next = node.next;
            match node.due {
                // SAFETY: Python has filled the buffer, by the contract of `new`; it is released once, here, by an attached
                // thread.
                Due::Buffer(mut buffer) => unsafe { ffi::PyBuffer_Release(&mut *buffer) },
                Due::Other(other) => drop(other),
            }
        }
    }
    IS_RELEASING.set(false);
}

/// As the last field of a structure: releases what the fields before it have let go.
#[derive(Default)]
pub(crate) struct ReleaseDue;

impl Drop for ReleaseDue {
    fn drop(&mut self) {
        if !DUE.load(Ordering::Relaxed).is_null() {
            // Python drops its objects with the thread attached.
            Python::try_attach(release_due);
        }
    }
}
