//! Blocks of a pool: how they come to be, and how they end.
//!
//! Such a block is a `MemBlock` with something behind it that other blocks do not have: how it holds its object. A bit of the
//! block says so.

use std::ffi::c_void;
use std::sync::Arc;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::python::block::object::{Body, MemBlock};
use crate::python::ffi::trampoline::attached;
use crate::python::group::lease::{Hold, Lease, PoolEpoch};
use crate::python::group::lender::release_due;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{Claim, RawBlock};
use crate::slot::Mirror;

/// A block of a pool, or a part of one.
#[repr(C)]
struct PooledBlock {
    block: MemBlock,
    hold: Hold,
}

/// The block that holds an object which a pool has just taken.
pub(crate) fn block_of_object<'py>(
    group: &Bound<'py, MemGroup>,
    raw: RawBlock,
    lease: Lease,
) -> PyResult<Bound<'py, MemBlock>> {
    new(group, raw, Mirror::ReadWrite, Hold::whole(lease))
}

fn new<'py>(group: &Bound<'py, MemGroup>, raw: RawBlock, mirror: Mirror, hold: Hold) -> PyResult<Bound<'py, MemBlock>> {
    // SAFETY: the thread is attached.
    let memory = unsafe { ffi::PyObject_Malloc(size_of::<PooledBlock>()) };
    if memory.is_null() {
        return Err(PyMemoryError::new_err("no memory for a MemBlock"));
    }
    // SAFETY: it is not null.
    let place = unsafe { &raw mut (*memory.cast::<PooledBlock>()).hold };
    // SAFETY: the memory is new, and large enough.
    unsafe { place.write(hold) };
    // SAFETY: the memory is large enough for a block, and what lies behind it was just written.
    Ok(unsafe { MemBlock::init(group.py(), memory, Body::new(group, raw, mirror, true)) })
}

impl MemBlock {
    /// A block over bytes of an object of a pool, which holds the object, or over any other bytes.
    #[inline(always)]
    pub(crate) fn with_lease<'py>(
        group: &Bound<'py, MemGroup>,
        raw: RawBlock,
        mirror: Mirror,
        lease: Option<Lease>,
    ) -> PyResult<Bound<'py, Self>> {
        match lease {
            None => Self::new(group, raw, mirror),
            Some(lease) => new(group, raw, mirror, Hold::part(lease)),
        }
    }

    /// How the block holds an object of a pool; `None` of any other block.
    #[inline(always)]
    pub(crate) fn hold(&self) -> Option<&Hold> {
        if !self.is_pooled() {
            return None;
        }
        // SAFETY: only `new` above makes blocks that say so, as the first field of a PooledBlock, which lives as long.
        Some(unsafe { &(*std::ptr::from_ref(self).cast::<PooledBlock>()).hold })
    }

    /// Gives the object back, or where the block has given out its address, notes that it is to go when the block dies. Nobody
    /// may be using the block meanwhile.
    pub(crate) fn give_back(&self, hold: &Hold) {
        self.flags().give_back();
        if !self.is_exporter() {
            hold.lease().release();
        }
    }

    /// Makes an idle block of a pool an object again; `None` if there is none.
    #[inline(always)]
    pub(crate) fn wake<'py>(py: Python<'py>, epoch: &PoolEpoch) -> Option<Bound<'py, Self>> {
        let idle = pop_idle(py, epoch);
        if idle.is_null() {
            return None;
        }
        // SAFETY: it is a PooledBlock that nobody else has.
        unsafe { &(*idle.cast::<PooledBlock>()).hold }.lease().node().set_forks();
        // SAFETY: its fields are as `new` has made them, but for the head.
        Some(unsafe { Self::revive(py, idle) })
    }
}

/// The end of a block of a pool that neither a reference nor a weak one refers to.
///
/// # Safety
/// `this` must come from here, be called for once, and by an attached thread.
#[inline(always)]
pub(crate) unsafe fn delete(this: *mut MemBlock) {
    // SAFETY: the caller's promise.
    let hold = unsafe { &(*this.cast::<PooledBlock>()).hold };
    // SAFETY: the same.
    let block = unsafe { &*this };
    // SAFETY: the same.
    let py = unsafe { Python::assume_attached() };
    if block.is_only_pooled()
        && hold.may_idle()
        && let Some(below) = hold.lease().epoch().idle.push(py, this.cast())
    {
        block.set_link(below);
        // SAFETY: the block's memory is still there.
        let kind = unsafe { ffi::Py_TYPE(this.cast()) };
        // SAFETY: since Python 3.8 each object of a type made at run time holds a reference to it.
        unsafe { ffi::Py_DECREF(kind.cast()) };
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { delete_for_good(this) };
}

/// The same where the block does not lie idle.
///
/// # Safety
/// As for [`delete`].
#[inline(never)]
unsafe fn delete_for_good(this: *mut MemBlock) {
    // SAFETY: the caller's promise.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the same.
    let kind = unsafe { ffi::Py_TYPE(this.cast()) };
    // SAFETY: the same.
    let (group, was_exporter, epoch) = unsafe { take_apart(this) };
    tend(py, group.get(), &epoch);
    attached(py, |_| drop(group));
    // SAFETY: as in delete.
    unsafe { ffi::Py_DECREF(kind.cast()) };
    if was_exporter {
        release_due(py);
    }
}

/// Takes a block of a pool out of its memory, which is given back, and ends its lease.
///
/// # Safety
/// `this` must come from `new`, be called for once, and by an attached thread.
unsafe fn take_apart(this: *mut MemBlock) -> (Py<MemGroup>, bool, Arc<PoolEpoch>) {
    // SAFETY: the caller's promise.
    let hold = unsafe { &raw const (*this.cast::<PooledBlock>()).hold };
    // SAFETY: nobody reads it after this.
    let hold = unsafe { hold.read() };
    // SAFETY: the same.
    let (group, ended) = unsafe { MemBlock::take_body(this) }.end();
    if ended.was_view {
        hold.lease().remove_view();
    }
    // SAFETY: new has got it from there.
    unsafe { ffi::PyObject_Free(this.cast()) };
    (group, ended.was_exporter, hold.end(ended.was_released))
}

/// Does what is to be done to the bytes of objects that went back to their pool, while these are certainly there.
pub(crate) fn tend(py: Python<'_>, group: &MemGroup, epoch: &PoolEpoch) {
    if !epoch.table.shape().is_tended || group.is_frozen() {
        return;
    }
    let claim = Claim::of_epoch(epoch.epoch);
    // SAFETY: the group is open, and in the epoch of the objects: all of them are mapped.
    let tended = group.while_slots_there(py, claim, |_| unsafe { epoch.table.tend_returned() });
    if let Ok(Some(damage)) = tended {
        let error = epoch.damaged(damage, "was written to behind its end");
        attached(py, |py| error.write_unraisable(py, None));
    } else if let Err(error) = tended {
        attached(py, |_| drop(error)); // the group has ended, and with it what its memory held
    }
}

/// Deletes the idle blocks of an epoch, which keeps no more from now on. Their objects go back to the table.
pub(crate) fn delete_idle(py: Python<'_>, epoch: &PoolEpoch) {
    epoch.idle.close();
    loop {
        let idle = pop_idle(py, epoch);
        if idle.is_null() {
            return;
        }
        // SAFETY: an idle block comes from `new`, and nobody else has it.
        let (group, ..) = unsafe { take_apart(idle.cast()) };
        attached(py, |_| drop(group));
    }
}

#[inline(always)]
fn pop_idle(py: Python<'_>, epoch: &PoolEpoch) -> *mut c_void {
    // SAFETY: an idle block is a MemBlock, and nobody else has it.
    epoch.idle.pop(py, |block| unsafe { &*block.cast::<MemBlock>() }.take_link())
}
