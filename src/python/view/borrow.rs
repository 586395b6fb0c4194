//! `MemGroup.borrow`: another object's memory as a block.

use std::ptr::NonNull;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use crate::python::block::buffer::Buffer;
use crate::python::block::bytes_like::explained;
use crate::python::block::object::{Get, MemBlock};
use crate::python::ffi::arguments::type_name;
use crate::python::group::lender::release_due;
use crate::python::group::object::MemGroup;
use crate::python::group::state::Known;
use crate::python::view::strided_view::ViewLayout;
use crate::slot::{BorrowedMemory, Owner};

/// A block that shows the bytes of any object that exports a buffer.
pub(crate) fn borrow<'py>(slf: &Bound<'py, MemGroup>, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemBlock>> {
    let (py, this) = (slf.py(), slf.get());
    this.check_open(py)?;
    if let Ok(block) = object.cast::<MemBlock>()
        && block.get().belongs_to(slf.as_unbound())
    {
        block.get().check(py)?;
        return Ok(block.clone());
    }
    let buffer = Buffer::of(object).map_err(|error| explained(object, error))?;
    let contents = ViewLayout::of(&buffer)?.contents();
    if let Some(elements) = contents.objects {
        let kind = type_name(object);
        return Err(PyTypeError::new_err(format!(
            "cannot borrow a {kind} of {elements}: its elements refer to objects, and their bytes are addresses"
        )));
    }
    if !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err(format!(
            "cannot borrow a {} whose bytes are not contiguous: use group.copy(x)",
            type_name(object)
        )));
    }
    let (bytes, is_writable) = (buffer.bytes(), !buffer.is_read_only());
    // Of nothing there is nothing to keep, and an address says nothing.
    let start = NonNull::new(bytes.start).filter(|_| bytes.len > 0).unwrap_or(NonNull::dangling());
    let addresses = start.addr().get()..start.addr().get() + bytes.len;
    // What the group shows it must not hold a reference to through others: nothing would ever end it.
    let may_be_known =
        bytes.len > 0 && !(object.is_exact_instance_of::<PyBytes>() || object.is_exact_instance_of::<PyByteArray>());
    let lender = (bytes.len > 0).then(|| buffer.into_lender());
    let borrowed = this.try_with_state(py, move |state| {
        state.check_open()?;
        let known = if may_be_known { state.known(&addresses, is_writable) } else { None };
        let owner: Owner = match known {
            Some(Known::Block(raw, mirror)) => return Ok(Ok((raw, mirror))),
            Some(Known::Owner(owner)) => owner,
            // Found by the garbage collector, which looks for lenders.
            None => lender.map_or(Box::new(()) as Owner, |lender| Box::new(lender)),
        };
        // SAFETY: the buffer keeps so many bytes until it is released, and it says itself whether they can be written; or else the
        // slot keeps them that they were found in.
        state.borrow(unsafe { BorrowedMemory::new(start, bytes.len, is_writable, owner) })
    });
    release_due(py);
    let (raw, mirror) = borrowed??;
    MemBlock::with_lease(slf, raw, mirror, this.lease_of(py, raw, mirror))
}
