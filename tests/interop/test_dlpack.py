"""Blocks as DLPack tensors: writable ones are shared, protected ones are read-only or refused."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import pytest
from memgroup import MemBlock, MemGroup

np = pytest.importorskip("numpy")

CPU = (1, 0)


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Unversioned(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


def inside(capsule, kind):
    """The structure in a capsule, which stays there."""
    name = b"dltensor" if kind is Unversioned else b"dltensor_versioned"
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return kind.from_address(pointer(capsule, name))


def of_tensor(tensor: Tensor) -> tuple[object, ...]:
    device, dtype = (tensor.device_type, tensor.device_id), (tensor.code, tensor.bits, tensor.lanes)
    shape, strides = tensor.shape[: tensor.ndim], tensor.strides[: tensor.ndim]
    return (tensor.data, device, dtype, shape, strides, tensor.byte_offset)


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
@pytest.mark.parametrize("size", [1, 7, 4096, 100_000])
def test_numpy_shares_the_bytes_both_ways(size, backing):
    group = MemGroup(backing=backing)
    block = group.copy(bytes(size))
    array = np.from_dlpack(block)
    assert (array.shape, array.dtype, array.flags.writeable) == ((size,), np.uint8, True)
    assert array.ctypes.data == block.address
    array[-1] = 7
    block[0] = 9 if size > 1 else 7
    assert block == array.tobytes()


def test_numpy_cannot_write_to_a_protected_block(group):
    protected = group.protect(group.copy(b"hello"))
    array = np.from_dlpack(protected)
    assert array.tobytes() == b"hello"
    assert array.ctypes.data == protected.address
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)


def test_numpy_gets_a_copy_where_it_asks_for_one(group):
    for block in (group.copy(b"hello"), group.protect(group.copy(b"hello"))):
        array = np.from_dlpack(block, copy=True)
        assert array.flags.writeable
        assert array.ctypes.data != block.address
        array[0] = ord("j")
        assert (bytes(block), array.tobytes()) == (b"hello", b"jello")
        assert np.from_dlpack(block, copy=False, device="cpu").ctypes.data == block.address


def test_another_consumer_shares_the_bytes_too(group):
    tvm_ffi = pytest.importorskip("tvm_ffi")
    block = group.copy(b"hello")
    tensor = tvm_ffi.from_dlpack(block)
    assert (tuple(tensor.shape), str(tensor.dtype)) == ((5,), "uint8")
    assert group.stats().exports == 1
    shared = np.from_dlpack(tensor)
    assert shared.ctypes.data == block.address
    shared[0] = ord("j")
    assert block == b"jello"
    with pytest.raises(BufferError, match="live view"):
        group.free()
    del shared, tensor
    gc.collect()
    assert group.stats().exports == 0


@pytest.mark.parametrize("key", [slice(None), slice(3, 9), slice(4, 4)])
def test_a_capsule_has_the_layout_that_dlpack_defines(group, key):
    block = group.copy(b"hello world")[key]
    address = block.address if len(block) else None
    expected = (address, CPU, (1, 8, 1), [len(block)], [1], 0)
    old = inside(capsule := block.__dlpack__(), Unversioned)
    assert of_tensor(old.tensor) == expected
    for version in [(1, 0), (1, 1), (2, 3)]:
        new = inside(versioned := block.__dlpack__(max_version=version), Versioned)
        assert ((new.major, new.minor), new.flags) == ((1, 0), 0)
        assert of_tensor(new.tensor) == expected
    protected = group.protect(block)
    new = inside(kept := protected.__dlpack__(max_version=(1, 0)), Versioned)
    assert (new.flags, new.tensor.data) == (1, protected.address if len(block) else None)
    new = inside(copied := protected.__dlpack__(max_version=(1, 0), copy=True), Versioned)
    assert new.flags == 2
    old = inside(unversioned := protected.__dlpack__(copy=True), Unversioned)
    assert old.tensor.data != protected.address
    assert group.stats().exports == 5
    del capsule, versioned, kept, copied, unversioned
    assert group.stats().exports == 0


def test_device_is_main_memory(group):
    assert group.copy(b"abc").__dlpack_device__() == CPU
    assert inside(group.copy(b"abc").__dlpack__(dl_device=CPU, stream=None, copy=False), Unversioned)


# The end


def test_a_tensor_is_a_view(group):
    block = group.copy(b"hello")
    array = np.from_dlpack(block)
    assert group.stats().exports == 1
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    part = array[2:]
    del array
    assert group.stats().exports == 1
    del part
    group.free()
    with pytest.raises(ValueError, match="freed"):
        block.__dlpack__()


def test_a_tensor_outlives_block_and_group():
    with MemGroup() as group:
        array = np.from_dlpack(group.copy(b"hello"))
    assert array.tobytes() == b"hello"
    del group
    gc.collect()
    array[0] = ord("j")
    assert array.tobytes() == b"jello"


def test_a_thread_unknown_to_python_may_call_a_deleter(group):
    capsule = group.copy(b"hello").__dlpack__(max_version=(1, 0))
    managed = inside(capsule, Versioned)
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = b"used_dltensor_versioned"
    rename(capsule, name)
    libc, thread = ctypes.CDLL(None), ctypes.c_void_p()
    deleter, argument = ctypes.c_void_p(managed.deleter), ctypes.byref(managed)
    assert group.stats().exports == 1
    assert libc.pthread_create(ctypes.byref(thread), None, deleter, argument) == 0
    assert libc.pthread_join(thread, None) == 0
    assert group.stats().exports == 0
    del capsule  # it was used, so this does nothing


# Wrong uses


@pytest.mark.parametrize("version", [None, (0, 8)])
def test_a_protected_block_needs_a_version_that_supports_read_only(group, version):
    protected = group.protect(group.copy(b"abc"))
    with pytest.raises(BufferError, match=r"max_version=\(1, 0\) or newer .* copy=True"):
        protected.__dlpack__(max_version=version)
    assert group.stats().exports == 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"stream": 1}, BufferError, "no streams: pass stream=None"),
        ({"dl_device": (2, 0)}, BufferError, r"in main memory, device \(1, 0\), not \(2, 0\)"),
        ({"dl_device": (1, 1)}, BufferError, r"not \(1, 1\)"),
        ({"dl_device": "cpu"}, TypeError, "dl_device must be a tuple of two integers, not str"),
        ({"max_version": 1}, TypeError, "max_version must be a tuple of two integers, not int"),
        ({"max_version": (1, "0")}, TypeError, "max_version must be a tuple of two integers, not str"),
        ({"version": (1, 0)}, TypeError, "unexpected keyword argument 'version'"),
    ],
    ids=str,
)
def test_an_unsupported_request_names_the_supported_ones(group, options, error, match):
    with pytest.raises(error, match=match):
        group.copy(b"abc").__dlpack__(**options)
    assert group.stats().exports == 0


def test_arguments_go_by_name(group):
    with pytest.raises(TypeError, match="takes 0 positional arguments but 1 were given"):
        group.copy(b"abc").__dlpack__(None)
    method: Any = MemBlock.__dlpack__
    assert method.__text_signature__ == "($self, *, stream=None, max_version=None, dl_device=None, copy=None)"


def test_a_copy_that_the_group_has_no_room_for_is_a_memory_error():
    group = MemGroup(limit=1 << 20)
    block = group.alloc(700_000)
    with pytest.raises(MemoryError, match="limit"):
        block.__dlpack__(copy=True)
    assert group.stats().exports == 0
