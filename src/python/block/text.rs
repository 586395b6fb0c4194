//! The methods of a block that make text of a copy of its bytes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::methods::native_methods;
use crate::python::ffi::raw_bytes::Bytes;

native_methods! {
    MemBlock;

    /// Return the bytes as a str.
    ///
    /// Raises:
    ///     UnicodeDecodeError: The bytes are not text in that encoding.
    decode "($self, encoding='utf-8', errors='strict')" => by_name(; encoding, errors;) |block| decoded(block, encoding, errors);

    /// Return the bytes as hexadecimal digits, with `sep` between each `bytes_per_sep` bytes.
    hex "($self, sep=None, bytes_per_sep=1)" => by_name(; sep, bytes_per_sep;) |block| in_hex(block, sep, bytes_per_sep);
}

/// Bytes that are decoded or shown from a copy on the stack.
const STACK_COPY_BYTES: usize = 512;

/// Works on a copy of a block's bytes, if that is short enough for the stack.
fn with_short_copy<R>(block: &Bound<'_, MemBlock>, work: impl FnOnce(&[u8]) -> PyResult<R>) -> PyResult<Option<R>> {
    let len = block.get().raw().len;
    if len > STACK_COPY_BYTES {
        return Ok(None);
    }
    let mut copy = [0; STACK_COPY_BYTES];
    let to = Bytes::new(copy.as_mut_ptr(), len);
    // SAFETY: access checks that the bytes are there, and there is room for as many.
    block.get().access(block.py(), len, move |bytes| unsafe { to.copy_from(bytes) })?;
    work(&copy[..len]).map(Some)
}

/// What a method of bytes makes of a copy of a block.
fn from_bytes<'py>(
    block: &Bound<'py, MemBlock>,
    method: &str,
    given: [(&str, Option<&Bound<'py, PyAny>>); 2],
) -> PyResult<Bound<'py, PyAny>> {
    let py = block.py();
    let options = PyDict::new(py);
    for (name, value) in given {
        value.map(|value| options.set_item(name, value)).transpose()?;
    }
    block.get().tobytes(py)?.call_method(method, (), Some(&options))
}

fn decoded<'py>(
    block: &Bound<'py, MemBlock>,
    encoding: Option<&Bound<'py, PyAny>>,
    errors: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if encoding.is_none() && errors.is_none() {
        let decode = |copy: &[u8]| {
            let len = copy.len() as ffi::Py_ssize_t;
            // SAFETY: the copy has as many bytes; no name of error handling means "strict".
            let text = unsafe { ffi::PyUnicode_DecodeUTF8(copy.as_ptr().cast(), len, std::ptr::null()) };
            // SAFETY: it is a new reference, or null with an exception set.
            unsafe { Bound::from_owned_ptr_or_err(block.py(), text) }
        };
        if let Some(text) = with_short_copy(block, decode)? {
            return Ok(text);
        }
    }
    from_bytes(block, "decode", [("encoding", encoding), ("errors", errors)])
}

fn in_hex<'py>(
    block: &Bound<'py, MemBlock>,
    sep: Option<&Bound<'py, PyAny>>,
    bytes_per_sep: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if sep.is_none() && bytes_per_sep.is_none() {
        let show = |copy: &[u8]| {
            let mut digits = [0; 2 * STACK_COPY_BYTES];
            for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(copy) {
                *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            }
            Ok(PyString::from_bytes(block.py(), &digits[..2 * copy.len()])?.into_any())
        };
        if let Some(text) = with_short_copy(block, show)? {
            return Ok(text);
        }
    }
    from_bytes(block, "hex", [("sep", sep), ("bytes_per_sep", bytes_per_sep)])
}
