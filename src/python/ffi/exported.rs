//! What an object exports as a buffer: elements in one or more dimensions.

use std::ffi::{CStr, c_int};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Elements that an object keeps in place for as long as it lives.
pub(crate) struct Elements<'a> {
    /// The element with all indices 0.
    pub(crate) origin: *mut u8,
    pub(crate) item_size: isize,
    /// In the notation of `struct`.
    pub(crate) format: &'a CStr,
    pub(crate) shape: &'a [isize],
    pub(crate) strides: &'a [isize],
    /// Why a buffer to be written is refused, if it is.
    pub(crate) read_only: Option<&'static str>,
}

impl Elements<'_> {
    /// Fills the buffer that Python asks an object for, after `count` has noted that there is one more. Only
    /// memoryviews can ask: others may not want all that lays elements out.
    ///
    /// # Errors
    /// BufferError: The elements are not to be written, or less than all is asked for. And what `count` raises.
    ///
    /// # Safety
    /// `view` must be one that Python passes to `__getbuffer__`, and the elements, with their format, shape and
    /// strides, be in place for as long as `exporter` lives and the buffer is counted.
    pub(crate) unsafe fn export(
        &self,
        exporter: &Bound<'_, PyAny>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
        count: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        // SAFETY: Python passes a buffer to be filled, by contract, and nobody else has it yet.
        let view = unsafe { &mut *view };
        view.obj = std::ptr::null_mut();
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE
            && let Some(refusal) = self.read_only
        {
            return Err(PyBufferError::new_err(refusal));
        }
        if flags & ffi::PyBUF_FULL_RO != ffi::PyBUF_FULL_RO {
            return Err(PyBufferError::new_err("ask for memoryview(object), which can lay elements out in any way"));
        }
        count()?;
        view.buf = self.origin.cast();
        view.obj = exporter.clone().into_ptr();
        view.itemsize = self.item_size;
        view.len = self.shape.iter().product::<isize>() * self.item_size;
        view.readonly = c_int::from(self.read_only.is_some());
        view.ndim = self.shape.len() as c_int;
        // CPython does not write to these.
        view.format = self.format.as_ptr().cast_mut();
        view.shape = self.shape.as_ptr().cast_mut();
        view.strides = self.strides.as_ptr().cast_mut();
        view.suboffsets = std::ptr::null_mut();
        view.internal = std::ptr::null_mut();
        Ok(())
    }
}
