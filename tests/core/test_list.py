"""Lists: many blocks from one call, and everything that a sequence of blocks can do."""

from __future__ import annotations

import array
import ctypes
import gc
import itertools
import operator
import sys
import threading
from collections.abc import Sequence

import pytest
from conftest import assign
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup, MemList

KIB = 1024
MIB = 1024 * KIB

sizes_of_all_kinds = st.lists(
    st.integers(0, 40) | st.integers(0, 40) | st.integers(0, 3000) | st.integers(0, 100_000), max_size=60
)


def numbered(n: int) -> bytes:
    """Bytes that differ from their neighbours."""
    return bytes(itertools.islice(itertools.cycle(range(251)), n))


def filled(group: MemGroup, sizes: list[int], **how) -> tuple[MemList, list[bytes]]:
    """A list of these sizes, and what is in it."""
    made = group.alloc_many(sizes, **how)
    data = numbered(sum(sizes))
    made.fill_from(data)
    ends = list(itertools.accumulate(sizes))
    return made, [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def figures(group: MemGroup) -> tuple[int, int, int]:
    """What must not change when a list is refused."""
    stats = group.stats()
    return stats.blocks, stats.requested, stats.allocated


# Where sizes come from


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        lambda sizes: (size for size in sizes),
        bytes,
        bytearray,
        lambda sizes: memoryview(bytes(sizes)),
        lambda sizes: memoryview(bytes(sizes))[::-1][::-1],
        lambda sizes: (ctypes.c_int * len(sizes))(*sizes),
        lambda sizes: (ctypes.c_uint64 * len(sizes))(*sizes),
        dict.fromkeys,
        lambda sizes: MemGroup().copy(bytes(sizes)),
    ],
)
def test_sizes_are_taken_from_whatever_yields_integers(group, make):
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


def test_the_largest_of_each_type_is_no_negative_number(group):
    np = pytest.importorskip("numpy")
    for kind in ("u1", "u2"):
        largest = np.iinfo(kind).max
        assert group.alloc_many(np.array([largest], kind))[0].nbytes == largest
    with pytest.raises(MemoryError, match="18446744073709551615"):
        group.alloc_many(np.array([2**64 - 1], "u8"))


def test_integers_of_all_kinds_count(group):
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
        ("abc", TypeError, "not str: for blocks of one size pass count="),
        (5, TypeError, "not int: for blocks of one size"),
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
def test_what_is_no_size_is_refused_and_takes_nothing(group, sizes, error, remedy):
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


def test_what_the_users_own_code_raises_is_passed_on(group):
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


# What a list is


@given(sizes=sizes_of_all_kinds, shift=st.integers(0, 12), base=st.sampled_from([1, 64 * KIB]))
def test_a_list_is_the_blocks_that_alloc_would_make(sizes, shift, base):
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
def test_slices_are_what_slices_of_a_plain_list_are(data, sizes, uniform, base):
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
    """Where blocks of these sizes begin, one behind the other; one without bytes takes one."""
    takes = (-(-max(size, 1) // align) * align for size in sizes)
    return [0, *itertools.accumulate(takes)][: len(sizes)]


def check_slots(group: MemGroup, made: MemList) -> None:
    """`slots` covers the list and says where each block is."""
    runs = made.slots
    assert [start for _, start, _, _ in runs] == [0, *(stop for _, _, stop, _ in runs)][: len(runs)]
    assert (runs[-1][2] if runs else 0) == len(made)
    offsets = made.offsets
    origins: dict[int, int] = {}
    for slot, start, stop, offset in runs:
        assert start < stop
        for at in range(start, stop):
            within = offset + offsets[at] - offsets[start]
            assert 0 <= within <= group.base << slot
            # Every block of a slot agrees on where the slot begins.
            assert origins.setdefault(slot, made[at].address - within) == made[at].address - within


def test_offsets_are_where_blocks_would_lie_in_one_piece(group):
    assert group.alloc_many([10, 0, 16, 17, 1]).offsets.tolist() == [0, 16, 32, 48, 80]
    assert group.alloc_many([10, 0, 16], align=1).offsets.tolist() == [0, 10, 11]
    assert group.alloc_many(count=3, size=17).offsets.tolist() == [0, 32, 64]
    assert group.alloc_many(count=3, size=0, align=1).offsets.tolist() == [0, 1, 2]


def test_columns_are_shared_and_read_only(group):
    np = pytest.importorskip("numpy")
    made = group.alloc_many(range(1000))
    for name in ("sizes", "offsets"):
        column = getattr(made, name)
        assert (column.format, column.itemsize, column.shape, column.readonly) == ("Q", 8, (1000,), True)
        part = np.asarray(getattr(made[10:500:7], name))
        assert part.strides == (56,)
        assert np.shares_memory(np.asarray(column), part)
        assert part.dtype == np.uint64
        with pytest.raises(TypeError):
            column[0] = 1
    sizes = made.sizes
    group.free()
    assert sizes.tolist() == list(range(1000))  # the table is no group memory, and goes with its last user


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
        group = MemGroup()
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
    # The first slots' windows are mapped ahead: two mebibytes.
    with_table, without, uniform = map(float, printed.split())
    assert 15 < with_table < 16 + 0.8
    assert without < 0.8
    assert uniform < 0.8


def test_a_list_is_a_sequence_of_blocks(group):
    made, model = filled(group, [3, 0, 5])
    assert isinstance(made, Sequence)
    assert all(isinstance(block, MemBlock) for block in made)
    assert repr(made) == "<MemList, 3 blocks of 8 bytes>"
    assert repr(group.protect(made)[:1]) == "<MemList, 1 block of 3 bytes, protected>"
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


def test_blocks_of_a_list_are_the_lists_bytes(group):
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
    assert made != [bytes(block) for block in made]
    with pytest.raises(TypeError):
        operator.lt(made, made)  # type: ignore[arg-type]


# Protecting, filling, joining


def test_a_list_is_protected_as_a_whole(mirrored):
    group = MemGroup(backing=mirrored)
    made, model = filled(group, [5, 0, 1000, 20_000, 100_000])
    protected = group.protect(made)
    assert isinstance(protected, MemList)
    assert (protected.readonly, made.readonly) == (True, False)
    assert [bytes(block) for block in protected] == model
    for block in (*protected, *protected[::-2]):
        assert block.readonly
        with pytest.raises(TypeError, match="protected"):
            block[:] = bytes(len(block))
    with pytest.raises(TypeError, match="this list is protected: the group's unprotect"):
        protected.fill_from(bytes(protected.nbytes))
    made[0][:] = b"other"
    assert protected[0] == b"other"
    writable = group.unprotect(protected)
    assert not writable.readonly
    assert [block.address for block in writable] == [block.address for block in made]
    writable[0][:] = b"again"
    assert made[0] == b"again"
    assert group.protect(protected)[0] == group.unprotect(made)[0] == b"again"
    joined = protected.join()
    assert not joined.readonly
    assert joined.address not in {block.address for block in made}


def test_a_protected_list_cannot_be_written_to(child):
    child.segfaults(
        """
        import ctypes
        group = MemGroup()
        made = group.alloc_many([100, 200])
        address = group.protect(made)[1].address
        print("before", flush=True)
        ctypes.memset(address, 1, 1)
        """
    )


def test_what_cannot_be_protected_is_refused(group):
    made = MemGroup().alloc_many([1, 2])
    for work in (group.protect, group.unprotect):
        with pytest.raises(ValueError, match="does not live in this group"):
            work(made)
    anonymous = MemGroup(backing="anonymous")
    for sizes in ([1, 2], []):
        with pytest.raises(ValueError, match="memfd"):
            anonymous.protect(anonymous.alloc_many(sizes))
    assert not anonymous.unprotect(anonymous.alloc_many([1])).readonly


def test_filling_takes_any_bytes_of_the_right_number(group):
    np = pytest.importorskip("numpy")
    made = group.alloc_many([3, 0, 5, 16, 16])
    data = numbered(40)
    shapes = [data, bytearray(data), memoryview(data), group.copy(data), group.protect(group.copy(data))]
    shapes += [MemGroup().copy(data), np.frombuffer(data, "u4"), np.frombuffer(data, "u1").reshape(4, 10)]
    for source in shapes:
        made.fill_from(bytes(40))
        made.fill_from(source)
        assert made.join() == data
    strided = np.arange(80, dtype="u1")[::2]
    made.fill_from(strided)
    assert made.join() == strided.tobytes()
    for number in (0, 39, 41):
        with pytest.raises(ValueError, match=f"cannot fill a list of 40 bytes from {number}:"):
            made.fill_from(bytes(number))
    for wrong in ("a" * 40, 40, None, [0] * 40, made):
        with pytest.raises(TypeError, match="bytes-like"):
            made.fill_from(wrong)
    assert made.join() == strided.tobytes()


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30),
    data=st.data(),
    through=st.sampled_from(["read-write", "read-only"]),
)
def test_filling_from_its_own_bytes_is_as_from_a_copy(sizes, data, through):
    """The source is a view over several blocks of the list and what lies between, through either mirror."""
    group = MemGroup()
    made, _ = filled(group, sizes, align=data.draw(st.sampled_from([1, 16])))
    part = made[:: data.draw(st.sampled_from([1, 2, -1]))]
    start, stop = made[0].address, made[-1].address + len(made[-1])
    n = part.nbytes
    shift = data.draw(st.integers(0, stop - start - n))
    source = memoryview((ctypes.c_uint8 * n).from_address(start + shift)).cast("B")
    if through == "read-only":
        source = group.protect(source) if n else memoryview(b"")
    expected = bytes(source)
    part.fill_from(source)
    assert part.join() == expected


def test_filling_from_its_own_blocks_is_as_from_copies(group):
    made, model = filled(group, [7, 7, 7])
    made[:1].fill_from(made[1])
    made[1:2].fill_from(group.protect(made)[2])
    assert [bytes(block) for block in made] == [model[1], model[2], model[2]]


def test_long_lists_are_filled_joined_and_found_in(group):
    sizes = [1 + n * 7919 % 997 for n in range(20_000)]
    made, model = filled(group, sizes)
    data = b"".join(model)
    assert made.join() == data
    assert made == group.protect(made)
    assert made.index(model[-1]) == model.index(model[-1])
    assert made.count(model[7]) == model.count(model[7])
    assert b"never" not in made
    packed = group.alloc_many(count=10_000, size=64)
    packed.fill_from(data[:640_000])
    assert packed.join() == data[:640_000]
    assert packed[9_999] == data[639_936:640_000]


# Room


def test_zeroed_lists_are_zero_after_a_reset_too(group):
    for _ in range(2):
        made = group.alloc_many([3, 1000, 0, 100_000, 7], zero=True)
        assert not any(made.join())
        uniform = group.alloc_many(count=1000, size=33, zero=True)
        assert uniform.join() == bytes(33_000)
        made.fill_from(b"\xff" * made.nbytes)
        uniform.fill_from(b"\xff" * uniform.nbytes)
        group.reset()


def test_tiny_and_huge_ones_keep_apart():
    group = MemGroup(base=64 * KIB)
    # Of those between more than an eighth of the large ones.
    sizes = [100] * 50 + [40 * MIB] + [100] * 100_000 + [20 * MIB] + [100] * 5
    made = group.alloc_many(sizes)
    assert made.sizes.tolist() == sizes
    check_slots(group, made[:60])
    large = [(slot.capacity, slot.allocated) for slot in group.stats().slots if slot.capacity >= 16 * MIB]
    assert large == [(32 * MIB, 20 * MIB), (64 * MIB, 40 * MIB)]
    assert group.stats().committed < 73 * MIB
    assert len(made.slots) < 20
    assert len(group.alloc_many([100] * 1000).slots) <= 2


def test_a_base_of_one_page_makes_few_runs():
    group = MemGroup(base=1)
    made, model = filled(group, [n * 7919 % 3001 for n in range(5000)])
    assert len(made.slots) < 200
    check_slots(group, made[::50])
    assert [bytes(block) for block in made] == model


def test_blocks_taken_in_between_are_nobody_elses():
    group = MemGroup(base=1)
    singles, lists = [], []
    for n in range(300):
        lists.append(filled(group, [n * k % 701 for k in range(20)]))
        singles.append((group.copy(numbered(n)), numbered(n)))
    assert all([bytes(block) for block in made] == model for made, model in lists)
    assert all(block == model for block, model in singles)


@pytest.mark.parametrize("limit", [1 * MIB, 3 * MIB])
def test_a_list_is_had_whole_or_not_at_all(limit):
    group = MemGroup(limit=limit)
    kept, model = filled(group, [100] * 1000)
    before = group.stats()
    for sizes in ([limit], [KIB] * (limit // KIB), [10, limit - 200 * KIB, 10, 10, 150 * KIB], [2**40]):
        with pytest.raises(MemoryError):
            group.alloc_many(sizes)
        after = group.stats()
        assert (after.blocks, after.requested, after.allocated) == (
            before.blocks,
            before.requested,
            before.allocated,
        )
        assert after.committed <= limit
    with pytest.raises(MemoryError):
        group.alloc_many(count=limit, size=1)
    assert [bytes(block) for block in kept] == model
    assert group.alloc_many([100] * 1000).nbytes == 100_000


def test_no_memory_for_the_table_is_an_error_that_says_so(child):
    printed = child.output(
        """
        import resource
        sizes = bytes(50_000_000)
        group = MemGroup()
        group.alloc(1)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20),) * 2)
        print(outcome(group.alloc_many, sizes))
        print(outcome(group.alloc_many, (0 for _ in range(10**9))))
        print(group.stats().blocks, len(group.alloc_many(sizes[:1000])))
        """
    )
    one, other, after = printed.splitlines()
    for line in (one, other):
        assert line.startswith("MemoryError: no memory for the table of a list of ")
        assert "a count and a size if all are of one size" in line
    assert after == "1 1000"


def test_a_list_that_cannot_be_joined_stays_as_it_was():
    group = MemGroup(limit=MIB)
    made, model = filled(group, [300 * KIB, 300 * KIB])
    before = figures(group)
    with pytest.raises(MemoryError, match="limit"):
        made.join()
    assert figures(group) == before
    assert [bytes(block) for block in made] == model


def test_a_list_that_can_never_be_commits_nothing():
    group = MemGroup(limit=MIB)
    with pytest.raises(MemoryError, match="limit"):
        group.alloc_many([KIB] * 2000)
    assert group.stats().committed == 0
    with pytest.raises(MemoryError):
        MemGroup().alloc_many([2**30] * 10_000)


def test_blocks_and_bytes_are_counted_once(group):
    group.alloc(5)
    group.alloc_many([1, 2, 3])
    group.alloc_many(count=10, size=7)
    group.alloc_many([])
    stats = group.stats()
    assert (stats.blocks, stats.requested) == (14, 81)
    group.reset()
    assert (group.stats().blocks, group.stats().requested) == (0, 0)


# The end


def test_a_list_keeps_its_group():
    made, model = filled(MemGroup(), [3, 400, 0])
    gc.collect()
    assert [bytes(block) for block in made] == model
    part = made[::-1]
    del made
    assert bytes(part[1]) == model[1]


USES = [
    len,
    repr,
    iter,
    list,
    reversed,
    lambda made: made[0],
    lambda made: made[99],
    lambda made: made[:1],
    lambda made: made.nbytes,
    lambda made: made.sizes,
    lambda made: made.offsets,
    lambda made: made.slots,
    lambda made: made.readonly,
    lambda made: made == made,
    lambda made: made != 5,
    lambda made: b"a" in made,
    lambda made: made.index(b"a"),
    lambda made: made.count(b"a"),
    lambda made: made.join(),
    lambda made: made.fill_from(b""),
]


def end_gently(group: MemGroup) -> None:
    with group:
        pass


@pytest.mark.parametrize("end", [MemGroup.reset, MemGroup.free, end_gently])
def test_every_use_of_a_freed_list_says_so(end):
    group = MemGroup(name="over")
    made, _ = filled(group, [3, 5])
    protected, part, started = group.protect(made), made[:1], iter(made)
    end(group)
    for use in USES:
        for one in (made, protected, part):
            if use is repr:
                assert repr(one) == "<MemList, freed>"
                continue
            with pytest.raises(ValueError, match=r'"over".*freed|freed.*"over"'):
                use(one)
    with pytest.raises(ValueError, match="freed"):
        next(started)
    for verb in (group.protect, group.unprotect):
        with pytest.raises(ValueError, match="freed"):
            verb(made)
    if not group.freed:
        assert made not in group


def test_lists_stand_in_the_way_of_nothing_but_views_of_their_blocks_do():
    group = MemGroup()
    made, model = filled(group, [3, 500])
    block = made[1]
    view = memoryview(block)
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    with pytest.warns(ResourceWarning, match="1 live view"):
        end_gently(group)
    assert bytes(view) == bytes(block) == model[1]
    with pytest.raises(ValueError, match="freed"):
        len(made)
    view.release()
    group.free()


@pytest.mark.parametrize(
    "arguments", [{"sizes": [1]}, {"sizes": []}, {"count": 0, "size": 0}, {"sizes": "wrong"}, {}]
)
def test_a_list_after_the_end_cannot_be_had(arguments):
    group = MemGroup()
    group.free()
    with pytest.raises(ValueError, match="freed"):
        group.alloc_many(**arguments)


# Threads and forks


def test_threads_that_make_lists_share_no_byte():
    group = MemGroup(base=1)
    failures: list[int] = []
    sizes = array.array("H", [n * 7919 % 501 for n in range(3000)])

    def work(owner: int) -> None:
        kept = []
        for turn in range(15):
            part = sizes[turn * 10 :]
            made = group.alloc_many(part if turn % 2 else part.tolist())
            made.fill_from(bytes([owner]) * made.nbytes)
            single = group.alloc(turn)
            single[:] = bytes([owner]) * turn
            kept.append((made, single))
        for made, single in kept:
            if made.join() != bytes([owner]) * made.nbytes or single != bytes([owner]) * len(single):
                failures.append(owner)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_sizes_that_change_while_they_are_read_give_a_sound_list(group):
    np = pytest.importorskip("numpy")
    sizes = np.zeros(300_000, "u2")
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            sizes[:] = 0
            sizes[:] = 100

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            made = group.alloc_many(sizes)
            read = np.asarray(made.sizes)
            assert set(np.unique(read)) <= {0, 100}
            ends = np.asarray(made.offsets)[:-1] + np.maximum(read[:-1], 1)
            assert (np.asarray(made.offsets)[1:] >= ends).all()
            assert made.nbytes == read.sum()
    finally:
        stop.set()
        thread.join()


def test_a_child_uses_the_lists_it_inherits(child):
    printed = child.output(
        """
        import os
        group = MemGroup()
        made = group.alloc_many([3, 4])
        made.fill_from(b"abcdefg")
        pid = os.fork()
        if pid == 0:
            other = group.alloc_many([3, 4])
            other.fill_from(b"ABCDEFG")
            os._exit(made[1] != b"defg" or other.join() != b"ABCDEFG")
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bytes(made.join()))
        """
    )
    assert printed == "0 b'abcdefg'"
