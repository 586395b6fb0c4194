"""A block as a Python object: references, repr, copies, weak references, the garbage collector."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import sysconfig
import tracemalloc
import weakref
from collections.abc import Sequence

import pytest
from conftest import outcome
from memgroup import MemBlock, MemGroup

# As a Python object


def test_a_block_is_a_sequence_and_no_hash_key(group):
    block = group.copy(b"abc")
    assert isinstance(block, Sequence)
    with pytest.raises(TypeError, match="unhashable"):
        hash(block)


@pytest.mark.parametrize("what", ["group", "stats"])
@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_neither_groups_nor_their_statistics_can_be_pickled_or_copied(group, what, how):
    things = {"group": group, "stats": group.stats()}
    with pytest.raises(TypeError, match="cannot pickle"):
        how(things[what])


@pytest.mark.parametrize("kind", [MemBlock, MemGroup])
def test_the_types_are_final(kind):
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Sub", (kind,), {})


def test_blocks_are_made_by_groups_only():
    with pytest.raises(TypeError):
        MemBlock()
    with pytest.raises(TypeError):
        object.__new__(MemBlock)


def test_attributes_are_fixed(group):
    block = group.alloc(1)
    for thing, attribute in [
        (block, "nbytes"),
        (block, "readonly"),
        (block, "more"),
        (group, "limit"),
        (group, "x"),
    ]:
        with pytest.raises(AttributeError):
            setattr(thing, attribute, 1)


def test_a_repr_shows_size_protection_and_contents(group):
    block = group.copy(b"hello")
    assert repr(block) == "<MemBlock, 5 bytes: b'hello'>"
    assert repr(group.protect(block)) == "<MemBlock, 5 bytes, protected: b'hello'>"
    long = group.copy(b"0123456789" * 1000)
    assert "10000 bytes" in repr(long)
    assert len(repr(long)) < 120


def test_groups_can_be_weakly_referenced():
    group = MemGroup()
    block, reference = group.alloc(1), weakref.ref(group)
    del group
    assert reference() is not None  # the block keeps it
    del block
    assert reference() is None


@pytest.mark.parametrize("needle", [b"b", b"bc", b"", 98, b"x", 120, b"abcabcabca"])
@pytest.mark.parametrize("bounds", [(), (2,), (2, 5), (-3,), (None, 4), (5, 2)])
def test_index_is_that_of_bytes(group, needle, bounds):
    contents = b"abcabcabc"
    block = group.copy(contents)
    assert outcome(lambda: block.index(needle, *bounds)) == outcome(lambda: contents.index(needle, *bounds))


def test_copying_a_block_does_not_make_it_an_exporter(group):
    block = group.copy(b"abc")
    copied = group.copy(block)
    assert copied == block
    group.free()
    with pytest.raises(ValueError, match="freed"):
        bytes(block)


def test_a_block_is_72_bytes_and_untracked_by_the_garbage_collector(group):
    block = group.alloc(1)
    assert (
        sys.getsizeof(block) == object.__basicsize__ + 56
    )  # 72 where there is a GIL, whose lack makes the head larger
    assert not gc.is_tracked(block)


@pytest.mark.thread_unsafe(reason="all threads' blocks refer to the one type")
def test_blocks_and_their_type_count_their_references(group):
    counted: list[object] = [group]
    if sysconfig.get_config_var("Py_GIL_DISABLED") != 1:  # else each thread counts a type's for itself
        counted.append(MemBlock)
    before = [sys.getrefcount(thing) for thing in counted]
    blocks = [group.alloc(8) for _ in range(1000)]
    blocks += [block[2:4] for block in blocks] + [group.protect(block) for block in blocks]
    assert [sys.getrefcount(thing) for thing in counted] == [count + 3000 for count in before]
    del blocks
    assert [sys.getrefcount(thing) for thing in counted] == before


def test_new_blocks_in_the_place_of_dead_ones_are_new(group):
    for turn in range(5):
        blocks = [group.copy(bytes([turn, i % 256])) for i in range(300)]
        memoryview(blocks[7]).release()
        assert [bytes(block) for block in blocks] == [bytes([turn, i % 256]) for i in range(300)]
        assert not any(block.readonly for block in blocks)
        group.protect(blocks[0])


def test_errors_pass_through_every_kind_of_slot(group):
    block = group.alloc(4)
    for call in (
        lambda: block["a"],
        lambda: "a" in block,
        lambda: block.find(),
        lambda: block.find(1, 2, 3, 4),
    ):
        with pytest.raises(TypeError):
            call()


def test_a_block_is_a_sequence_to_match(group):
    match group.copy(b"abc"):
        case [first, *rest]:
            assert (first, rest) == (97, [98, 99])
        case _:
            pytest.fail("a block is no sequence")


def test_objects_held_by_an_error_are_released_with_it(child):
    # If it were released later, its finalizer might run where the group waits for itself.
    child.output("""
        import signal
        signal.alarm(30)
        group = MemGroup()
        large = group.alloc(1 << 20, zero=True)
        class Finalizer:
            def __del__(self):
                group.reset()
        class Needle(bytearray):
            def __index__(self):
                local = Finalizer()
                raise TypeError("no index")
        for use in (lambda: large[:10].find(Needle(b"q")), large.tobytes):
            try:
                use()
            except ValueError as error:
                assert "reset" in str(error)
            else:
                raise AssertionError("the finalizer has not run")
    """)


def test_clipped_indices_leave_no_error_behind(group):
    block = group.alloc(10, zero=True)
    tracemalloc.start()
    block.find(1, 10**30)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(1000):
        block.find(1, 10**30)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 10_000
