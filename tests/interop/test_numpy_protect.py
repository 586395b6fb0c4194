"""Arrays through the read-only mirror and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup

np = pytest.importorskip("numpy")
from hypothesis.extra import numpy as hnp  # noqa: E402

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


def test_masked_arrays_are_refused_with_a_remedy(group):
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
    with pytest.raises(BufferError):  # the array that escaped still shows the memory
        group.free()
    assert escaped[0].tolist() == [7, 7, 7]
