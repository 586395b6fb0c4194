//! The buffers of other objects.
//!
//! pyo3 has a type for this too, but it refuses buffers without dimensions (numpy's scalars).

use std::ffi::{CStr, c_int};
use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;

use super::strided::{Strided, reach};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::lender::Lender;
use crate::python::group::object::MemGroup;
use crate::scratch::Scratch;

/// A buffer that some object exports, which keeps its bytes in place until this is dropped.
///
/// It holds the proof that the thread is attached, so that it can be released without asking.
pub(crate) struct Buffer<'py>(Box<ffi::Py_buffer>, Python<'py>);

impl<'py> Buffer<'py> {
    /// Asks an object for its bytes, readable at least, in whatever order they lie.
    pub(crate) fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut buffer = Box::new(ffi::Py_buffer::new());
        // SAFETY: both pointers are valid, and the Py_buffer stays where it is for it is boxed.
        let refused = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &mut *buffer, ffi::PyBUF_FULL_RO) } != 0;
        if refused { Err(PyErr::fetch(object.py())) } else { Ok(Self(buffer, object.py())) }
    }

    /// The buffer, for a slot to keep.
    pub(crate) fn into_lender(self) -> Lender {
        let this = ManuallyDrop::new(self);
        // SAFETY: what it is read out of is never looked at again, nor dropped.
        let buffer = unsafe { std::ptr::read(&this.0) };
        // SAFETY: it was filled by `of`, and the lender alone has it.
        unsafe { Lender::new(this.1, buffer) }
    }

    /// Whether nobody may write to the bytes.
    pub(crate) fn is_read_only(&self) -> bool {
        self.0.readonly != 0
    }

    /// Whether an object is of a type that exports buffers.
    pub(crate) fn is_exported_by(object: &Bound<'_, PyAny>) -> bool {
        // SAFETY: the object is alive, and the thread attached; only its type is read.
        unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) != 0 }
    }

    /// Whether the bytes lie one behind the other in C order.
    pub(crate) fn is_c_contiguous(&self) -> bool {
        // SAFETY: the Py_buffer was filled by `of`.
        unsafe { ffi::PyBuffer_IsContiguous(&*self.0, b'C'.cast_signed() as std::ffi::c_char) != 0 }
    }

    /// The bytes; all of them where the buffer is C-contiguous.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::new(self.0.buf.cast(), self.0.len as usize)
    }

    /// The bytes where they do not lie one behind the other.
    pub(crate) fn strided(&self) -> Strided<'_> {
        let (shape, strides) = (self.shape(), self.strides());
        Strided::new(self.bytes(), self.item_size() as usize, shape, strides, self.per_dimension(self.0.suboffsets))
    }

    /// A copy of the bytes in C order, which is kept as secret as a secret group would.
    ///
    /// # Errors
    /// MemoryError: there is no room for it.
    pub(crate) fn gathered(&self, is_secret: bool) -> PyResult<Scratch<u8>> {
        let from = self.bytes();
        let mut copy = Scratch::<u8>::zeroed(is_secret, from.len)?;
        let to = Bytes::new(copy.as_mut_ptr(), copy.len());
        if self.is_c_contiguous() {
            // SAFETY: self keeps its bytes in place, and the copy has as many.
            unsafe { to.copy_from(from) };
        } else {
            // SAFETY: self keeps its bytes in place, and the copy is new and has as many.
            unsafe { self.strided().copy_to(to) };
        }
        Ok(copy)
    }

    /// Whether some of the bytes may be a group's.
    pub(crate) fn may_live_in(&self, py: Python<'_>, group: &MemGroup) -> bool {
        let reach = reach(self.origin(), self.item_size(), self.shape(), self.strides());
        match reach.filter(|_| !self.is_indirect()) {
            // A group that has ended cannot say.
            Some(addresses) => group.with_state(py, |state| !matches!(state.find(&addresses), Ok(None))),
            None => true,
        }
    }

    /// Address of the element with all indices 0.
    pub(crate) fn origin(&self) -> usize {
        self.0.buf.addr()
    }

    pub(crate) fn item_size(&self) -> isize {
        self.0.itemsize
    }

    /// How an element is laid out, in the notation of `struct`.
    pub(crate) fn format(&self) -> &CStr {
        if self.0.format.is_null() {
            return c"B";
        }
        // SAFETY: a format is a C string that lives as long as the buffer.
        unsafe { CStr::from_ptr(self.0.format) }
    }

    /// Elements in each dimension.
    pub(crate) fn shape(&self) -> &[isize] {
        self.per_dimension(self.0.shape)
    }

    /// Bytes from one element to the next in each dimension.
    pub(crate) fn strides(&self) -> &[isize] {
        self.per_dimension(self.0.strides)
    }

    /// Whether elements lie behind pointers instead of in one place.
    pub(crate) fn is_indirect(&self) -> bool {
        !self.0.suboffsets.is_null()
    }

    fn per_dimension(&self, numbers: *const isize) -> &[isize] {
        match usize::try_from(self.0.ndim as c_int) {
            // SAFETY: asked for everything, an object gives an array of ndim numbers, which lives as long as the buffer.
            Ok(dimensions) if dimensions > 0 && !numbers.is_null() => unsafe {
                std::slice::from_raw_parts(numbers, dimensions)
            },
            _ => &[],
        }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: the Py_buffer was filled by `of` and is released once, here, by an attached thread.
        unsafe { ffi::PyBuffer_Release(&mut *self.0) };
    }
}
