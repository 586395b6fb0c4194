"""numpy arrays in a group: made there, seen through its mirrors, and allocated there by numpy itself."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import memgroup
import pytest
from conftest import mappings, outcome
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup

np = pytest.importorskip("numpy")
from hypothesis.extra import numpy as hnp  # noqa: E402

# What arrays leave is handed on by those who hold the GIL; without one it stays taken until a reset.
needs_a_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL little is taken back"
)
IS_TWO = np.__version__.startswith("2")


def handler_of(array=None):
    """The name of what allocated an array, or will allocate the next."""
    multiarray = np._core.multiarray if IS_TWO else np.core.multiarray
    return multiarray.get_handler_name(*([] if array is None else [array]))


def same_layout(ours, theirs):
    for what in ("shape", "strides", "dtype", "ndim", "size", "itemsize"):
        assert getattr(ours, what) == getattr(theirs, what), what
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "ALIGNED", "WRITEABLE"):
        assert ours.flags[flag] == theirs.flags[flag], flag


# Arrays made in a group


@pytest.mark.parametrize("name", ["empty", "zeros", "full", "array"])
def test_signatures_are_numpys(name):
    try:
        theirs = inspect.signature(getattr(np, name))
    except ValueError:
        pytest.skip("this numpy does not tell the signatures of its functions")
    ours = inspect.signature(getattr(MemGroup(), name))
    # What this numpy has not got yet, such as device=, is its way of saying no.
    assert {n: (p.kind, p.default) for n, p in ours.parameters.items() if n in theirs.parameters} == {
        n: (p.kind, p.default) for n, p in theirs.parameters.items()
    }
    newest = "ndmax" if name == "array" else "device"
    assert newest not in theirs.parameters or list(ours.parameters) == list(theirs.parameters)


SHAPES = [
    0,
    5,
    True,
    (),
    (3,),
    (2, 3),
    [2, 3],
    (4, 0, 2),
    (1,) * 32,
    np.int8(3),
    np.array(4),
    np.array([2, 2]),
    range(1, 4),
    -1,
    (2, -1),
    2.0,
    (2, 2.0),
    "ab",
    "",
    None,
    {},
    (1,) * 65,
    (1 << 40, 1 << 40),
    1 << 62,
    object(),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_shapes_are_read_as_numpy_reads_them(group, shape):
    theirs = outcome(lambda: np.empty(shape))
    if shape is None:
        theirs = TypeError  # deprecated there
    ours = outcome(lambda: group.empty(shape))
    if isinstance(theirs, type):
        assert issubclass(ours, theirs)
    else:
        same_layout(ours, theirs)


DTYPES = [
    None,
    float,
    int,
    bool,
    complex,
    "i2",
    ">f4",
    "S",
    "U",
    "S5",
    "U3",
    "V7",
    "datetime64[ns]",
    "m8[s]",
    np.float16,
    np.dtype("u8"),
    np.longdouble,
    ("f8", (2, 3)),
    [("a", "i1"), ("b", "f8", (2,))],
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    {"names": ["x"], "formats": ["f4"], "offsets": [12], "itemsize": 20},
    np.int32(0).dtype,
    *([type(np.dtype("f4"))] if IS_TWO else []),
    "no such type",
    [1, 2],
    5,
    b"f8",
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", ["empty", "zeros"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dtypes_are_read_as_numpy_reads_them(group, make, dtype):
    theirs = outcome(lambda: getattr(np, make)((2, 3), dtype))
    for ours in (
        outcome(lambda: getattr(group, make)((2, 3), dtype)),
        outcome(lambda: getattr(group, make)((2, 3), dtype=dtype)),
        outcome(lambda: getattr(group, make)(6, dtype)),
    ):
        if isinstance(theirs, type):
            assert issubclass(ours, theirs)
        else:
            assert ours.dtype == theirs.dtype
            assert ours.nbytes == theirs.nbytes
            assert make == "empty" or ours.tobytes() == bytes(ours.nbytes)
    if not isinstance(theirs, type):
        same_layout(getattr(group, make)((2, 3), dtype), theirs)


@pytest.mark.parametrize("order", ["C", "F", "c", "f", None, "A", "K", "X", "", 5])
def test_orders_are_read_as_numpy_reads_them(group, order):
    theirs = outcome(lambda: np.empty((2, 3), order=order))
    ours = outcome(lambda: group.empty((2, 3), order=order))
    if isinstance(theirs, type):
        assert issubclass(ours, theirs)
    else:
        same_layout(ours, theirs)


CALLS = [
    ((), {}),
    ((1, 2, 3, 4), {}),
    ((1, "f8", "C", "cpu"), {}),
    ((1,), {"shape": 1}),
    ((1,), {"size": 1}),
    ((1, "f8"), {"dtype": "f8"}),
    ((), {"shape": 3, "dtype": "i4", "order": "F"}),
    ((2,), {"like": None}),
    ((2,), {"like": np.arange(3)}),
    ((2,), {"like": 5}),
]


@pytest.mark.parametrize(("arguments", "options"), CALLS, ids=str)
@pytest.mark.parametrize("make", ["empty", "zeros"])
def test_calls_are_read_as_numpy_reads_them(group, make, arguments, options):
    theirs = outcome(lambda: getattr(np, make)(*arguments, **options))
    ours = outcome(lambda: getattr(group, make)(*arguments, **options))
    if isinstance(theirs, type):
        assert issubclass(ours, theirs)
    else:
        same_layout(ours, theirs)


@pytest.mark.parametrize("device", [None, "cpu", "gpu", 5])
def test_there_is_one_device(group, device):
    ours = outcome(lambda: group.empty(3, device=device))
    assert ours is ValueError if device in ("gpu", 5) else ours.shape == (3,)


@given(
    shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6),
    dtype=hnp.scalar_dtypes() | hnp.nested_dtypes(hnp.scalar_dtypes(), max_itemsize=200),
    order=st.sampled_from("CF"),
)
def test_any_array_is_laid_out_as_numpys(shape, dtype, order):
    group = MemGroup()
    used = group.empty(1000, "u1")
    used[:] = 0xFF
    del used
    group.reset()  # so that zeros has something to clear
    for make in ("empty", "zeros"):
        ours, theirs = (getattr(maker, make)(shape, dtype, order=order) for maker in (group, np))
        same_layout(ours, theirs)
        assert type(ours) is np.ndarray
        assert ours.ctypes.data % 64 == 0
        assert ours in group
        assert not ours.flags.owndata
        assert type(ours.base) is memgroup.MemBlock
        assert ours.base.nbytes == ours.nbytes
    assert ours.tobytes() == theirs.tobytes()


@given(
    theirs=hnp.arrays(
        hnp.scalar_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        elements={"allow_nan": False},
    ),
    order=st.sampled_from("CFAK"),
    transposed=st.booleans(),
)
def test_array_copies_as_numpy_does(theirs, order, transposed):
    group = MemGroup()
    source = theirs.T[..., ::-1] if transposed and theirs.ndim else theirs
    ours, theirs = group.array(source, order=order), np.array(source, order=order)
    same_layout(ours, theirs)
    assert ours.tobytes() == theirs.tobytes()
    assert ours.ctypes.data % 64 == 0
    assert ours in group


OBJECTS = [
    5,
    1.5,
    "abc",
    b"abc",
    [],
    [[1, 2], [3, 4]],
    [1, 2.5],
    ["a", "bcd"],
    (True, False),
    range(5),
    bytearray(b"xyz"),
    memoryview(b"xyz"),
    np.float32(3),
    np.arange(6).reshape(2, 3)[:, ::2],
    np.ma.array([1, 2], mask=[True, False]),
    np.array(["2020-01-01"], "M8[D]"),
    [(1, 2.0), (3, 4.0)],
]


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda thing: f"{type(thing).__name__} {thing!s:.10}")
@pytest.mark.parametrize(
    "options", [{}, {"ndmin": 3}, {"dtype": "S4"}, {"order": "F", "subok": True}, {"copy": None}], ids=str
)
def test_array_makes_what_numpy_makes(group, thing, options):
    if not IS_TWO and "copy" in options:
        pytest.skip("numpy 1 has no copy=None")
    ours = outcome(lambda: group.array(thing, **options))
    theirs = outcome(lambda: np.array(thing, **options))
    if isinstance(theirs, type):
        assert ours is theirs
        return
    assert type(ours) is type(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tolist() == theirs.tolist()
    assert ours in group


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_array_with_subok_keeps_the_class(group):
    made = group.array(np.matrix([[1, 2]]), subok=True)
    assert type(made) is np.matrix
    assert made in group


def test_array_avoids_a_copy_only_of_its_own(group):
    own, foreign = group.zeros(5), np.zeros(5)
    unless_needed = None if IS_TWO else False
    assert group.array(own, copy=unless_needed) is own
    made = group.array(foreign, copy=unless_needed)
    assert made in group
    assert not np.shares_memory(made, foreign)
    assert group.array(own) is not own
    if IS_TWO:
        assert group.array(own, copy=False) is own
        with pytest.raises(ValueError, match="does not live in this group"):
            group.array(foreign, copy=False)
        with pytest.raises(ValueError, match="avoid"):
            group.array(own, "i4", copy=False)


def test_array_is_not_deceived_by_what_says_it_copied(group):
    kept = np.arange(5.0)

    class Liar:
        def __array__(self, dtype=None, copy=None):
            return kept

    made = group.array(Liar())
    assert made in group
    assert made.tolist() == kept.tolist()


@pytest.mark.parametrize(
    "fill", [0, 7, 1.5, "ab", [1, 2, 3], np.int8(3), 3 + 4j, np.datetime64("2020-01-01")], ids=repr
)
@pytest.mark.parametrize("dtype", [None, "i4", "S3"])
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning" if IS_TWO else "ignore::UserWarning")
def test_full_fills_as_numpy_does(group, fill, dtype):
    theirs = outcome(lambda: np.full((2, 3), fill, dtype))
    ours = outcome(lambda: group.full((2, 3), fill, dtype))
    if isinstance(theirs, type):
        assert ours is theirs
    else:
        same_layout(ours, theirs)
        assert ours.tolist() == theirs.tolist()


def test_zeros_are_zero_in_memory_that_was_used(group):
    for _ in range(3):
        used = group.empty(100_000, "u1")
        used[:] = 0xAB
        del used
        group.reset()
        assert not group.zeros(100_000, "u1").any()
        group.reset()


def test_large_arrays_have_slots_that_fit():
    group = MemGroup()
    large = group.empty(200 << 20, "u1")
    large[0] = large[-1] = 1
    assert group.empty(10).nbytes == 80
    assert group.stats().committed < (201 << 20) + 600_000


REFERENCES = [object, "O", [("a", "i4"), ("b", "O")], ("O", (2,))] + (
    [np.dtypes.StringDType()] if hasattr(np, "dtypes") and hasattr(np.dtypes, "StringDType") else []
)


@pytest.mark.parametrize("dtype", REFERENCES, ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda group, dtype: group.empty(3, dtype),
        lambda group, dtype: group.zeros((2, 2), dtype),
        lambda group, dtype: group.full(2, 0, dtype),
        lambda group, dtype: group.array([1, 2], dtype),
    ],
    ids=["empty", "zeros", "full", "array"],
)
def test_dtypes_with_references_are_refused(group, make, dtype):
    with pytest.raises(TypeError, match=r"refer to objects.*np\."):
        make(group, dtype)
    assert group.stats().exports == 0


@pytest.mark.parametrize("thing", [[object()], [1, "a", None], np.array([[], 1], object)], ids=repr)
def test_an_array_of_objects_is_refused_also_if_nobody_asked_for_one(group, thing):
    with pytest.raises(TypeError, match="refer to objects"):
        group.array(thing)
    with pytest.raises(TypeError, match="refer to objects"):
        group.full(3, object())
    assert group.stats().exports == 0


# Arrays are views


@pytest.mark.parametrize(
    "make",
    [
        lambda group: group.empty(5),
        lambda group: group.empty(0),
        lambda group: group.zeros((2, 2)),
        lambda group: group.full(3, 1),
        lambda group: group.array([1, 2]),
        lambda group: group.protect(group.array([1, 2])),
        lambda group: group.unprotect(group.zeros(2)),
    ],
)
def test_an_array_counts_as_a_view_until_the_last_made_of_it_dies(group, make):
    made = make(group)
    gc.collect()
    assert group.stats().exports == 1
    part = made[:1]
    del made
    for end in (group.free, group.reset):
        with pytest.raises(BufferError, match="1 live view"):
            end()
    assert part in group
    del part
    assert group.stats().exports == 0
    group.reset()
    group.free()


def test_an_array_outlives_a_gentle_end_and_holds_its_memory(cold):
    group = MemGroup(name="np-gentle")
    made = group.full(1000, 7)
    protected = group.protect(made)
    with pytest.warns(ResourceWarning, match="2 live views"), group:
        pass
    assert made.sum() == protected.sum() == 7000
    made[0] = 0
    assert protected[0] == 0
    assert mappings("np-gentle") == 2
    del made, group
    assert protected.sum() == 6993
    del protected
    assert mappings("np-gentle") == 0


def test_an_array_keeps_its_group(cold):
    made = MemGroup(name="np-kept").full(1000, 7)
    gc.collect()
    assert made.sum() == 7000
    del made
    gc.collect()
    assert mappings("np-kept") == 0


def test_the_array_of_a_block_is_its_base(group):
    made = group.empty(4, "u1")
    made[:] = 1, 2, 3, 4
    block = made.base
    assert bytes(block) == b"\1\2\3\4"
    assert block in group
    del made
    assert group.stats().exports == 1  # whoever has it can still write there
    block[0] = 9
    del block
    assert group.stats().exports == 0


def test_using_an_array_after_a_forced_free_is_a_clean_crash(child):
    for make in ("g.empty(1000)", "g.array([1.0])", "g.protect(g.zeros(5))"):
        child.segfaults(f"""
            import numpy as np
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            g = MemGroup()
            a = {make}
            g.free(force=True)
            print("before", flush=True)
            a.sum()
        """)


def test_a_freed_group_makes_no_arrays():
    group = MemGroup()
    group.free()
    for make in (
        lambda: group.empty(3),
        lambda: group.zeros(3),
        lambda: group.full(3, 1),
        lambda: group.array([1]),
        group.numpy,
        lambda: group.protect(np.arange(3)),
    ):
        with pytest.raises(ValueError, match="freed"):
            make()


def test_a_group_without_room_says_so_and_stays_usable():
    group = MemGroup(limit=1 << 20)
    for make in (
        lambda: group.empty(1 << 20),
        lambda: group.zeros(1 << 20),
        lambda: group.full(1 << 20, 1),
        lambda: group.array(np.zeros(1 << 20)),
    ):
        with pytest.raises(MemoryError):
            make()
    assert group.full(10, 1).sum() == 10


def test_a_freed_block_behind_an_array_is_freed(group):
    made = group.empty(3)
    block = made.base
    group.free(force=True)
    with pytest.raises(ValueError, match="freed"):
        bytes(block)
    del made


def test_arrays_of_a_group_are_pickled_as_any(group):
    import pickle

    made = group.full((2, 3), 7, "i4")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps(made, protocol))
        assert loaded.tolist() == made.tolist()
        assert loaded not in group


# Arrays through the other mirror

VIEWS = {
    "whole": lambda a: a,
    "0-d": lambda a: a[0, 0, 0, ...],
    "part": lambda a: a[1:, :2],
    "stepped": lambda a: a[::2, ::-1, 1::2],
    "backwards": lambda a: a[::-1, ::-1, ::-1],
    "transposed": lambda a: a.T,
    "axes swapped": lambda a: a.swapaxes(0, 2),
    "with new axes": lambda a: a[:, None, ..., None],
    "empty": lambda a: a[1:1],
    "empty at the end": lambda a: a[:, :, 6:],
    "broadcast": lambda a: np.broadcast_to(a[0, 0], (5, 2, 6)),
    "as strided": lambda a: np.lib.stride_tricks.as_strided(a, (3, 3), (8, 8)),
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a.reshape(-1), 5),
    "other bytes": lambda a: a.view(">i4"),
    "bytes": lambda a: a.view("u1")[..., 3:9],
    "record": lambda a: a.view([("x", "<f4"), ("y", "<i4")]),
    "field": lambda a: a.view([("x", "<f4"), ("y", "<i4")])["y"],
    "unaligned": lambda a: a.view("u1").reshape(-1)[1:9].view("f8"),
    "real": lambda a: a.view("c16").imag,
    "times": lambda a: a.view("M8[s]"),
    "matrix": lambda a: a.reshape(9, 12).view(np.matrix),
    "recarray": lambda a: a.view([("x", "<f4"), ("y", "<i4")]).view(np.recarray),
    "chararray": lambda a: a.view("S8").view(np.char.chararray),
    "memmap": lambda a: a.view(np.memmap),
    "made again": lambda a: np.ndarray((4,), "f8", a, 16, (24,)),
    "by a buffer": lambda a: np.asarray(memoryview(a)),
}


@pytest.mark.parametrize("lay_out", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize(
    "make",
    [lambda group: group.empty((3, 6, 6)), lambda group: group.array(np.zeros((3, 6, 6)))],
    ids=["empty", "array"],
)
@pytest.mark.filterwarnings("ignore:.*chararray:DeprecationWarning")
def test_protection_keeps_class_and_layout_both_ways(mirrored, make, lay_out):
    group = MemGroup(backing=mirrored)
    whole = make(group)
    whole[...] = np.arange(108).reshape(3, 6, 6)
    made = lay_out(whole)
    protected = group.protect(made)
    back = group.unprotect(protected)
    again = group.protect(protected)
    for other in (protected, back, again):
        assert type(other) is type(made)
        assert (other.shape, other.strides, other.dtype) == (made.shape, made.strides, made.dtype)
        for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "ALIGNED"):
            assert other.flags[flag] == made.flags[flag], flag
        assert other.tobytes() == made.tobytes()
        assert other in group
    assert not protected.flags.writeable
    assert not again.flags.writeable
    assert (
        protected.size == 0
        or again.ctypes.data == protected.ctypes.data != made.ctypes.data == back.ctypes.data
    )
    overlaps = any(
        stride == 0 and extent > 1 for stride, extent in zip(made.strides, made.shape, strict=True)
    )
    assert back.flags.writeable is not overlaps
    whole += 1
    assert protected.tobytes() == made.tobytes()
    del made, whole, other, back, again
    if protected.size:
        assert group.unprotect(protected).tobytes() == protected.tobytes()


@given(data=st.data())
def test_any_view_can_be_protected(data):
    group = MemGroup()
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=5))
    made = group.empty(shape, data.draw(hnp.scalar_dtypes()))
    made.reshape(-1).view("u1")[:] = np.arange(made.nbytes) % 251
    made = made.transpose(data.draw(st.permutations(range(made.ndim))))
    made = made[
        data.draw(hnp.basic_indices(made.shape, allow_newaxis=True, allow_ellipsis=True).filter(bool))
    ]
    if not isinstance(made, np.ndarray):
        return
    protected = group.protect(made)
    assert (protected.shape, protected.strides, protected.dtype) == (made.shape, made.strides, made.dtype)
    assert protected.tobytes() == made.tobytes()
    assert not protected.flags.writeable
    back = group.unprotect(protected)
    assert back.tobytes() == made.tobytes()
    assert not made.size or back.ctypes.data == made.ctypes.data


WRITES = {
    "item": lambda a: a.__setitem__(0, 1),
    "slice": lambda a: a.__setitem__(slice(None), 1),
    "flat": lambda a: a.flat.__setitem__(0, 1),
    "in place": lambda a: a.__iadd__(1),
    "sort": lambda a: a.sort(),
    "fill": lambda a: a.fill(1),
    "out": lambda a: np.add(a, 1, out=a),
    "copyto": lambda a: np.copyto(a, 1),
    "put": lambda a: a.put([0], 1),
    "flags": lambda a: a.setflags(write=True),
    "flags of a view": lambda a: setattr(a[1:].view("u1").flags, "writeable", True),
    "flags of a reshape": lambda a: a.reshape(2, -1).T.setflags(write=True),
    "frombuffer": lambda a: np.frombuffer(a).setflags(write=True),
    "of its base": lambda a: np.frombuffer(a.base).setflags(write=True),
    "ndarray": lambda a: np.ndarray(a.shape, a.dtype, a).setflags(write=True),
    "byteswap": lambda a: a.byteswap(inplace=True),
    "resize": lambda a: a.resize(100, refcheck=False),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("make", ["zeros", "array"])
def test_writing_to_a_protected_array_is_numpys_value_error(group, write, make):
    made = group.zeros(10) if make == "zeros" else group.array(np.zeros(10))
    protected = group.protect(made)
    with pytest.raises(ValueError, match=r"read-only|WRITEABLE|does not own"):
        write(protected)
    with pytest.raises((TypeError, BufferError)):
        memoryview(protected).cast("B")[0] = 1
    assert not made.any()


def test_a_store_through_a_protected_array_is_a_segfault(child):
    child.segfaults("""
        import numpy as np
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        group = MemGroup()
        protected = group.protect(group.zeros(10))
        print("before", flush=True)
        ctypes.memset(protected.ctypes.data, 1, 1)
    """)


def test_unprotect_leads_back_to_bytes_that_can_be_written(group):
    made = group.zeros(4)
    protected = group.protect(made)
    group.unprotect(protected)[1] = 5
    assert made.tolist() == protected.tolist() == [0, 5, 0, 0]
    made.setflags(write=False)
    group.unprotect(made)[0] = 1
    assert made[0] == 1


def test_views_into_blocks_are_protected_as_arrays(group):
    block = group.copy(bytes(range(64)))
    for made in (np.frombuffer(block, "u1")[8:16], np.ndarray((8,), "u1", block, 8)):
        protected = group.protect(made)
        assert type(protected) is np.ndarray
        assert protected.tolist() == list(range(8, 16))
        assert not protected.flags.writeable
        assert protected.base == bytes(range(8, 16))


FOREIGN = {
    "an array of numpy's own": lambda other: np.arange(5),
    "an empty one": lambda other: np.empty(0),
    "another group's": lambda other: other.zeros(5),
    "another group's, empty": lambda other: other.zeros(5)[2:2],
    "another group's, protected": lambda other: other.protect(other.zeros(5)),
    "another group's, from numpy": lambda other: other.array([1, 2])[:0],
    "one of another's block": lambda other: np.frombuffer(other.copy(b"abc"), "u1"),
    "one that reaches out of the group": lambda other: np.lib.stride_tricks.as_strided(
        other.zeros(1), (1 << 30,)
    ),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("verb", ["protect", "unprotect"])
def test_arrays_from_elsewhere_are_refused(group, make, verb):
    other = MemGroup()
    made = make(other)
    with pytest.raises(ValueError, match="does not live in this group"):
        getattr(group, verb)(made)
    assert made not in group
    assert group.stats().exports == 0


def test_an_anonymous_group_holds_arrays_but_protects_none():
    group = MemGroup(backing="anonymous")
    made = group.full(5, 7)
    with pytest.raises(ValueError, match='backing="memfd"'):
        group.protect(made)
    assert group.unprotect(made).tolist() == [7] * 5
    with group.numpy():
        assert (np.arange(5) + made).tolist() == [7, 8, 9, 10, 11]


def test_arrays_of_objects_are_not_protected(group):
    with group.numpy():
        made = np.array([object(), []], object)
    assert made in group
    with pytest.raises(TypeError, match="refer to objects"):
        group.protect(made)


def test_masked_arrays_are_refused_and_told_the_way(group):
    masked = np.ma.array(group.full(3, 7), mask=group.array([True, False, False]))
    with pytest.raises(TypeError, match=r"\.data and its \.mask"):
        group.protect(masked)
    data, mask = group.protect(masked.data), group.protect(masked.mask)
    joined = np.ma.array(data, mask=mask, copy=False)
    assert joined.sum() == 14
    with pytest.raises(ValueError, match="read-only"):
        joined.data[1] = 1


def test_a_class_that_keeps_what_it_is_made_from_is_kept(group):
    class Unit(np.ndarray):
        def __array_finalize__(self, obj):
            self.unit = getattr(obj, "unit", None)

    made = group.zeros(3).view(Unit)
    made.unit = "m"
    protected = group.protect(made)
    assert (type(protected), protected.unit, protected.flags.writeable) == (Unit, "m", False)


def test_a_class_that_raises_as_it_is_made_leaves_nothing_dangling(group):
    escaped = []

    class Bad(np.ndarray):
        fail = False

        def __array_finalize__(self, obj):
            if Bad.fail:
                escaped.append(self)
                raise KeyError("bad")

    made = group.full(3, 7).view(Bad)
    Bad.fail = True
    with pytest.raises(KeyError, match="bad"):
        group.protect(made)
    Bad.fail = False
    del made
    with pytest.raises(BufferError):  # what escaped still shows the memory
        group.free()
    assert escaped[0].tolist() == [7, 7, 7]


# numpy allocates in the group


def test_numpy_allocates_in_the_group_within_the_block(group):
    before = np.arange(10)
    with group.numpy() as entered:
        assert entered is group
        assert handler_of() == "memgroup"
        made = [
            np.arange(1000),
            np.ones((3, 4)) * 2,
            np.fromiter(range(100), int),
            np.sort(np.zeros(50)),
            before + 1,
        ]
    assert handler_of() == "default_allocator"
    for array in made:
        assert handler_of(array) == "memgroup"
        assert array in group
        assert array.flags.owndata
        assert array.ctypes.data % 64 == 0
    assert before not in group
    assert np.arange(3) not in group
    assert group.stats().exports == len(made)


def test_blocks_of_one_group_and_of_several_nest(group):
    other = MemGroup()
    context = group.numpy()
    with context:
        with other.numpy(), context, context:
            assert np.ones(3) in group
            with other.numpy():
                assert np.ones(3) in other
            assert np.ones(3) in group
        assert np.ones(3) in group
    with context:
        assert np.ones(3) in group
    assert handler_of() == "default_allocator"


@pytest.mark.parametrize("first", [0, 1])
def test_blocks_that_end_in_another_order_leave_the_right_one(group, first):
    other = MemGroup()

    def within(which):
        with which.numpy():
            yield

    blocks = [within(group), within(other)]
    for block in blocks:
        next(block)
    next(blocks[first], None)
    assert np.ones(3) in (other, group)[first]
    next(blocks[1 - first], None)
    assert handler_of() == "default_allocator"


def test_an_exception_ends_the_block(group):
    with pytest.raises(KeyError), group.numpy():
        raise KeyError
    assert handler_of() == "default_allocator"


def test_other_threads_are_not_concerned(group):
    seen = []
    with group.numpy():
        # From Python 3.14 on threads may begin with the context of who starts them.
        thread = threading.Thread(target=lambda: contextvars.Context().run(lambda: seen.append(np.ones(3))))
        thread.start()
        thread.join()
    assert seen[0] not in group


def test_threads_allocate_in_the_groups_of_their_own():
    failures = []

    def work():
        try:
            group = MemGroup()
            with group.numpy():
                for size in range(1, 300):
                    a = np.full(size, size)
                    assert a in group
                    assert (a + a * 2).sum() == 3 * size * size
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_share_a_group():
    group, kept = MemGroup(), []

    def work(number):
        with group.numpy():
            kept.extend(np.full(50 + number, number) for _ in range(200))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 800
    assert all(array in group and (array == len(array) - 50).all() for array in kept)
    assert group.stats().exports == 800


def test_arrays_may_die_in_another_thread(group):
    with group.numpy():
        made = [np.ones(100) for _ in range(100)]
    thread = threading.Thread(target=made.clear)
    thread.start()
    thread.join()
    assert group.stats().exports == 0


def test_tasks_have_blocks_of_their_own(group):
    other = MemGroup()

    async def work(which, step):
        with which.numpy():
            for _ in range(5):
                assert np.ones(3) in which
                await asyncio.sleep(0)
                assert np.ones(3) in which
        assert handler_of() == "default_allocator"

    async def inherits():
        return np.ones(3)

    async def run():
        await asyncio.gather(work(group, 1), work(other, 2), work(group, 3))
        with group.numpy():
            task = asyncio.create_task(inherits())
        assert np.ones(3) not in group
        assert await task in group

    asyncio.run(run())


def test_leaving_a_block_in_another_context_is_an_error(group):
    context = group.numpy()
    contextvars.copy_context().run(context.__enter__)
    with pytest.raises(RuntimeError, match="another context"):
        context.__exit__(None, None, None)
    assert context.__exit__(KeyError, KeyError(), None) is None
    assert handler_of() == "default_allocator"


@pytest.mark.parametrize("grow", [1.1, 2, 30])
@pytest.mark.parametrize("size", [1, 10, 1000, 20_000])
def test_a_resized_array_keeps_its_elements(group, size, grow):
    with group.numpy():
        for beside in (False, True):
            made = np.arange(size)
            other = np.full(7, -1) if beside else None
            made.resize(more := int(size * grow) + 1, refcheck=False)
            assert made in group
            assert made[:size].tolist() == list(range(size))
            assert not made[size:].any()
            made[size:] = 5
            after = np.full(100, -2)
            made.resize(less := size // 2, refcheck=False)
            assert made.tolist() == list(range(less))
            made.resize(more, refcheck=False)
            assert made[:less].tolist() == list(range(less))
            assert not made[less:].any()
            assert (after == -2).all()
            assert other is None or (other == -1).all()


@needs_a_gil
def test_the_last_array_grows_where_it_is(group):
    with group.numpy():
        made = np.arange(10)
        where = made.ctypes.data
        for size in (11, 100, 1000, 3000, 7000):
            made.resize(size, refcheck=False)
            assert made.ctypes.data == where
        used = group.stats().allocated
        made.resize(10, refcheck=False)
        assert made.ctypes.data == where
        assert np.empty(6000).ctypes.data < where + used
        assert made.tolist() == list(range(10))
    assert group.stats().requested <= 128  # in whole lines of 64 bytes


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["make", "drop", "resize", "zeros", "block", "protect"]),
            st.integers(0, 40),
            st.integers(1, 5000),
        ),
        max_size=60,
    )
)
def test_arrays_never_share_memory_whatever_is_made_dropped_and_resized(steps):
    group, arrays, others = MemGroup(base=4096), [], []
    array = other = None
    with group.numpy():
        for number, (step, which, size) in enumerate(steps):
            if step == "make":
                arrays.append(np.full(size, number % 251, "u1"))
            elif step == "zeros":
                arrays.append(np.zeros(size, "u1"))
                assert not arrays[-1].any()
                arrays[-1][:] = number % 251
            elif step == "block":
                others.append((group.copy(bytes([number % 251]) * size), number % 251))
            elif arrays:
                array = arrays.pop(which % len(arrays))
                value = int(array[0])
                if step == "resize":
                    before = len(array)
                    array.resize(size, refcheck=False)
                    array[before:] = value
                    arrays.append(array)
                elif step == "protect":
                    others.append(
                        (group.protect(memoryview(array)) if which % 2 else group.protect(array), value)
                    )
                del array
            for array in arrays:
                assert (array == array[0]).all()
            for other, value in others:
                assert set(bytes(other)) <= {value}
    views = len(arrays) + sum(not isinstance(other, memgroup.MemBlock) for other, _ in others)
    assert group.stats().exports == views
    arrays.clear()
    others.clear()
    array = other = None
    assert group.stats().exports == 0
    group.reset()


@needs_a_gil
def test_temporaries_share_their_memory(group):
    with group.numpy():
        a = np.arange(10_000.0)
        for _ in range(200):
            assert ((a * a + a) / (a - -1) == a).all()
        after = group.stats()
    assert after.allocated < 20 * a.nbytes


@needs_a_gil
def test_a_loop_that_replaces_its_arrays_takes_no_more_with_every_round(group):
    with group.numpy():
        a, b = np.ones(10_000), np.ones(10_000)
        for _ in range(300):
            a, b = a * 0.5 + b, a - b * 2.0
        allocated, blocks = group.stats().allocated, group.stats().blocks
    assert allocated < 10 * a.nbytes
    assert blocks == 2


def test_what_was_protected_is_not_handed_out_again(group):
    with group.numpy():
        made = np.full(100, 7, "u1")
        where = made.ctypes.data
        protected = group.protect(memoryview(made))
        del made
        assert np.full(100, 9, "u1").ctypes.data != where
        assert set(bytes(protected)) == {7}
        del protected
        made = np.full(100, 7, "u1")
        protected = group.protect(made)
        del made
        np.full(100, 9, "u1")
        assert (protected == 7).all()


@pytest.mark.parametrize("leave", ["end", "drop", "set"])
def test_arrays_outlive_block_and_group(cold, leave):
    group = MemGroup(name=f"np-{leave}")
    with group.numpy():
        made = np.full(1000, 7)
    if leave == "end":
        with pytest.warns(ResourceWarning, match="1 live view"), group:
            pass
    del group
    gc.collect()
    assert made.sum() == 7000
    made[0] = 1
    made += 1
    assert made.sum() == 7994
    assert mappings(f"np-{leave}") == 2
    del made
    gc.collect()
    assert mappings(f"np-{leave}") == 0


def test_a_group_that_has_ended_gives_numpy_no_memory():
    group = MemGroup()
    with group.numpy():
        kept = np.ones(5)
        with pytest.warns(ResourceWarning), group:
            pass
        with pytest.raises(MemoryError):
            np.ones(5)
        with pytest.raises(MemoryError):
            kept.resize(10_000, refcheck=False)
    assert kept.sum() == np.ones(5).sum() == 5
    with pytest.raises(ValueError, match="freed"):
        group.numpy()


def test_a_block_of_a_freed_group_cannot_be_entered(group):
    context = group.numpy()
    group.free()
    with pytest.raises(ValueError, match="freed"):
        context.__enter__()
    assert handler_of() == "default_allocator"


def test_a_full_group_is_a_memory_error_in_numpy():
    group = MemGroup(limit=1 << 20)
    with group.numpy():
        kept = np.ones(1000)
        for work in (
            lambda: np.empty(1 << 20),
            lambda: np.zeros(1 << 20),
            lambda: kept.resize(1 << 20, refcheck=False),
            lambda: np.add.outer(kept, kept),
            lambda: np.fromiter(range(1 << 20), float),
        ):
            with pytest.raises(MemoryError):
                work()
        assert (kept + 1).sum() == 2000
    assert kept.sum() == 1000


def test_numpys_arrays_stand_in_the_way_of_strict_ends(group):
    with group.numpy():
        made = np.ones(10)
        with pytest.raises(BufferError, match="1 live view"):
            group.free()
        with pytest.raises(BufferError, match="1 live view"):
            group.reset()
    del made
    group.reset()
    with group.numpy():
        assert np.ones(10).sum() == 10
    group.free()


def test_arrays_of_a_group_freed_by_force_die_in_peace(group):
    with group.numpy():
        made = [np.ones(size) for size in (1, 1000, 100_000)]
        group.free(force=True)
        made.clear()
    assert group.freed
    group.free()


def test_object_arrays_are_numpys_own_affair(group):
    class Counted:
        living = 0

        def __init__(self):
            Counted.living += 1

        def __del__(self):
            Counted.living -= 1

    with group.numpy():
        made = np.array([Counted() for _ in range(10)])
        grown = np.append(made, Counted())
        strings = np.array(["a", "bc" * 100], object)
    assert made in group
    assert Counted.living == 11
    del made, grown
    gc.collect()
    assert Counted.living == 0
    assert strings.tolist() == ["a", "bc" * 100]


def test_clearing_is_done_where_it_must_be(group):
    with group.numpy():
        for _ in range(3):
            used = np.full(5000, 0xAB, "u1")
            del used
            assert not np.zeros(5000, "u1").any()
    group.reset()
    with group.numpy():
        assert not np.zeros(100_000, "u1").any()


def test_tracemalloc_sees_what_numpy_allocates(child):
    assert child.output("""
        import tracemalloc
        import numpy as np
        tracemalloc.start()
        group = MemGroup()
        with group.numpy():
            made = np.ones(100_000)
            print(tracemalloc.get_traced_memory()[0] > 800_000)
            del made
            print(tracemalloc.get_traced_memory()[0] < 100_000)
    """).split() == ["True", "True"]


def test_forked_children_and_their_parents_keep_apart(child):
    assert child.output("""
        import numpy as np
        group = MemGroup()
        with group.numpy():
            kept = np.full(100, 7, "u1")
            gone = np.full(100, 8, "u1")
            where = gone.ctypes.data
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                ok = os.read(reading, 1) == b"x" and (gone == 8).all()  # the parent has dropped its own
                mine = np.full(100, 9, "u1")
                ok = ok and mine.ctypes.data not in (where, kept.ctypes.data) and (kept == 7).all()
                kept.resize(5000, refcheck=False)
                ok = ok and (kept[:100] == 7).all()
                del kept, gone, mine
                ok = ok and group.stats().exports == 0
                os._exit(0 if ok else 1)
            del gone
            other = np.full(100, 5, "u1")
            print(other.ctypes.data != where)
            os.write(writing, b"x")
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), (kept == 7).all(), (other == 5).all())
    """).split() == ["True", "0", "True", "True"]


@pytest.mark.parametrize("keep", ["made", "made, group", "group", "context"])
def test_arrays_that_outlive_the_interpreter_make_no_noise(child, keep):
    child.output(f"""
        import builtins
        import numpy as np
        group = MemGroup()
        context = group.numpy()
        context.__enter__()
        made = [np.ones(n) for n in (1, 10, 100_000)] + [group.empty(5), group.protect(group.zeros(5))]
        class AtTheEnd:
            def __init__(self): self.kept = ({keep},)
            def __del__(self): made.clear(); np.ones(3)
        builtins.at_the_end = AtTheEnd()
    """)


def test_handlers_may_be_called_without_the_gil(child):
    """numpy promises nobody that it holds the GIL: ctypes calls the handler's functions as C would."""
    assert (
        child.output("""
        import numpy as np
        group = MemGroup()
        multiarray = getattr(np, "_core", None) or np.core
        with group.numpy():
            made = np.ones(3)
            table = ctypes.pythonapi.PyCapsule_GetPointer
            table.restype, table.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
            api = table(multiarray._multiarray_umath._ARRAY_API, None)
            api = ctypes.cast(api, ctypes.POINTER(ctypes.c_void_p))
            get = ctypes.PYFUNCTYPE(ctypes.py_object)(api[305])
            handler = table(get(), b"mem_handler")
        context = ctypes.c_void_p.from_address(handler + 128).value
        functions = (ctypes.c_void_p * 4).from_address(handler + 136)
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        malloc = ctypes.CFUNCTYPE(pointer, pointer, size)(functions[0])
        calloc = ctypes.CFUNCTYPE(pointer, pointer, size, size)(functions[1])
        realloc = ctypes.CFUNCTYPE(pointer, pointer, pointer, size)(functions[2])
        free = ctypes.CFUNCTYPE(None, pointer, pointer, size)(functions[3])
        def work():
            for size in range(1, 500):
                first, second = malloc(context, size), calloc(context, size, 3)
                assert ctypes.string_at(second, size * 3) == bytes(size * 3)
                ctypes.memset(first, 1, size)
                first = realloc(context, first, size + 1000)
                assert ctypes.string_at(first, size) == b"\\1" * size
                free(context, first, size + 1000)
                free(context, second, size * 3)
            free(context, None, 0)
            assert realloc(context, None, 10)
            assert calloc(context, 1 << 40, 1 << 40) is None
        threads = [threading.Thread(target=work) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(group.stats().exports)
    """)
        == "5"
    )


# numpy is optional


def test_the_import_pulls_no_numpy_in(child):
    assert (
        child.output("""
        group = MemGroup()
        group.protect(memoryview(group.copy(b"abc")))
        assert outcome(group.protect, 5).startswith("TypeError")
        5 in group
        print("numpy" in sys.modules)
    """)
        == "False"
    )


def test_without_numpy_the_error_names_what_to_install(child):
    code = """
        sys.modules["numpy"] = None
        group = MemGroup()
        for work in (lambda: group.empty(3), lambda: group.zeros(3), lambda: group.full(3, 1),
                     lambda: group.array([1]), group.numpy):
            print(outcome(work))
        print(bytes(group.copy(b"still works")))
    """
    lines = child.output(code).splitlines()
    assert lines[:-1] == ["ImportError: numpy is not installed: pip install memgroup[numpy]"] * 5
    assert lines[-1] == "b'still works'"


def test_a_numpy_that_cannot_be_imported_is_heard(child):
    output = child.output("""
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "numpy":
                    raise RuntimeError("broken numpy")
        sys.meta_path.insert(0, Broken())
        print(outcome(MemGroup().empty, 3))
    """)
    assert output == "RuntimeError: broken numpy"


@pytest.mark.skipif(not IS_TWO, reason="its tests are elsewhere")
def test_a_part_of_numpys_own_tests_passes_in_a_group(tmp_path):
    """All of them: `python tests/support/numpy_suite.py`."""
    script, place = Path(__file__).parents[1] / "support/numpy_suite.py", tmp_path / "outcomes.json"
    parts = [
        Path(np.__file__).parent / "lib" / "tests" / f"test_{part}.py"
        for part in ("stride_tricks", "shape_base")
    ]
    ended = subprocess.run(
        [sys.executable, script, "--within", place, *parts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    ran = json.loads(place.read_text())
    assert ran["code"] == 0, ended.stdout
    assert ran["allocated"] > 60


def test_a_block_that_is_never_left_is_no_warning(group):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = group.numpy()
        contextvars.copy_context().run(context.__enter__)
        del context
        gc.collect()
