//! Memory lent to consumers that know nothing of Python: Arrow arrays, DLPack tensors.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::python::block::object::MemBlock;
use crate::python::group::lease::Lease;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, LiveBlock, RawBlock};
use crate::python::list::object::MemList;
use crate::slot::{LiveSlots, Mirror, Slot, SlotPtr};

/// Keeps slots where they are, and counts as a view, until it is dropped: by any thread, attached or not, in a forked child or
/// while the interpreter ends. So it holds nothing of Python's, the group neither: when that goes, it ends gently.
pub(crate) struct ExportGuard {
    views: Arc<AtomicUsize>,
    /// Of the object of a pool that the bytes are part of. It ends before the slots go.
    lease: Option<Lease>,
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
    unsafe fn new(
        py: Python<'_>,
        group: &MemGroup,
        claim: Claim,
        slots: &[SlotPtr],
        lease: Option<Lease>,
    ) -> PyResult<Self> {
        let views = group.uses().shared_views();
        let mut kept = Vec::with_capacity(slots.len());
        group.while_slots_there(py, claim, |live| {
            // SAFETY: they are the slots of what while_slots_there has just found there, by contract.
            kept.extend(slots.iter().map(|&slot| unsafe { live.get(slot) }.share()));
            group.uses().add_view();
            lease.iter().for_each(Lease::add_view);
        })?;
        Ok(Self { views, lease, _slots: kept })
    }

    /// Lends the bytes of a block, through its own mirror.
    ///
    /// # Errors
    /// ValueError: It is freed.
    pub(crate) fn of_block(py: Python<'_>, block: &MemBlock) -> PyResult<(Self, NonNull<u8>, usize)> {
        let RawBlock { address, len, slot, .. } = block.raw();
        let lease = block.lease_while_there(py)?;
        // SAFETY: it is the slot that the block lies in.
        let guard = unsafe { Self::new(py, block.group().get(), block.held().claim(), &[slot], lease) }?;
        Ok((guard, address, len))
    }

    /// Lends the bytes of a block through the read-only mirror.
    ///
    /// # Errors
    /// ValueError: There is none, or the block is freed.
    pub(crate) fn of_block_read_only(py: Python<'_>, block: &MemBlock) -> PyResult<(Self, NonNull<u8>, usize)> {
        let (guard, _, len) = Self::of_block(py, block)?;
        // SAFETY: the guard has just taken a reference to the slot that the block lies in.
        let live = unsafe { LiveBlock::new(block.raw(), guard.slots()) };
        // SAFETY: the address of a block lies in the block's mirror.
        let moved = unsafe { live.move_to(block.mirror(), Mirror::ReadOnly) };
        let missing = || no_mirror(live.slot().check_mirror(Mirror::ReadOnly).err().unwrap_or(Error::NoMirror));
        let moved = moved.ok_or_else(missing)?;
        Ok((guard, moved.address, len))
    }

    /// Lends the slots of a list.
    ///
    /// # Errors
    /// ValueError: It is freed.
    pub(crate) fn of_list(py: Python<'_>, list: &MemList) -> PyResult<Self> {
        let slots = crate::list::arrow::slots(list.layout(), list.part());
        // SAFETY: they are the slots that the list lies in.
        unsafe { Self::new(py, list.group().get(), list.claim(), &slots, list.share_lease()) }
    }

    /// The slots that it holds.
    pub(crate) fn slots(&self) -> LiveSlots<'_> {
        // SAFETY: this holds a reference to each of them.
        unsafe { LiveSlots::new() }
    }
}

impl Drop for ExportGuard {
    fn drop(&mut self) {
        self.lease.iter().for_each(Lease::remove_view);
        // Who finds no views may free the group at once, and must find the consumer's last read done. The slots go after this.
        self.views.fetch_sub(1, Ordering::Release);
    }
}

/// The error for memory that has no read-only mirror.
#[cold]
pub(crate) fn no_mirror(missing: Error) -> PyErr {
    match missing {
        Error::NoMirror => PyValueError::new_err(
            "an Arrow array shows the read-only mirror, and an anonymous group has none: make the group with backing=\"memfd\" \
             or in a directory",
        ),
        missing => missing.into(),
    }
}
