//! Views of a block, and what holds its bytes once it has given out its address.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::{Get, MemBlock};
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::LiveBlock;
use crate::slot::Mirror;

impl MemBlock {
    /// Address of the first byte, for C code. It stays reserved for as long as the block lives.
    pub(crate) fn address(&self, py: Python<'_>) -> PyResult<usize> {
        self.while_there(py, |live| self.hold_slot(live))?;
        Ok(self.body.raw.address.addr().get())
    }

    /// # Safety
    /// `view` must be one that CPython asks to be filled.
    pub(crate) unsafe fn export(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        // SAFETY: CPython passes a Py_buffer to be filled; obj must be null where that fails.
        unsafe { (*view).obj = std::ptr::null_mut() };
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE && this.is_protected() {
            return Err(PyBufferError::new_err(this.why_read_only(slf.py())));
        }
        this.add_view(slf.py())?;
        let Bytes { start, len } = this.body.raw.bytes();
        // SAFETY: the view and the block are alive, and its bytes stay mapped for as long as the block, which the view
        // holds: add_view has seen to that. A length fits, for no slot is larger than 2^46 bytes.
        let filled = unsafe {
            let readonly = c_int::from(this.is_protected());
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast(), len as ffi::Py_ssize_t, readonly, flags)
        };
        if filled != 0 {
            this.remove_view();
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }

    /// Counts a view, and holds the slot from now on.
    pub(crate) fn add_view(&self, py: Python<'_>) -> PyResult<()> {
        let group = self.body.group.get();
        group.while_there(py, self.held(), |live| {
            self.hold_slot(live);
            match self.body.mirror {
                Mirror::ReadWrite => group.uses().add_view(),
                Mirror::ReadOnly => group.uses().add_protected_view(),
            }
            if let Some(hold) = self.hold() {
                hold.lease().add_view();
            }
        })
    }

    /// Makes it the block of an array, which counts as a view for as long as it lives.
    ///
    /// # Errors
    /// ValueError: It is freed.
    #[inline(always)]
    pub(crate) fn show_as_array(&self, py: Python<'_>) -> PyResult<()> {
        debug_assert!(!self.body.is_view.load(Ordering::Relaxed));
        self.add_view(py)?;
        self.body.is_view.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a view that [`add_view`](Self::add_view) counted.
    pub(crate) fn remove_view(&self) {
        remove_view(self.body.group.get(), self.body.mirror);
        if let Some(hold) = self.hold() {
            hold.lease().remove_view();
        }
    }

    /// Ends what [`MemGroup::add_pin`] counted.
    pub(crate) fn remove_pin(&self, generation: u32) {
        self.body.group.get().uses().remove_pin(generation);
    }

    /// Makes it an exporter, which holds its slot. `live` must be of that slot.
    pub(super) fn hold_slot(&self, live: LiveBlock<'_>) {
        let Bytes { start, len } = self.body.raw.bytes();
        if !self.body.flags.export(start.addr(), len) {
            // `delete` drops it.
            let _held = Arc::into_raw(live.share_slot());
            if self.body.mirror == Mirror::ReadWrite {
                self.body.group.get().uses().add_writer();
            }
        }
    }
}

/// Ends a view of a block that shows that mirror.
pub(super) fn remove_view(group: &MemGroup, mirror: Mirror) {
    match mirror {
        Mirror::ReadWrite => group.uses().remove_view(),
        Mirror::ReadOnly => group.uses().remove_protected_view(),
    }
}
