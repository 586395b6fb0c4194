"""Empty parts: `in`, `protect` and `unprotect` treat them as parts of the memory that they were cut from."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import pickle

import pytest
from memgroup import MemGroup

np = pytest.importorskip("numpy")

SIZE = 64

PARTS = {
    "a slice of frombuffer": lambda block: np.frombuffer(block, "u1")[3:3],
    "the end of frombuffer": lambda block: np.frombuffer(block, "u1")[SIZE:],
    "behind the beginning, backwards": lambda block: np.frombuffer(block, "u1")[::-1][SIZE:],
    "far before the beginning": lambda block: np.frombuffer(block, "u1")[::-40][2:],
    "rows": lambda block: np.frombuffer(block, "u1").reshape(4, 16)[4:],
    "columns": lambda block: np.frombuffer(block, "u1").reshape(4, 16)[:, 16:],
    "frombuffer of an empty slice": lambda block: np.asarray(memoryview(block)[SIZE:]),
    "frombuffer of an empty block": lambda block: np.asarray(block[SIZE:]),
    "asarray of a memoryview of an array": lambda block: np.asarray(
        memoryview(np.frombuffer(block, "u1"))[9:9]
    ),
    "a subclass": lambda block: np.frombuffer(block, "u1").view(np.recarray)[5:5],
    "strided": lambda block: np.lib.stride_tricks.as_strided(np.frombuffer(block, "u1")[3:], (0,)),
    "a field": lambda block: np.frombuffer(block, [("a", "u1"), ("b", "u1")])["b"][32:],
    "a DLPack import": lambda block: np.from_dlpack(np.frombuffer(block, "u1"))[SIZE:],
    "an array of ctypes": lambda block: np.ctypeslib.as_array((ctypes.c_ubyte * SIZE).from_buffer(block))[
        SIZE:
    ],
    "a memoryview": lambda block: memoryview(block)[3:3],
    "the end of a memoryview": lambda block: memoryview(block)[SIZE:],
    "a memoryview backwards": lambda block: memoryview(block)[::-1][SIZE:],
    "a memoryview of an array": lambda block: memoryview(np.frombuffer(block, "u1"))[SIZE:],
    "a memoryview of an empty array": lambda block: memoryview(np.frombuffer(block, "u1")[SIZE:]),
    "a memoryview of a memoryview": lambda block: memoryview(memoryview(block)[SIZE:]),
    "a cast memoryview": lambda block: memoryview(block).cast("I")[16:],
    "a memoryview of ctypes": lambda block: memoryview((ctypes.c_ubyte * SIZE).from_buffer(block))[SIZE:],
    "a memoryview of no ctypes": lambda block: memoryview((ctypes.c_ubyte * 0).from_buffer(block, SIZE)),
    "a memoryview of a PickleBuffer": lambda block: memoryview(pickle.PickleBuffer(block))[SIZE:],
    "a block": lambda block: block[SIZE:],
}


def first(group):
    return group.alloc(SIZE)


def last(group):
    """A block at the very end of its slot, and one at the beginning of the next."""
    group.alloc(group.base - SIZE)
    block = group.alloc(SIZE)
    group.alloc(SIZE)
    slot = group.stats().slots[0]
    assert (slot.allocated, slot.capacity) == (group.base, group.base)
    return block


@pytest.mark.parametrize("place", [first, last])
@pytest.mark.parametrize("cut", PARTS.values(), ids=PARTS)
def test_an_empty_part_goes_through_both_mirrors_of_its_own_group_only(mirrored, cut, place):
    group, other = MemGroup(backing=mirrored), MemGroup(backing=mirrored)
    part = cut(place(group))
    assert part in group
    assert part not in other
    protected = group.protect(part)
    assert protected in group
    assert type(protected) is type(part)
    assert len(bytes(protected)) == 0
    assert getattr(protected, "shape", None) == getattr(part, "shape", None)
    back = group.unprotect(protected)
    assert back in group
    for refuse in (other.protect, other.unprotect):
        for held in (part, protected):
            with pytest.raises(ValueError, match="does not live in this group"):
                refuse(held)
    assert group.stats().allocated == sum(slot.allocated for slot in group.stats().slots)


@pytest.mark.parametrize("cut", PARTS.values(), ids=PARTS)
def test_an_empty_part_of_a_protected_block_comes_back(group, cut):
    block = group.protect(group.alloc(SIZE))
    try:
        part = cut(block)
    except TypeError:  # ctypes asks for bytes that can be written
        return
    assert part in group
    assert group.unprotect(part) in group
    assert group.protect(part) in group


def test_arrays_of_the_group_have_empty_parts(group):
    for made in (group.zeros(4), group.zeros(0), group.array([1, 2]), group.full((2, 0, 3), 1)):
        for part in (made[:0], made[len(made) :], made[::-1][len(made) :], memoryview(made)[:0]):
            assert part in group
            assert group.unprotect(group.protect(part)) in group


def test_an_array_made_by_numpy_in_the_group_has_empty_parts(group):
    with group.numpy():
        made = [np.empty(0), np.ones(10)[10:], np.ones(10)[::-1][10:]]
    assert all(part in group for part in made)


def foreign_parts():
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    array = np.arange(1 << 20)
    yield from (
        b"",
        bytearray(),
        memoryview(b"abc")[1:1],
        np.empty(0),
        array[5:5],
        array[::-1][1 << 20 :],
        memoryview(array)[:0],
        memoryview(memory)[:0],
        np.frombuffer(memory, "u1")[mmap.PAGESIZE :],
        (ctypes.c_ubyte * 0)(),
    )


def test_an_empty_part_of_something_else_does_not_live_here(group):
    group.alloc(SIZE)
    for part in foreign_parts():
        assert part not in group
        if isinstance(part, (memoryview, np.ndarray)):
            for refuse in (group.protect, group.unprotect):
                with pytest.raises(ValueError, match="does not live in this group"):
                    refuse(part)


def test_a_foreign_part_whose_address_happens_to_be_in_the_group_does_not_live_here(group):
    """`array[::-step][n:]` can point any distance before its array."""
    block = group.alloc(4096)
    foreign = np.zeros(8, "u1")
    for target in (block.address, block.address + 100):
        step = foreign.ctypes.data - target
        reaching = np.lib.stride_tricks.as_strided(foreign[:2], (2,), (-step,))[1:][:0]
        assert reaching.ctypes.data == target
        assert reaching not in group


@pytest.mark.parametrize("cut", PARTS.values(), ids=PARTS)
def test_an_empty_part_from_before_a_reset_or_free_is_refused(cut):
    group = MemGroup()
    part = cut(group.alloc(SIZE))
    with contextlib.suppress(BufferError):  # a part that is no view does not make free() refuse
        group.reset()
        assert part not in group
        with pytest.raises(ValueError, match=r"reset|does not live in this group"):
            group.protect(part)
    group.free(force=True)
    with pytest.raises(ValueError, match="freed"):
        group.protect(part)
