//! The other side of a copy, a comparison, an assignment or a search.

use std::cmp::Ordering;

use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::strided::Strided;
use crate::python::block::buffer::Buffer;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments::{self, type_name};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::trampoline::attached;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, Held};
use crate::scratch::Scratch;

/// A place for each byte there is.
static EVERY_BYTE: [u8; 256] = {
    let mut every = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        every[byte] = byte as u8;
        byte += 1;
    }
    every
};

/// Some bytes, kept in place for as long as this lives.
pub(crate) enum BytesLike<'py> {
    /// A block of the same group. Borrowed through the buffer protocol it would become an exporter.
    Held(Held),
    /// Of a bytes object, which never changes and needs no export.
    Immutable(Bound<'py, PyBytes>),
    /// Of any bytes-like object, in whatever order they lie.
    Exported(Buffer<'py>),
    /// Copied from such an object, in C order.
    Gathered(Scratch<u8>),
    /// One of [`EVERY_BYTE`].
    Byte(&'static u8),
}

impl<'py> BytesLike<'py> {
    /// Borrows the bytes of any bytes-like object, for an operation on the blocks of `group`.
    pub(crate) fn of(object: &Bound<'py, PyAny>, group: &Py<MemGroup>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            return Ok(Self::Immutable(bytes.clone()));
        }
        match object.cast::<MemBlock>() {
            Ok(block) if block.get().belongs_to(group) => Ok(Self::Held(block.get().held())),
            _ => Buffer::of(object).map(Self::Exported).map_err(|error| explained(object, error)),
        }
    }

    /// The bytes of an object [in order](Self::in_order).
    pub(crate) fn of_in_order(object: &Bound<'py, PyAny>, group: &Py<MemGroup>) -> PyResult<Self> {
        Self::of(object, group)?.in_order(object.py(), group.get())
    }

    /// The bytes of an object, or `None` of one that exports none (now). Errors of other kinds are the user's to see.
    pub(crate) fn if_exported(object: &Bound<'py, PyAny>, group: &Py<MemGroup>) -> PyResult<Option<Self>> {
        // Most objects that lend none are known by their type, without an exception to drop.
        if Buffer::is_exported_by(object) { if_any(object.py(), Self::of(object, group)) } else { Ok(None) }
    }

    /// The bytes of an object, where an integer stands for one byte.
    pub(crate) fn or_byte(object: &Bound<'py, PyAny>, group: &Py<MemGroup>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            return Ok(Self::Immutable(bytes.clone()));
        }
        if let Some(byte) = arguments::plain_integer(object).and_then(|byte| EVERY_BYTE.get(byte as usize)) {
            return Ok(Self::Byte(byte));
        }
        // numpy's integers export buffers, and numpy's arrays have an __index__ that seldom works: an integer counts as
        // one, whatever else it is.
        if arguments::has_index(object) {
            match arguments::byte(object) {
                Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => {
                    attached(object.py(), |_| drop(error))
                }
                byte => return byte.map(|byte| Self::Byte(&EVERY_BYTE[usize::from(byte)])),
            }
        }
        Self::of_in_order(object, group)
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Held(held) => held.raw.len,
            Self::Immutable(bytes) => bytes.as_bytes().len(),
            Self::Exported(buffer) => buffer.bytes().len,
            Self::Gathered(copy) => copy.len(),
            Self::Byte(_) => 1,
        }
    }

    /// These bytes one behind the other, copied if need be; as secret as the group is.
    pub(crate) fn in_order(self, py: Python<'py>, group: &MemGroup) -> PyResult<Self> {
        match self {
            Self::Exported(buffer) if !buffer.is_c_contiguous() => {
                buffer.gathered(group.is_secret(py)).map(Self::Gathered)
            }
            in_order => Ok(in_order),
        }
    }

    /// These bytes, copied if they lie anywhere, perhaps in the group: who writes there would write to what is still to
    /// be read.
    pub(crate) fn apart(self, py: Python<'py>, group: &MemGroup) -> PyResult<Self> {
        match &self {
            Self::Exported(buffer) if !buffer.is_c_contiguous() && buffer.may_live_in(py, group) => {
                self.in_order(py, group)
            }
            _ => Ok(self),
        }
    }

    /// The bytes as they lie.
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Exported(buffer) if !buffer.is_c_contiguous() => Source::Strided(buffer.strided()),
            _ => Source::InOrder(self.bytes()),
        }
    }

    /// The bytes, if they are [in order](Self::in_order).
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Held(held) => held.raw.bytes(),
            Self::Immutable(bytes) => {
                let bytes = bytes.as_bytes();
                Bytes::new(bytes.as_ptr().cast_mut(), bytes.len())
            }
            Self::Exported(buffer) => buffer.bytes(),
            Self::Gathered(copy) => Bytes::new(copy.as_ptr().cast_mut(), copy.len()),
            Self::Byte(byte) => Bytes::new(std::ptr::from_ref(*byte).cast_mut(), 1),
        }
    }

    /// What must still be there for the bytes to be touched.
    pub(crate) fn claim(&self) -> Option<Claim> {
        match self {
            Self::Held(held) => Some(held.claim()),
            _ => None,
        }
    }
}

/// Bytes of a bytes-like object, for closures that run detached.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    InOrder(Bytes),
    Strided(Strided<'a>),
}

impl Source<'_> {
    /// Copies all of them to the start of `to`; those that lie in order may overlap with it.
    ///
    /// # Safety
    /// The bytes-like object must be there, and `to` mapped, writable, as long, and apart from an object that lies
    /// anywhere.
    pub(crate) unsafe fn copy_to(self, to: Bytes) {
        match self {
            // SAFETY: the bytes are there, and `to` mapped, writable and as long, by contract.
            Self::InOrder(from) => unsafe { to.copy_from(from) },
            // SAFETY: the object is held, and `to` mapped, writable, as long and apart from it, by contract.
            Self::Strided(from) => unsafe { from.copy_to(to) },
        }
    }

    /// How `bytes` compare with them, as Python's bytes do.
    ///
    /// # Safety
    /// The bytes-like object must be there, and `bytes` mapped.
    pub(crate) unsafe fn compared_by(self, bytes: Bytes) -> Ordering {
        match self {
            // SAFETY: both are mapped, by contract.
            Self::InOrder(other) => unsafe { bytes.compare(other) },
            // SAFETY: the object is held, and `bytes` mapped, by contract.
            Self::Strided(other) => unsafe { other.compared_by(bytes) },
        }
    }
}

/// Turns the errors that say an object lends no bytes (now) into `None`. Others are the user's to see.
pub(crate) fn if_any<T>(py: Python<'_>, exported: PyResult<T>) -> PyResult<Option<T>> {
    match exported {
        Ok(exported) => Ok(Some(exported)),
        Err(error) => {
            let lends_none = error.is_instance_of::<PyTypeError>(py)
                || error.is_instance_of::<PyBufferError>(py)
                || error.is_instance_of::<PyValueError>(py);
            if !lends_none {
                return Err(error);
            }
            attached(py, |_| drop(error));
            Ok(None)
        }
    }
}

/// Says in place of a TypeError what would have done.
pub(crate) fn explained(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(object.py()) {
        return error;
    }
    let remedy = if object.is_instance_of::<PyString>() { ": encode it first" } else { "" };
    PyTypeError::new_err(format!("a bytes-like object is required, not {}{remedy}", type_name(object)))
}
