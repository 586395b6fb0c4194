"""Lists: many blocks from one call, and everything that a sequence of blocks can do."""

from __future__ import annotations

import array
import ctypes
import itertools
import operator
import sys
from collections.abc import Sequence

import pytest
from conftest import assign
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup, MemList
from support.lists import KIB, check_slots, figures, filled, numbered

sizes_of_all_kinds = st.lists(
    st.integers(0, 40) | st.integers(0, 40) | st.integers(0, 3000) | st.integers(0, 100_000), max_size=60
)


# Where sizes come from


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        lambda sizes: (size for size in sizes),
        lambda sizes: memoryview(bytes(sizes)),
        lambda sizes: memoryview(bytes(sizes))[::-1][::-1],
        lambda sizes: (ctypes.c_int * len(sizes))(*sizes),
        lambda sizes: (ctypes.c_uint64 * len(sizes))(*sizes),
        dict.fromkeys,
        lambda sizes: MemGroup().copy(bytes(sizes)),
    ],
)
def test_sizes_are_taken_from_any_iterable_of_integers(group, make):
    sizes = [10, 200, 7, 0]
    made = group.alloc_many(make(sizes))
    assert [len(block) for block in made] == sizes
    assert made.sizes.tolist() == sizes
    assert made.nbytes == 217


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_arrays_of_every_integer_type_are_sizes(group, code):
    sizes = [10, 100, 0, 7]
    assert group.alloc_many(array.array(code, sizes)).sizes.tolist() == sizes
    assert group.alloc_many(memoryview(array.array(code, sizes))[::-2]).sizes.tolist() == [7, 100]


@pytest.mark.parametrize("order", "<>=")
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_numpy_arrays_of_every_integer_type_are_sizes(group, kind, order):
    np = pytest.importorskip("numpy")
    for n in (0, 1, 5, 10_000):
        sizes = (np.arange(n) % 127).astype(order + kind)
        assert (np.asarray(group.alloc_many(sizes).sizes) == sizes).all()
        for part in (slice(None, None, 3), slice(None, None, -1), slice(5, 1, -2)):
            assert (np.asarray(group.alloc_many(sizes[part]).sizes) == sizes[part]).all()
        packed = np.zeros(n, dtype=[("tag", "u1"), ("size", order + kind)])
        packed["size"] = sizes
        assert (np.asarray(group.alloc_many(packed["size"]).sizes) == sizes).all(), "unaligned"
        assert (
            group.alloc_many(np.broadcast_to(sizes[:1], (min(n, 1) * 3,))).sizes.tolist()
            == [0] * min(n, 1) * 3
        )


def test_the_largest_value_of_each_type_is_not_read_as_negative(group):
    np = pytest.importorskip("numpy")
    for kind in ("u1", "u2"):
        largest = np.iinfo(kind).max
        assert group.alloc_many(np.array([largest], kind))[0].nbytes == largest
    with pytest.raises(MemoryError, match="18446744073709551615"):
        group.alloc_many(np.array([2**64 - 1], "u8"))


def test_integers_of_all_kinds_are_accepted(group):
    np = pytest.importorskip("numpy")

    class Index:
        def __index__(self):
            return 3

    assert group.alloc_many([np.int64(1), np.uint8(2), Index(), True]).sizes.tolist() == [1, 2, 3, 1]
    assert group.alloc_many(range(5)).sizes.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.thread_unsafe(reason="an iterator among its sizes can be used once")
@pytest.mark.parametrize(
    ("sizes", "error", "remedy"),
    [
        ("abc", TypeError, "not str: for equal ones pass"),
        (5, TypeError, "not int: for equal ones pass"),
        ([1, "2"], TypeError, r"sizes\[1\] must be an integer, not str"),
        ([1.0], TypeError, r"sizes\[0\] must be an integer, not float"),
        ((1, None), TypeError, r"sizes\[1\]"),
        ([3, 4, -5], ValueError, r"sizes\[2\] is -5: a size must not be negative"),
        ([-(10**30)], ValueError, r"sizes\[0\] is -10+: "),
        ([1, -(10**5000)], ValueError, r"sizes\[1\] is a number of thousands of digits: "),
        ([10**5000], MemoryError, "a number of thousands of digits"),
        (iter([1, -1]), ValueError, r"sizes\[1\] is -1"),
        (array.array("h", [1, 2, -3, -4]), ValueError, r"sizes\[2\] is -3"),
        (array.array("d", [1]), TypeError, "astype"),
        ([10**30], MemoryError, "no group can ever hold 1000000000000000000000000000000"),
        ([2**62], MemoryError, "largest slot"),
        ([2**46] * 20_000, MemoryError, "this machine has|largest slot"),
        (memoryview(bytes(4)).cast("B", (2, 2)), ValueError, "one dimension, not 2: flatten"),
        (memoryview(b"\x01").cast("B", ()), TypeError, "have a dimension"),
        (memoryview(b"\x01").cast("?"), TypeError, "must be integers"),
        (memoryview(b"\x01").cast("c"), TypeError, "must be integers"),
    ],
)
def test_invalid_sizes_are_refused_and_take_nothing(group, sizes, error, remedy):
    group.alloc(100)
    before = figures(group)
    with pytest.raises(error, match=remedy):
        group.alloc_many(sizes)
    assert figures(group) == before
    assert len(group.alloc_many([1, 2])) == 2


def test_numpy_arrays_of_no_sizes_are_refused(group):
    np = pytest.importorskip("numpy")
    for wrong in (np.ones(3), np.ones(3, bool), np.ones(3, complex), np.array(["a"]), np.ones(2, "i4,i4")):
        with pytest.raises(TypeError, match="convert them first"):
            group.alloc_many(wrong)
    with pytest.raises(TypeError, match="dimension"):
        group.alloc_many(np.int64(3))
    with pytest.raises(ValueError, match="one dimension, not 2"):
        group.alloc_many(np.ones((2, 2), int))
    for kind in ("i1", "i2", "i4", "i8", ">i4"):
        for n in (5, 100_000):
            sizes = np.ones(n, kind)
            sizes[n // 2] = -2
            with pytest.raises(ValueError, match=rf"sizes\[{n // 2}\] is -2"):
                group.alloc_many(sizes)
    assert figures(group) == (0, 0, 0)


def test_exceptions_of_user_code_are_passed_on(group):
    class Sizes:
        def __iter__(self):
            raise KeyError("mine")

    class Size:
        def __index__(self):
            raise KeyError("mine")

    def generator():
        yield 1
        raise KeyError("mine")

    for sizes in (Sizes(), [Size()], generator()):
        with pytest.raises(KeyError, match="mine"):
            group.alloc_many(sizes)
    assert figures(group) == (0, 0, 0)


def test_a_list_of_sizes_may_change_while_it_is_read(group):
    class Shrinks:
        def __index__(self):
            del sizes[2:]
            return 5

    sizes = [1, Shrinks(), 3, 4]
    assert group.alloc_many(sizes).sizes.tolist() == [1, 5]

    class Frees:
        def __index__(self):
            group.free()
            return 5

    with pytest.raises(ValueError, match="freed"):
        group.alloc_many([1, Frees(), 3])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"count": 3},
        {"size": 3},
        {"sizes": [1], "count": 3},
        {"sizes": [1], "size": 3},
        {"sizes": [1], "count": 3, "size": 3},
        {"sizes": None},
    ],
)
def test_sizes_or_count_and_size_must_be_given(group, arguments):
    with pytest.raises(TypeError, match="takes either sizes, or count= and size="):
        group.alloc_many(**arguments)


def test_counts_and_alignments_are_checked(group):
    with pytest.raises(TypeError, match="count must be an integer, not str"):
        group.alloc_many(count="3", size=1)
    with pytest.raises(ValueError, match="count must be an integer and not negative, not -1"):
        group.alloc_many(count=-1, size=1)
    with pytest.raises(ValueError, match="a size must be an integer and not negative, not -2"):
        group.alloc_many(count=1, size=-2)
    for count, size in ((2**62, 2**62), (10**30, 1), (1, 2**50), (2**60, 0)):
        with pytest.raises(MemoryError):
            group.alloc_many(count=count, size=size)
    with pytest.raises(ValueError, match="align must be a power of two"):
        group.alloc_many([1], align=3)
    assert figures(group) == (0, 0, 0)


# Contents of a list


@given(sizes=sizes_of_all_kinds, shift=st.integers(0, 12), base=st.sampled_from([1, 64 * KIB]))
def test_a_list_has_the_blocks_that_alloc_would_make(sizes, shift, base):
    group = MemGroup(base=base)
    made, model = filled(group, sizes, align=1 << shift)
    assert (len(made), made.nbytes, made.readonly) == (len(sizes), sum(sizes), False)
    assert [bytes(block) for block in made] == model
    assert made.join() == b"".join(model)
    assert all(block.address % (1 << shift) == 0 for block in made)
    placed = sorted((block.address, len(block)) for block in made if len(block))
    assert all(one + size <= two for (one, size), (two, _) in itertools.pairwise(placed))
    stats = group.stats()
    assert (stats.blocks, stats.requested) == (len(sizes) + 1, 2 * sum(sizes))


@given(data=st.data(), sizes=sizes_of_all_kinds, uniform=st.booleans(), base=st.sampled_from([1, 64 * KIB]))
def test_slices_equal_those_of_a_plain_list(data, sizes, uniform, base):
    group = MemGroup(base=base)
    if uniform:
        sizes = sizes[:1] * len(sizes)
        whole = group.alloc_many(count=len(sizes), size=sizes[0] if sizes else 0)
        whole.fill_from(numbered(sum(sizes)))
        model = [bytes(block) for block in whole]
    else:
        whole, model = filled(group, sizes)
    made, offsets = whole, whole.offsets.tolist()
    assert offsets == offsets_of(sizes)
    for _ in range(data.draw(st.integers(1, 3))):
        bound = st.none() | st.integers(-len(model) - 2, len(model) + 2)
        step = st.sampled_from([None, 1, 2, 3, -1, -2, -7, sys.maxsize, -sys.maxsize])
        key = slice(data.draw(bound), data.draw(bound), data.draw(step))
        made, model, offsets = made[key], model[key], offsets[key]
        assert isinstance(made, MemList)
        assert [bytes(block) for block in made] == model
        assert [bytes(block) for block in reversed(made)] == model[::-1]
        assert [bytes(made[at]) for at in range(-len(model), len(model))] == model + model
        assert (len(made), made.nbytes) == (len(model), sum(map(len, model)))
        assert made.sizes.tolist() == [len(block) for block in model]
        assert made.offsets.tolist() == offsets
        assert made.join() == b"".join(model)
        check_slots(group, made)
        new = numbered(made.nbytes)[::-1]
        made.fill_from(new)
        assert made.join() == new
        made.fill_from(b"".join(model))


def offsets_of(sizes: list[int], align: int = 16) -> list[int]:
    """The offsets of blocks of these sizes, one after the other; an empty block takes one byte."""
    takes = (-(-max(size, 1) // align) * align for size in sizes)
    return [0, *itertools.accumulate(takes)][: len(sizes)]


def test_offsets_are_positions_in_one_contiguous_piece(group):
    assert group.alloc_many([10, 0, 16, 17, 1]).offsets.tolist() == [0, 16, 32, 48, 80]
    assert group.alloc_many([10, 0, 16], align=1).offsets.tolist() == [0, 10, 11]
    assert group.alloc_many(count=3, size=17).offsets.tolist() == [0, 32, 64]
    assert group.alloc_many(count=3, size=0, align=1).offsets.tolist() == [0, 1, 2]


def test_columns_are_read_only_copies(group):
    np = pytest.importorskip("numpy")
    made = group.alloc_many(range(1000))
    for name in ("sizes", "offsets"):
        column = getattr(made, name)
        assert (column.format, column.itemsize, column.shape, column.readonly) == ("Q", 8, (1000,), True)
        assert np.shares_memory(np.asarray(column), np.asarray(getattr(made, name)))  # made once
        part = np.asarray(getattr(made[10:500:7], name))
        assert part.tolist() == column[10:500:7].tolist()
        assert part.dtype == np.uint64
        with pytest.raises(TypeError):
            column[0] = 1
    sizes = made.sizes
    group.free()
    assert sizes.tolist() == list(range(1000))  # the copy is no group memory, and dies with its last user


def test_lists_of_one_size_have_no_table(group):
    made = group.alloc_many(count=10**8, size=0, align=1)
    assert (len(made), made.nbytes) == (10**8, 0)
    assert made.sizes.strides == (0,)
    assert len(made[-1]) == 0
    assert (made.sizes[0], made.sizes[-1]) == (0, 0)
    assert made[10**7 :: 10**7].offsets.tolist() == [n * 10**7 for n in range(1, 10)]


def test_a_table_takes_at_most_16_bytes_for_each_block(child):
    printed = child.output(
        """
        import array
        def resident():
            lines = open("/proc/self/status").read().splitlines()
            kinds = ("RssAnon", "RssShmem")
            return sum(int(line.split()[1]) for line in lines if line.startswith(kinds)) * 1024
        sizes = array.array("B", bytes([24])) * 4_000_000
        group = MemGroup(huge_pages=False)  # huge pages are found before they are touched
        before = resident()
        made = group.alloc_many(sizes)
        print((resident() - before) / len(made))
        made = None
        print((resident() - before) / len(sizes))
        before = resident()
        made = group.alloc_many(count=4_000_000, size=24)
        print((resident() - before) / len(made))
        """
    )
    # The windows of the first slots are mapped ahead: two mebibytes.
    with_table, without, uniform = map(float, printed.split())
    assert 15 < with_table < 16 + 0.8
    assert without < 0.8
    assert uniform < 0.8


def test_a_list_is_a_sequence_of_blocks(group):
    made, model = filled(group, [3, 0, 5])
    assert isinstance(made, Sequence)
    assert all(isinstance(block, MemBlock) for block in made)
    assert repr(made) == "<MemList, 3 blocks, 8 bytes>"
    assert repr(group.protect(made)[:1]) == "<MemList, 1 block, 3 bytes, protected>"
    assert operator.length_hint(iter(made)) == 3
    rest = iter(made)
    next(rest)
    assert (operator.length_hint(rest), iter(rest) is rest) == (2, True)
    assert [bytes(block) for block in rest] == model[1:]
    assert next(rest, None) is None
    for key in (3, -4, 10**30, -(10**30)):
        with pytest.raises(IndexError, match="index out of range for a list of 3 blocks"):
            made[key]
    for key in ("a", 1.0, None):
        with pytest.raises(TypeError, match="list indices must be integers or slices"):
            operator.getitem(made, key)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="fill_from"):
        assign(made, 0, b"abc")
    with pytest.raises(TypeError, match="freed with their group"):
        operator.delitem(made, 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


def test_blocks_of_a_list_share_its_bytes(group):
    made, _ = filled(group, [3, 0, 5])
    made[2][:] = b"vwxyz"
    assert made[-1] == b"vwxyz"
    view = memoryview(made[0])
    assert group.stats().exports == 1
    view[0] = 9
    assert made.join()[0] == 9
    assert made[0] in group
    assert made in group
    assert made not in MemGroup()


def test_index_count_and_in_compare_by_content(group):
    made, model = filled(group, [2, 300, 0, 2, 300])
    made[3][:] = made[0]
    model[3] = model[0]
    other = MemGroup().copy(model[1])
    for value in (
        *model,
        made[0],
        made[2],
        bytearray(model[4]),
        memoryview(model[1]),
        other,
        b"no",
        b"n" * 300,
    ):
        assert (value in made) == (bytes(value) in model)
        assert made.count(value) == model.count(bytes(value))
        if bytes(value) in model:
            assert made.index(value) == model.index(bytes(value))
    for bounds in itertools.product([-9, -2, 0, 1, 3, 9, 10**30, -(10**30)], repeat=2):
        for value in model:
            try:
                expected = model.index(value, *bounds)
            except ValueError:
                with pytest.raises(ValueError, match="no block of the list has these bytes"):
                    made.index(value, *bounds)
            else:
                assert made.index(value, *bounds) == expected
    for value in ("ab", None, 5, 1.5):
        assert value not in made
        assert made.count(value) == 0
        with pytest.raises(ValueError, match="no block"):
            made.index(value)


def test_lists_are_equal_by_content_within_a_group_and_across(group):
    made, _ = filled(group, [2, 30, 0])
    for elsewhere in (group, MemGroup(), MemGroup(base=1)):
        same, _ = filled(elsewhere, [2, 30, 0])
        assert made == same
        assert not operator.ne(made, same)
        same[1][3] ^= 1
        assert made != same
        assert made[::2] == same[::2]
        assert made != same[:2]
        assert made != elsewhere.alloc_many([2, 30])
        assert made != elsewhere.alloc_many([30, 2, 0])
    assert made == group.protect(made)
    assert made == [bytes(block) for block in made]
    with pytest.raises(TypeError):
        operator.lt(made, made)  # type: ignore[arg-type]
