//! The type `MemBlock`: which C function Python finds where, and what of [`MemBlock`] each of them calls.

use std::ffi::{c_int, c_void};

use pyo3::Borrowed;
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::block::bytes_methods;
use crate::python::block::call::{object, on_block, on_block_with};
use crate::python::block::object::{Get, MemBlock, TYPE};
use crate::python::block::split;
use crate::python::export::{arrow, dlpack, pickle};
use crate::python::ffi::arguments;
use crate::python::ffi::keywords::Signature;
use crate::python::ffi::trampoline::{NativeType, fast_method, fast_method_with_names, method, trampoline};

const ARROW_ARRAY: Signature<1> =
    Signature { function: "__arrow_c_array__", names: ["requested_schema"], required: 0, by_position: 1 };
const DLPACK: Signature<4> = Signature {
    function: "__dlpack__",
    names: ["stream", "max_version", "dl_device", "copy"],
    required: 0,
    by_position: 0,
};

/// The type, made when the module is initialised.
pub(crate) fn make(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let made = TYPE.get_or_try_init(py, || {
        let kind = NativeType::new(
            c"One allocation of a group: a bytes-like object, writable unless protected, that compares by content.

Indexing gives integers; a slice shares the block's bytes. Blocks are made by a group's `alloc`, `copy`, `protect` and
`unprotect`, and keep their group alive. Every use of a block of a freed group raises ValueError.",
        )
        .slot(ffi::Py_tp_new, new as *const ())
        .slot(ffi::Py_tp_dealloc, dealloc as *const ())
        .slot(ffi::Py_tp_repr, repr as *const ())
        .slot(ffi::Py_tp_richcompare, compare as *const ())
        .slot(ffi::Py_tp_iter, iter as *const ())
        .slot(ffi::Py_sq_contains, contains as *const ())
        .slot(ffi::Py_sq_length, len as *const ())
        .slot(ffi::Py_sq_item, item as *const ())
        .slot(ffi::Py_sq_ass_item, set_item as *const ())
        .slot(ffi::Py_mp_length, len as *const ())
        .slot(ffi::Py_mp_subscript, subscript as *const ())
        .slot(ffi::Py_mp_ass_subscript, set_subscript as *const ())
        .slot(ffi::Py_bf_getbuffer, export as *const ())
        .slot(ffi::Py_bf_releasebuffer, release as *const ())
        .getter(c"nbytes", nbytes, c"Size in bytes.")
        .getter(c"readonly", readonly, c"Whether the block shows the read-only mirror.")
        .getter(
            c"address",
            address,
            c"Address of the first byte, for C code. It stays reserved for as long as the block lives.",
        )
        .method(method(
            c"tobytes",
            tobytes,
            c"tobytes($self, /)
--

Return a copy of the bytes.",
        ))
        .method(method(
            c"__arrow_c_schema__",
            arrow_schema,
            c"__arrow_c_schema__($self, /)
--

The type of the Arrow array that the block is taken as: uint8.",
        ))
        .method(fast_method_with_names(
            c"__arrow_c_array__",
            arrow_array,
            c"__arrow_c_array__($self, requested_schema=None)
--

The block as an Arrow array of uint8 that shows the read-only mirror.

Raises:
    ValueError: Another type is requested, the group is anonymous, or the block is freed.",
        ))
        .method(fast_method_with_names(
            c"__dlpack__",
            dlpack,
            c"__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)
--

The block as a DLPack tensor of uint8 with one dimension. It counts as a view for as long as its consumer keeps it.

Args:
    stream: None: main memory has no streams.
    max_version: The newest version that the consumer knows. Before (1, 0), no block that is protected can be exported.
    dl_device: None or (1, 0), which is main memory.
    copy: Whether to export a copy, a new block of the group.

Raises:
    BufferError: It cannot be exported as requested.",
        ))
        .method(method(
            c"__dlpack_device__",
            dlpack_device,
            c"__dlpack_device__($self, /)
--

(1, 0): main memory.",
        ))
        .method(fast_method(
            c"__reduce_ex__",
            reduce,
            c"__reduce_ex__($self, protocol, /)
--

Pickles: with protocol 5 the bytes can go out of band, without a copy. What is loaded is in a group of the receiver.",
        ))
        .method(method(
            c"__copy__",
            copy,
            c"__copy__($self, /)
--

A new block of the group with the same bytes, protected if this one is.",
        ))
        .method(fast_method(
            c"__deepcopy__",
            deepcopy,
            c"__deepcopy__($self, memo=None, /)
--

The same as `copy.copy`.",
        ));
        let kind = split::add_to(bytes_methods::add_to(kind)).weak_references_at(MemBlock::WEAK_REFERENCES);
        // SAFETY: the functions below have the signatures that CPython documents for these slots, and take their object for
        // the MemBlock that it is.
        unsafe { kind.build(py, c"memgroup.MemBlock", size_of::<MemBlock>()) }.map(Bound::unbind)
    });
    made.map(|made| made.bind(py))
}

// In each of the following, CPython calls a slot or method of the type with one of its objects, attached, and with the
// arguments that it documents for the slot. That is the whole argument for the unsafe blocks, unless they say more.

unsafe extern "C" fn new(_class: *mut ffi::PyTypeObject, _args: *mut PyObject, _names: *mut PyObject) -> *mut PyObject {
    let calls = "group.alloc(n), or group.copy(data) for one with given contents";
    let refuse = |_: Python<'_>| Err(arguments::made_by_group("MemBlock", calls));
    // SAFETY: Python calls a slot, with the thread attached.
    unsafe { trampoline(refuse) }
}

unsafe extern "C" fn dealloc(slf: *mut PyObject) {
    // SAFETY: Python calls this once for each object, when nobody refers to it any more.
    unsafe { MemBlock::delete(slf.cast()) };
}

unsafe extern "C" fn repr(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a slot.
    unsafe { on_block(slf, |block| object(block.py(), block.get().repr(block.py())?)) }
}

unsafe extern "C" fn compare(slf: *mut PyObject, other: *mut PyObject, operator: c_int) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>, other: &Bound<'_, PyAny>| {
        let operator = CompareOp::from_raw(operator).ok_or_else(|| PyTypeError::new_err("no such comparison"))?;
        Ok(block.get().compare(block.py(), other, operator)?.into_ptr())
    };
    // SAFETY: Python calls a slot.
    unsafe { on_block_with(slf, other, body) }
}

unsafe extern "C" fn iter(slf: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a slot.
    unsafe { on_block(slf, |block| Ok(MemBlock::iter(block)?.into_ptr())) }
}

unsafe extern "C" fn contains(slf: *mut PyObject, sub: *mut PyObject) -> c_int {
    // SAFETY: Python calls a slot.
    unsafe { on_block_with(slf, sub, |block, sub| Ok(c_int::from(block.get().contains(block.py(), sub)?))) }
}

unsafe extern "C" fn len(slf: *mut PyObject) -> ffi::Py_ssize_t {
    // SAFETY: Python calls a slot. A length fits, for no slot is larger than 2^46 bytes.
    unsafe { on_block(slf, |block| Ok(block.get().len(block.py())? as ffi::Py_ssize_t)) }
}

unsafe extern "C" fn item(slf: *mut PyObject, at: ffi::Py_ssize_t) -> *mut PyObject {
    // SAFETY: Python calls a slot.
    unsafe { on_block(slf, |block| object(block.py(), block.get().byte_at(block.py(), at)?)) }
}

unsafe extern "C" fn set_item(slf: *mut PyObject, at: ffi::Py_ssize_t, value: *mut PyObject) -> c_int {
    if value.is_null() {
        // SAFETY: Python calls a slot.
        return unsafe { on_block(slf, |_| Err(MemBlock::no_deletion())) };
    }
    // SAFETY: Python calls a slot.
    unsafe { on_block_with(slf, value, |block, value| block.get().set_byte_at(block.py(), at, value).map(|()| 0)) }
}

unsafe extern "C" fn subscript(slf: *mut PyObject, key: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a slot.
    unsafe { on_block_with(slf, key, |block, key| Ok(MemBlock::get_item(block, key)?.into_ptr())) }
}

unsafe extern "C" fn set_subscript(slf: *mut PyObject, key: *mut PyObject, value: *mut PyObject) -> c_int {
    let body = |block: &Bound<'_, MemBlock>, key: &Bound<'_, PyAny>| {
        // SAFETY: CPython passes an object, or null for `del`.
        match unsafe { Borrowed::from_ptr_or_opt(block.py(), value) } {
            Some(value) => MemBlock::set_item(block, key, &value).map(|()| 0),
            None => Err(MemBlock::no_deletion()),
        }
    };
    // SAFETY: Python calls a slot.
    unsafe { on_block_with(slf, key, body) }
}

unsafe extern "C" fn export(slf: *mut PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> c_int {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: CPython wants the view filled.
        unsafe { MemBlock::export(block, view, flags) }.map(|()| 0)
    };
    // SAFETY: Python calls a slot.
    unsafe { on_block(slf, body) }
}

unsafe extern "C" fn release(slf: *mut PyObject, _view: *mut ffi::Py_buffer) {
    // SAFETY: Python calls a slot; the block is alive.
    unsafe { &*slf.cast::<MemBlock>() }.remove_view();
}

unsafe extern "C" fn nbytes(slf: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: Python calls a getter.
    unsafe { on_block(slf, |block| object(block.py(), block.get().len(block.py())?)) }
}

unsafe extern "C" fn readonly(slf: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: Python calls a getter.
    unsafe { on_block(slf, |block| object(block.py(), block.get().readonly(block.py())?)) }
}

unsafe extern "C" fn address(slf: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: Python calls a getter.
    unsafe { on_block(slf, |block| object(block.py(), block.get().address(block.py())?)) }
}

unsafe extern "C" fn tobytes(slf: *mut PyObject, _nothing: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, |block| Ok(block.get().tobytes(block.py())?.into_any().into_ptr())) }
}

unsafe extern "C" fn arrow_schema(slf: *mut PyObject, _nothing: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, |block| Ok(arrow::schema_of_block(block)?.into_ptr())) }
}

unsafe extern "C" fn arrow_array(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: Python passes the arguments of a method with keywords, which outlive the call.
        let [requested_schema] = unsafe { ARROW_ARRAY.read_without_none(block.py(), args, given, names) }?;
        Ok(arrow::export_block(block, requested_schema)?.into_ptr())
    };
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, body) }
}

unsafe extern "C" fn dlpack(
    slf: *mut PyObject,
    args: *const *mut PyObject,
    given: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: Python passes the arguments of a method with keywords, which outlive the call.
        let passed = unsafe { DLPACK.read_without_none(block.py(), args, given, names) };
        let [stream, max_version, dl_device, copy] = passed?;
        let request = dlpack::Request { stream, max_version, dl_device, copy };
        Ok(dlpack::export(block, &request)?.into_ptr())
    };
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, body) }
}

unsafe extern "C" fn dlpack_device(slf: *mut PyObject, _nothing: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, |block| object(block.py(), dlpack::DEVICE)) }
}

unsafe extern "C" fn reduce(slf: *mut PyObject, args: *mut *mut PyObject, given: ffi::Py_ssize_t) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>| {
        // SAFETY: Python passes as many objects as it says.
        let [protocol] = (unsafe { arguments::by_position(block.py(), args, given) }) else {
            return Err(PyTypeError::new_err(format!("__reduce_ex__() takes a protocol, got {given} arguments")));
        };
        let protocol = arguments::integer(protocol, "a protocol must be an integer")?;
        let protocol = i32::try_from(protocol).unwrap_or(i32::MAX);
        Ok(pickle::reduced(block, "reduce_block", protocol)?.into_ptr())
    };
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, body) }
}

unsafe extern "C" fn copy(slf: *mut PyObject, _nothing: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, |block| Ok(block.get().duplicate(block.py())?.into_ptr())) }
}

unsafe extern "C" fn deepcopy(slf: *mut PyObject, _args: *mut *mut PyObject, given: ffi::Py_ssize_t) -> *mut PyObject {
    let body = |block: &Bound<'_, MemBlock>| match given {
        0 | 1 => Ok(block.get().duplicate(block.py())?.into_ptr()),
        _ => Err(PyTypeError::new_err(format!("__deepcopy__() takes at most 1 argument, got {given}"))),
    };
    // SAFETY: Python calls a method.
    unsafe { on_block(slf, body) }
}
