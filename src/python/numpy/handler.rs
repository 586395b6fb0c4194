//! numpy's arrays in a group: the functions that numpy calls to allocate (NEP 49).
//!
//! numpy does not say what it allocates for: it may be an array of objects, of pointers into this very process. So all
//! of it is private memory, which a forked child has a copy of and no end of the group takes away from an array.
//!
//! Each array that numpy allocates here counts as a view, and holds its slot by a reference of its own, as an exporter
//! does. Nothing is noted anywhere else: where it is, is found by its address when it dies. What it leaves is for the
//! next arrays ([`FreeRanges`](crate::python::group::free_ranges::FreeRanges)), so that the temporaries of an
//! expression share their memory; what does not fit them stays until the group is reset.
//!
//! numpy takes an error for no answer but null, and calls with locks of its own held. So nothing here raises, runs
//! Python code, or lets the GIL go.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use crate::layout;
use crate::python::ffi::raw_bytes::Bytes;
use crate::python::ffi::trampoline::borrowed;
use crate::python::group::object::MemGroup;
use crate::python::group::raw::{LiveBlock, RawBlock};
use crate::slot::LiveSlots;

/// Of arrays: a cache line, and what the widest vectors of today want.
pub(super) const ALIGN: usize = 64;

const NAME: &std::ffi::CStr = c"mem_handler";

/// What numpy finds behind a capsule of that name.
#[repr(C)]
struct DataMemHandler {
    name: [u8; 127],
    version: u8,
    /// A `MemGroup`, which the capsule keeps alive, and each array the capsule.
    group: *mut PyObject,
    malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void, usize),
}

/// A capsule by which numpy allocates in a group.
pub(super) fn capsule<'py>(slf: &Bound<'py, MemGroup>) -> PyResult<Bound<'py, PyAny>> {
    slf.get().open_private(slf.py())?;
    let mut name = [0; 127];
    for (place, &letter) in name.iter_mut().zip(b"memgroup") {
        *place = letter;
    }
    let group = slf.clone().into_ptr();
    let handler = Box::into_raw(Box::new(DataMemHandler { name, version: 1, group, malloc, calloc, realloc, free }));
    // SAFETY: the name is a constant, and drop_handler takes what the pointer is to.
    let made = unsafe { ffi::PyCapsule_New(handler.cast(), NAME.as_ptr(), Some(drop_handler)) };
    if made.is_null() {
        // SAFETY: it was just made, and nobody else knows it.
        let handler = unsafe { Box::from_raw(handler) };
        // SAFETY: the reference was the handler's.
        unsafe { ffi::Py_DECREF(handler.group) };
    }
    // SAFETY: it is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(slf.py(), made) }
}

unsafe extern "C" fn drop_handler(capsule: *mut PyObject) {
    // SAFETY: Python passes the capsule, of that name, once, as it dies.
    let handler = unsafe { ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()) }.cast::<DataMemHandler>();
    // SAFETY: `capsule` made it, and nobody else takes it.
    let handler = unsafe { Box::from_raw(handler) };
    // SAFETY: Python calls with the thread attached, and the reference was the handler's.
    unsafe { ffi::Py_DECREF(handler.group) };
}

/// Works on a group, attached: numpy may call without the GIL, and from any thread.
///
/// pyo3's own way would let go of what others have dropped, which may run Python code; and it refuses while the
/// interpreter ends, when arrays still die.
///
/// # Safety
/// `context` must be the group of a handler.
unsafe fn on_group<R>(context: *mut c_void, work: impl FnOnce(Python<'_>, &MemGroup) -> R) -> R {
    // SAFETY: numpy calls while there is an interpreter.
    let state = unsafe { ffi::PyGILState_Ensure() };
    // SAFETY: the thread is attached now.
    let py = unsafe { Python::assume_attached() };
    let context = context.cast();
    // SAFETY: the capsule keeps the group alive, and numpy the capsule while it calls.
    let done = work(py, unsafe { borrowed::<MemGroup>(py, &context) }.get());
    // SAFETY: this belongs to the call above.
    unsafe { ffi::PyGILState_Release(state) };
    done
}

/// Bytes taken for an array of so many.
fn taken_for(size: usize) -> Option<usize> {
    layout::align_up(size.max(1), ALIGN)
}

fn allocate(py: Python<'_>, group: &MemGroup, size: usize) -> Option<RawBlock> {
    group.with_state(py, |state| {
        let live = state.private()?.alloc_attached(py, taken_for(size)?, ALIGN)?;
        let raw = live.raw();
        // `release` drops it.
        let _held = Arc::into_raw(live.share_slot());
        group.uses().add_view();
        group.count(raw.len);
        Some(raw)
    })
}

fn address_of(raw: Option<RawBlock>) -> *mut c_void {
    raw.map_or(null_mut(), |raw| raw.address.as_ptr().cast())
}

unsafe extern "C" fn malloc(context: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: numpy passes what the handler says.
    unsafe { on_group(context, |py, group| address_of(allocate(py, group, size))) }
}

unsafe extern "C" fn calloc(context: *mut c_void, many: usize, size: usize) -> *mut c_void {
    let Some(size) = many.checked_mul(size) else { return null_mut() };
    let body = |py: Python<'_>, group: &MemGroup| {
        let raw = allocate(py, group, size);
        // SAFETY: the array that it is for holds the slot.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: the slot is the one that the raw block lies in.
        if let Some(raw) = raw.filter(|&raw| !unsafe { LiveBlock::new(raw, slots) }.slot().is_fresh()) {
            // SAFETY: the bytes were just taken, from a read-write mirror.
            unsafe { raw.bytes().clear() };
        }
        address_of(raw)
    };
    // SAFETY: numpy passes what the handler says.
    unsafe { on_group(context, body) }
}

unsafe extern "C" fn realloc(context: *mut c_void, array: *mut c_void, size: usize) -> *mut c_void {
    let Some(address) = NonNull::new(array.cast::<u8>()) else {
        // SAFETY: numpy passes what the handler says.
        return unsafe { malloc(context, size) };
    };
    let body = |py: Python<'_>, group: &MemGroup| {
        let start = address.addr().get();
        let before = group.with_state(py, |state| {
            let state = state.private()?;
            let slot = state.slot_of(start)?;
            // SAFETY: the bytes are that slot's, which the array holds, and the array's.
            unsafe { state.resize(py, slot, start, taken_for(size)?) }
        });
        if let (Some(before), Some(size)) = (before, taken_for(size)) {
            group.recount(before, size);
            return array;
        }
        let Some(moved) = allocate(py, group, size) else { return null_mut() };
        let slot = group.with_state(py, |state| state.private()?.slot_of(start));
        // SAFETY: the array holds its slot.
        let slots = unsafe { LiveSlots::new() };
        // SAFETY: it is that slot.
        let there = slot.map_or(0, |slot| unsafe { slots.get(slot) }.used_from(start));
        // How long the array is nobody says. What is copied behind its end is as good as any other garbage.
        let many = size.min(there);
        // SAFETY: both ranges are mapped, in read-write mirrors, for what is used of a slot is committed.
        unsafe { moved.bytes().copy_from(Bytes::new(address.as_ptr(), many)) };
        // SAFETY: the bytes are the array's, which has forgotten them.
        unsafe { release(py, group, start, None) };
        address_of(Some(moved))
    };
    // SAFETY: numpy passes what the handler says.
    unsafe { on_group(context, body) }
}

unsafe extern "C" fn free(context: *mut c_void, array: *mut c_void, size: usize) {
    if array.is_null() {
        return;
    }
    // SAFETY: numpy passes what it was given, and forgets it.
    let body = |py: Python<'_>, group: &MemGroup| unsafe { release(py, group, array.addr(), Some(size)) };
    // SAFETY: numpy passes what the handler says.
    unsafe { on_group(context, body) };
}

/// The end of an array.
///
/// # Safety
/// The bytes at that address must come from [`allocate`], and be nobody's any more.
unsafe fn release(py: Python<'_>, group: &MemGroup, address: usize, size: Option<usize>) {
    let slot = group.with_state(py, |state| {
        let state = state.private()?;
        let slot = state.slot_of(address)?;
        if let Some(size) = size
            // SAFETY: the array holds the slot, and the rest is the caller's promise.
            && unsafe { state.take_back(py, slot, address, taken_for(size)?) }
        {
            group.uncount(taken_for(size)?);
        }
        Some(slot)
    });
    group.uses().remove_view();
    if let Some(slot) = slot {
        // SAFETY: allocate took the reference that is given back here.
        unsafe { Arc::decrement_strong_count(slot.as_ptr().cast_const()) };
    }
}
