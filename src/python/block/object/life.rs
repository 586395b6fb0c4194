//! How blocks begin and end, but for those of pools.

use std::ffi::c_void;
use std::sync::atomic::AtomicPtr;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::{Body, Ended, MemBlock};
use crate::python::block::slabs::Slabs;
use crate::python::group::lender::release_due;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::RawBlock;
use crate::slot::Mirror;

/// The memory of all blocks but those of pools.
pub(crate) static SLABS: Slabs<{ size_of::<MemBlock>() }> = Slabs::new();

impl MemBlock {
    /// A new object. Nothing but this makes one.
    #[inline(always)]
    pub(crate) fn new<'py>(group: &Bound<'py, MemGroup>, raw: RawBlock, mirror: Mirror) -> PyResult<Bound<'py, Self>> {
        let py = group.py();
        let memory = SLABS.take(py);
        if memory.is_null() {
            return Err(PyMemoryError::new_err("no memory for a MemBlock"));
        }
        // SAFETY: the memory has the size that the type is made with.
        Ok(unsafe { Self::init(py, memory, Body::new(group, raw, mirror, false)) })
    }

    /// Makes memory an object.
    ///
    /// # Safety
    /// It must be as large as the type says at least, and nobody's.
    #[inline(always)]
    pub(in crate::python::block) unsafe fn init<'py>(
        py: Python<'py>,
        memory: *mut c_void,
        body: Body,
    ) -> Bound<'py, Self> {
        let new = memory.cast::<Self>();
        // SAFETY: the memory is large enough.
        let weak_references = unsafe { &raw mut (*new).weak_references };
        // SAFETY: nobody knows the object yet.
        unsafe { weak_references.write(AtomicPtr::new(std::ptr::null_mut())) };
        // SAFETY: the memory is large enough.
        let place = unsafe { &raw mut (*new).body };
        // SAFETY: nobody knows the object yet.
        unsafe { place.write(body) };
        // SAFETY: all of it but the head was just written.
        unsafe { Self::revive(py, memory) }
    }

    /// Makes memory that has all of an object but its head an object.
    ///
    /// # Safety
    /// The memory must be nobody's.
    #[inline(always)]
    pub(in crate::python::block) unsafe fn revive<'py>(py: Python<'py>, memory: *mut c_void) -> Bound<'py, Self> {
        // SAFETY: Python writes the head and nothing else, and nobody knows the object yet.
        let new = unsafe { ffi::PyObject_Init(memory.cast(), Self::type_object_raw(py)) };
        // SAFETY: it is a new reference.
        let block = unsafe { Bound::from_owned_ptr(py, new) };
        // SAFETY: of the type that it was just made with.
        unsafe { block.cast_into_unchecked() }
    }

    /// The first of the end of an object that nobody refers to any more: those who watch it hear of that.
    ///
    /// # Safety
    /// `this` must be a block, of a pool or not, whose end has come; the thread must be attached.
    pub(crate) unsafe fn clear_weak_references(this: *mut Self) {
        // SAFETY: it is a MemBlock that nobody else refers to, by contract; a list of weak references is only reached
        // through what may be shared.
        if unsafe { &*this }.is_watched() {
            // SAFETY: nobody refers to the object any more, its type has weak references, and its body is still there.
            unsafe { ffi::PyObject_ClearWeakRefs(this.cast()) };
        }
    }

    /// The end of a block that is of no pool, and that neither a reference nor a weak one refers to.
    ///
    /// # Safety
    /// `this` must come from [`new`](Self::new), be called for once, and by an attached thread.
    #[inline(always)]
    pub(crate) unsafe fn delete(this: *mut Self) {
        // SAFETY: the caller's promise: nobody looks at it after this.
        let (group, Ended { was_exporter, .. }) = unsafe { Self::take_body(this) }.end();
        // SAFETY: what the block held was just taken out of it, and the rest is the caller's promise.
        let py = unsafe { Self::let_go(this, group) };
        if was_exporter {
            // Its slot may have been the last to hold a buffer of somebody else's.
            release_due(py);
        }
    }

    /// The same of a block that [is plain](Self::is_plain).
    ///
    /// # Safety
    /// As for [`delete`](Self::delete).
    #[inline(always)]
    pub(crate) unsafe fn delete_plain(this: *mut Self) {
        // SAFETY: the caller's promise: it is a block, and there.
        let group = unsafe { &raw const (*this).body.group };
        // SAFETY: nobody reads it after this, by the caller's promise.
        let group = unsafe { group.read() };
        // SAFETY: a plain block holds nothing but its group, which was just taken out of it; the rest is the caller's promise.
        _ = unsafe { Self::let_go(this, group) };
    }

    /// Gives back the memory of an object, and the references that it had to its group and its type.
    ///
    /// # Safety
    /// `this` must come from [`new`](Self::new) and hold nothing any more, and the thread be attached.
    #[inline(always)]
    unsafe fn let_go<'py>(this: *mut Self, group: Py<MemGroup>) -> Python<'py> {
        // SAFETY: the caller's promise.
        let kind = unsafe { ffi::Py_TYPE(this.cast()) };
        // SAFETY: the thread is attached, by the caller's promise.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: new has taken it from there.
        unsafe { SLABS.put(py, this.cast()) };
        // SAFETY: the reference was the block's, and pyo3 need not find out whether the thread is attached.
        unsafe { ffi::Py_DECREF(group.into_ptr()) };
        // SAFETY: since Python 3.8 each object of a type made at run time holds a reference to it.
        unsafe { ffi::Py_DECREF(kind.cast()) };
        py
    }

    /// Takes what is in the memory of an object.
    ///
    /// # Safety
    /// Nobody may look at it after this.
    #[inline(always)]
    pub(in crate::python::block) unsafe fn take_body(this: *mut Self) -> Body {
        // SAFETY: the caller's promise: it is an object's memory.
        let body = unsafe { &raw const (*this).body };
        // SAFETY: nobody reads it after this, by the caller's promise.
        unsafe { body.read() }
    }
}
