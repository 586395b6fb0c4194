//! A buffer for the next bytes of a reader's stream, which Python code stores.

use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::python::ffi::trampoline::attached;

/// A buffer for the next bytes.
pub(super) struct Offer {
    pub(super) view: Py<PyMemoryView>,
    /// Of what is read ahead: all of the bytearray, which keeps its size while this is there.
    pub(super) scratch: Option<Py<PyMemoryView>>,
}

impl Offer {
    /// Takes the buffer back from whoever stored into it. One that is still in use stays valid for them.
    pub(super) fn release(self, py: Python<'_>) {
        if let Err(in_use) = self.view.call_method0(py, "release") {
            attached(py, |_| drop(in_use));
        }
    }
}
