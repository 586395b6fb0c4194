//! The type `MemBlock`: which C function Python finds where, and what of [`MemBlock`] each of them calls.

use std::ffi::c_int;

use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::block::object::{Get, MemBlock, TYPE};
use crate::python::block::{parts, pooled, search, text};
use crate::python::export::{arrow, dlpack, pickle};
use crate::python::ffi::arguments::{self, given};
use crate::python::ffi::methods::{native_fn, native_methods};
use crate::python::ffi::native_type::NativeType;
use crate::python::ffi::trampoline::{on_object, trampoline};
use crate::python::list::split;

native_methods! {
    MemBlock;

    /// Return a copy of the bytes.
    tobytes "($self, /)" => no_arguments |block| block.get().tobytes(block.py());

    /// The type of the Arrow array that the block is taken as: uint8.
    __arrow_c_schema__ "($self, /)" => no_arguments |block| arrow::schema_of_block(block);

    /// The block as an Arrow array of uint8 that shows the read-only mirror.
    ///
    /// Raises:
    ///     ValueError: Another type is requested, the group is anonymous, or the block is freed.
    __arrow_c_array__ "($self, requested_schema=None)" => by_name(; requested_schema;) |block| arrow::export_block(block, given(requested_schema));

    /// The block as a DLPack tensor of uint8 with one dimension. It counts as a view for as long as its consumer keeps
    /// it.
    ///
    /// Args:
    ///     stream: None: main memory has no streams.
    ///     max_version: The newest version that the consumer knows. Before (1, 0), no block that is protected can be exported.
    ///     dl_device: None or (1, 0), which is main memory.
    ///     copy: Whether to export a copy, a new block of the group.
    ///
    /// Raises:
    ///     BufferError: It cannot be exported as requested.
    __dlpack__ "($self, *, stream=None, max_version=None, dl_device=None, copy=None)" => by_name(;; stream, max_version, dl_device, copy) |block| {
        let [stream, max_version, dl_device, copy] = [stream, max_version, dl_device, copy].map(given);
        dlpack::export(block, &dlpack::DlpackRequest { stream, max_version, dl_device, copy })
    };

    /// (1, 0): main memory.
    __dlpack_device__ "($self, /)" => no_arguments |block| Ok::<_, PyErr>(dlpack::DEVICE);

    /// Pickles: with protocol 5 the bytes can go out of band, without a copy. What is loaded is in a group of the receiver.
    __reduce_ex__ "($self, protocol, /)" => by_position |block, args| reduced(block, args);

    /// A new block of the group with the same bytes, protected if this one is.
    __copy__ "($self, /)" => no_arguments |block| block.get().duplicate(block.py());

    /// The same as `copy.copy`.
    __deepcopy__ "($self, memo=None, /)" => by_position |block, args| match args {
        [] | [_] => block.get().duplicate(block.py()),
        _ => Err(PyTypeError::new_err(format!("__deepcopy__() takes at most 1 argument, got {}", args.len()))),
    };
}

/// The type, made when the module is initialised.
pub(crate) fn make(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let made = TYPE.get_or_try_init(py, || {
        let kind = NativeType::new(
            c"MemBlock()
--

One allocation of a group: a bytes-like object, writable unless protected, that compares by content.

Indexing gives integers; a slice shares the block's bytes. Blocks are made by a group's `alloc`, `copy`, `protect` and
`unprotect`, and keep their group alive. Every use of a block of a freed group raises ValueError.",
        )
        .slot(ffi::Py_tp_new, new as *const ())
        .slot(ffi::Py_tp_dealloc, dealloc as *const ())
        .slot(ffi::Py_tp_repr, native_fn!(MemBlock: |block| -> object block.get().repr(block.py())) as *const ())
        .slot(
            ffi::Py_tp_richcompare,
            native_fn!(MemBlock: |block, other: object, operator: c_int| -> object compare(block, other, operator))
                as *const (),
        )
        .slot(ffi::Py_tp_iter, native_fn!(MemBlock: |block| -> object MemBlock::iter(block)) as *const ())
        .slot(
            ffi::Py_sq_contains,
            native_fn!(MemBlock: |block, sub: object| -> c_int block.get().contains(block.py(), sub).map(c_int::from))
                as *const (),
        )
        .slot(ffi::Py_sq_length, len as *const ())
        .slot(
            ffi::Py_sq_item,
            native_fn!(MemBlock: |block, at: isize| -> object block.get().byte_at(block.py(), at)) as *const (),
        )
        .slot(
            ffi::Py_sq_ass_item,
            native_fn!(MemBlock: |block, at: isize, value: nullable| -> c_int {
                block.get().set_byte_at(block.py(), at, not_deleted(value)?).map(|()| 0)
            }) as *const (),
        )
        .slot(ffi::Py_mp_length, len as *const ())
        .slot(
            ffi::Py_mp_subscript,
            native_fn!(MemBlock: |block, key: object| -> object MemBlock::get_item(block, key)) as *const (),
        )
        .slot(
            ffi::Py_mp_ass_subscript,
            native_fn!(MemBlock: |block, key: object, value: nullable| -> c_int {
                MemBlock::set_item(block, key, not_deleted(value)?).map(|()| 0)
            }) as *const (),
        )
        .slot(ffi::Py_bf_getbuffer, export as *const ())
        .slot(ffi::Py_bf_releasebuffer, release as *const ())
        .getter(
            c"nbytes",
            native_fn!(MemBlock: |block, _closure: closure| -> object block.get().len(block.py())),
            c"Size in bytes.",
        )
        .getter(
            c"readonly",
            native_fn!(MemBlock: |block, _closure: closure| -> object block.get().readonly(block.py())),
            c"Whether the block shows the read-only mirror.",
        )
        .getter(
            c"address",
            native_fn!(MemBlock: |block, _closure: closure| -> object block.get().address(block.py())),
            c"Address of the first byte, for C code. It stays reserved for as long as the block lives.",
        )
        .methods(METHODS)
        .methods(search::METHODS)
        .methods(parts::METHODS)
        .methods(split::METHODS)
        .methods(text::METHODS)
        .weak_references_at(MemBlock::WEAK_REFERENCES);
        // SAFETY: the functions have the signatures that CPython documents for these slots, getters and methods, and take
        // their object for the MemBlock that it is.
        unsafe { kind.build(py, c"memgroup.MemBlock", size_of::<MemBlock>()) }.map(Bound::unbind)
    });
    made.map(|made| made.bind(py))
}

unsafe extern "C" fn new(_class: *mut ffi::PyTypeObject, _args: *mut PyObject, _names: *mut PyObject) -> *mut PyObject {
    let calls = "group.alloc(n), or group.copy(data) for one with given contents";
    let refuse = |_: Python<'_>| Err(arguments::made_by_group("MemBlock", calls));
    // SAFETY: Python calls a slot, with the thread attached.
    unsafe { trampoline(refuse) }
}

unsafe extern "C" fn dealloc(slf: *mut PyObject) {
    let this = slf.cast::<MemBlock>();
    // SAFETY: it is a block, and there until one of the two below.
    let block = unsafe { &*this };
    if block.is_plain() && !block.is_watched() {
        // SAFETY: MemBlock::new made it, for it is of no pool; Python calls this once for each object, when nobody refers to it
        // any more, with the thread attached; and no weak reference is left.
        unsafe { MemBlock::delete_plain(this) }
    } else {
        // SAFETY: Python calls this once for each object, when nobody refers to it any more, with the thread attached.
        unsafe { dealloc_other(this) }
    }
}

/// The end of a block that is of a pool, or an exporter, or watched by weak references.
///
/// # Safety
/// `this` must be a block, which nobody refers to any more; to be called once, by an attached thread.
#[inline(never)]
unsafe fn dealloc_other(this: *mut MemBlock) {
    // SAFETY: the caller's promise.
    unsafe { MemBlock::clear_weak_references(this) };
    // SAFETY: it is a block, and there until one of the two below.
    if unsafe { &*this }.is_pooled() {
        // SAFETY: only pooled makes blocks that say so; this one's end comes once, and no weak reference is left.
        unsafe { pooled::delete(this) }
    } else {
        // SAFETY: MemBlock::new made it, for it does not say so; its end comes once, and no weak reference is left.
        unsafe { MemBlock::delete(this) }
    }
}

unsafe extern "C" fn len(slf: *mut PyObject) -> ffi::Py_ssize_t {
    // A length fits, for no slot is larger than 2^46 bytes.
    let len = native_fn!(MemBlock: |block| -> isize block.get().len(block.py()).map(|len| len as isize));
    // SAFETY: Python calls the slot with a block, and with the thread attached, as the function wants it.
    unsafe { len(slf) }
}

unsafe extern "C" fn export(slf: *mut PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> c_int {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: CPython asks for the view to be filled.
        unsafe { MemBlock::export(block, view, flags) }.map(|()| 0)
    };
    // SAFETY: Python calls the slot with a block, and with the thread attached.
    unsafe { on_object(slf, body) }
}

unsafe extern "C" fn release(slf: *mut PyObject, _view: *mut ffi::Py_buffer) {
    // SAFETY: Python calls the slot with a block, which the view keeps alive.
    unsafe { &*slf.cast::<MemBlock>() }.remove_view();
}

fn compare<'py>(
    block: &Bound<'py, MemBlock>,
    other: &Bound<'py, PyAny>,
    operator: c_int,
) -> PyResult<Bound<'py, PyAny>> {
    let operator = CompareOp::from_raw(operator).ok_or_else(|| PyTypeError::new_err("no such comparison"))?;
    block.get().compare(block.py(), other, operator)
}

/// The value to be assigned; Python passes none for `del`.
fn not_deleted<'a, 'py>(value: Option<&'a Bound<'py, PyAny>>) -> PyResult<&'a Bound<'py, PyAny>> {
    value.ok_or_else(|| PyTypeError::new_err("cannot delete bytes of a block: its size is fixed"))
}

fn reduced<'py>(block: &Bound<'py, MemBlock>, args: &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyAny>> {
    let [protocol] = args else {
        return Err(PyTypeError::new_err(format!("__reduce_ex__() takes a protocol, got {} arguments", args.len())));
    };
    let protocol = arguments::integer(protocol, "a protocol must be an integer")?;
    pickle::reduced(block, "reduce_block", i32::try_from(protocol).unwrap_or(i32::MAX))
}
