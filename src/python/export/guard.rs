//! Memory lent to consumers that know nothing of Python: Arrow arrays, DLPack tensors.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::python::block::raw::Held;
use crate::python::group::object::MemGroup;
use crate::slot::Slot;

/// Keeps slots where they are, and counts as a view, until it is dropped: by any thread, attached or not, in a forked child or
/// while the interpreter ends. So it holds nothing of Python's, the group neither: when that goes, it ends gently.
pub(crate) struct ExportGuard {
    views: Arc<AtomicUsize>,
    _slots: Vec<Arc<Slot>>,
}

impl ExportGuard {
    /// Lends slots of what is held, if that is still there.
    ///
    /// # Safety
    /// The slots must be there for as long as what is held.
    ///
    /// # Errors
    /// ValueError: It is freed.
    pub(crate) unsafe fn new(py: Python<'_>, group: &MemGroup, held: Held, slots: &[NonNull<Slot>]) -> PyResult<Self> {
        let views = group.shared_views();
        let mut kept = Vec::with_capacity(slots.len());
        group.while_there(py, held, || {
            kept.extend(slots.iter().map(|slot| {
                let slot = slot.as_ptr().cast_const();
                // SAFETY: slots are made by Arc, and while_there has just found them there.
                unsafe { Arc::increment_strong_count(slot) };
                // SAFETY: this is the reference that was just counted.
                unsafe { Arc::from_raw(slot) }
            }));
            group.add_view();
        })?;
        Ok(Self { views, _slots: kept })
    }
}

impl Drop for ExportGuard {
    fn drop(&mut self) {
        // Who finds no views may free the group at once, and must find the consumer's last read done. The slots go after this.
        self.views.fetch_sub(1, Ordering::Release);
    }
}
