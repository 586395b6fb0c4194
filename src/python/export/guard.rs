//! Memory lent to consumers that know nothing of Python: Arrow arrays, DLPack tensors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::python::block::raw::Claim;
use crate::python::group::object::MemGroup;
use crate::slot::{LiveSlots, Slot, SlotPtr};

/// Keeps slots where they are, and counts as a view, until it is dropped: by any thread, attached or not, in a forked child or
/// while the interpreter ends. So it holds nothing of Python's, the group neither: when that goes, it ends gently.
pub(crate) struct ExportGuard {
    views: Arc<AtomicUsize>,
    _slots: Vec<Arc<Slot>>,
}

impl ExportGuard {
    /// Lends slots of a block or a list, if that is still there.
    ///
    /// # Safety
    /// The slots must be those that it lies in.
    ///
    /// # Errors
    /// ValueError: It is freed.
    pub(crate) unsafe fn new(py: Python<'_>, group: &MemGroup, claim: Claim, slots: &[SlotPtr]) -> PyResult<Self> {
        let views = group.shared_views();
        let mut kept = Vec::with_capacity(slots.len());
        group.while_slots_there(py, claim, |live| {
            // SAFETY: they are the slots of what is there, by the caller's promise.
            kept.extend(slots.iter().map(|&slot| unsafe { live.get(slot) }.share()));
            group.add_view();
        })?;
        Ok(Self { views, _slots: kept })
    }

    /// The slots that are lent.
    pub(crate) fn slots(&self) -> LiveSlots<'_> {
        // SAFETY: this holds a reference to each of them.
        unsafe { LiveSlots::new() }
    }
}

impl Drop for ExportGuard {
    fn drop(&mut self) {
        // Who finds no views may free the group at once, and must find the consumer's last read done. The slots go after this.
        self.views.fetch_sub(1, Ordering::Release);
    }
}
