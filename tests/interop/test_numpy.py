"""numpy arrays in a group: making them, reading them through mirrors, and numpy's own allocations."""

from __future__ import annotations

import gc
import inspect

import memgroup
import pytest
from conftest import mappings, outcome
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup
from support.arrays import IS_TWO

np = pytest.importorskip("numpy")
from hypothesis.extra import numpy as hnp  # noqa: E402


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
    # An argument that this numpy does not have yet, such as device=, is an error.
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
    group.reset()  # so that zeros has bytes to clear
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


def test_array_avoids_a_copy_only_of_its_own_arrays(group):
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


def test_array_does_not_trust_objects_that_claim_to_have_copied(group):
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
def test_an_array_that_becomes_one_of_objects_is_refused(group, thing):
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
def test_an_array_counts_as_a_view_until_the_last_array_made_of_it_dies(group, make):
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
    with group:
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
    assert group.stats().exports == 1  # its holder can still write there
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
