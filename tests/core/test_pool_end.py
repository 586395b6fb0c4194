"""Pools and the ends of their group, and what is detected in a pool."""

from __future__ import annotations

import ctypes
import gc
import random
import socket
import sys
import threading

import pytest
from memgroup import MemGroup, MemPool


def filled(pool, count=100):
    blocks = pool.alloc_many(count)
    for block in blocks:
        block[:] = b"\xaa" * len(block)
    return blocks


@pytest.mark.parametrize("exports", [False, True])
@pytest.mark.parametrize("end", ["free", "force", "with", "reset"])
def test_each_end_finds_live_blocks_of_a_pool(end, exports):
    group = MemGroup()
    pool = group.pool(64)
    blocks = filled(pool)
    del blocks[::3]
    if exports:
        for block in blocks[:10]:
            memoryview(block).release()
    if end == "with":
        with group:
            pass
    elif end == "reset":
        group.reset()
    else:
        group.free(force=end == "force")
    block = None
    for block in blocks[10:]:
        with pytest.raises(ValueError, match="freed"):
            len(block)
    if end == "with" and exports:
        assert all(block == b"\xaa" * 64 for block in blocks[:10])
    if end == "reset":
        assert (len(pool), pool.stats().free) == (0, 0)
        again = filled(pool, 200)
        del blocks, block
        gc.collect()
        assert len(pool) == 200
        assert all(block == b"\xaa" * 64 for block in again)
        return
    for use in (pool.alloc, pool.stats, pool.__len__, lambda: pool.alloc_many(0), lambda: b"" in pool):
        with pytest.raises(ValueError, match="freed"):
            use()
    with pytest.raises(ValueError, match="freed"):
        pool.free(blocks[-1])
    assert repr(pool) == '<MemPool of 64 bytes, "memgroup", freed>'
    del blocks, block
    gc.collect()


@pytest.mark.parametrize("end", ["with", "garbage"])
def test_a_view_of_a_pools_block_outlives_its_group(end):
    group = MemGroup()
    pool = group.pool(64)
    (block,) = filled(pool, 1)
    view = memoryview(block)
    if end == "with":
        with group:
            pass
        other = MemGroup()
        held = filled(other.pool(64))
    else:
        held = None
    del group, pool, block
    gc.collect()
    assert view == b"\xaa" * 64
    view[:] = bytes(64)
    assert held is None or all(other == b"\xaa" * 64 for other in held)


def test_a_forced_end_makes_a_live_view_crash(child):
    child.segfaults(
        """
        group = MemGroup()
        view = memoryview(group.pool(64).alloc())
        group.free(force=True)
        print("before", flush=True)
        view[0]
        """
    )


def test_strict_ends_are_refused_over_views_of_a_pools_block():
    group = MemGroup()
    pool = group.pool(64)
    view = memoryview(pool.alloc())
    for end in (group.free, group.reset):
        with pytest.raises(BufferError, match="1 live view"):
            end()
    view.release()
    group.reset()


def test_reset_sets_the_slot_of_an_exporter_aside():
    group = MemGroup()
    pool = group.pool(64)
    block = pool.alloc()
    block[:] = b"k" * 64
    memoryview(block).release()
    address = block.address
    group.reset()
    other = None
    for other in pool.alloc_many(1000):
        other[:] = bytes(64)
    assert ctypes.string_at(address, 64) == b"k" * 64
    del block, other
    assert len(pool) == 0


def test_what_secret_objects_held_is_overwritten_when_they_are_given_back():
    with MemGroup(secret=True) as group:
        pool = group.pool(64)
        block = pool.alloc()
        block[:] = b"secret" * 10 + b"????"
        address = block.address
        del block
        assert ctypes.string_at(address, 64) == bytes(64)
        block = pool.alloc()
        block[:6] = b"secret"
        tensor = block[:10].__dlpack__()
        del block
        address = ctypes.string_at(address, 64)
        assert address[:6] == b"secret"  # which the tensor shows
        del tensor
        assert pool.alloc() == bytes(64)


def test_a_write_to_a_free_object_is_found_when_it_is_reused():
    pool = MemPool(1 << 16, 40, debug=True)
    block = pool.alloc()
    block[:] = bytes(40)
    address = block.address
    del block
    ctypes.memset(address + 7, 1, 1)
    with pytest.raises(
        RuntimeError, match=r"object 0 of this pool was written to while it was free: .* offset 7"
    ):
        pool.alloc()
    assert pool.stats().retired == 1
    assert all(block.address != address for block in pool.alloc_many(300))


def test_a_write_behind_an_object_is_reported_when_it_is_given_back(monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)
    pool = MemPool(1 << 16, 40, debug=True)
    block, neighbour = pool.alloc_many(2)
    neighbour[:] = b"n" * 40
    ctypes.memset(block.address + 40, 0, 3)
    del block
    (report,) = reports
    assert report.exc_type is RuntimeError
    assert "object 0 of this pool was written to behind its end: the first wrong byte is at offset 40" in str(
        report.exc_value
    )
    assert neighbour == b"n" * 40
    assert pool.stats().retired == 1


def test_debug_names_a_block_that_is_freed_twice():
    pool = MemPool(1 << 16, 40, debug=True)
    first, second = pool.alloc(), pool.alloc()
    pool.free(second)
    with pytest.raises(ValueError, match=r"object 1 of the pool\) was freed before"):
        pool.free(second)
    assert first in pool


def test_debug_finds_nothing_wrong_in_right_use():
    pool = MemPool(1 << 12, 100, debug=True)
    rng = random.Random(1)
    held = []
    for _ in range(5000):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held)))
        else:
            held.append(pool.alloc())
            held[-1][:] = rng.randbytes(100)
    assert pool.stats().retired == 0
    assert len(pool) == len(held)


def test_every_object_has_one_owner_while_threads_take_and_give_back():
    group = MemGroup()
    pool = group.pool(32)
    errors = []

    def work(owner: int) -> None:
        mine = bytes([owner]) * 32
        rng = random.Random(owner)
        held = []
        for _ in range(20_000):
            if held and rng.random() < 0.5:
                block = held.pop(rng.randrange(len(held)))
                if block != mine:
                    errors.append(block.tobytes())
                if rng.random() < 0.3:
                    pool.free(block)
            else:
                block = pool.alloc()
                block[:] = mine
                held.append(block)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(pool) == 0


def test_a_large_block_that_another_thread_reads_is_freed_only_afterwards():
    size = 4 << 20
    group = MemGroup()
    pool = group.pool(size)
    stop, seen = threading.Event(), set()
    current = [pool.alloc()]
    current[0][:] = b"a" * size

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(frozenset(current[0].tobytes()))
            except ValueError:
                continue

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        block = current[0]
        pool.free(block)
        fresh = pool.alloc()
        fresh[:] = bytes([97 + number % 2]) * size
        current[0] = fresh
    stop.set()
    reader.join()
    assert seen <= {frozenset(b"a"), frozenset(b"b")}


def test_a_frozen_group_hands_out_no_object():
    group = MemGroup(shared=True)
    pool = group.pool(64)
    blocks = pool.alloc_many(3)
    blocks[0][:] = b"f" * 64
    blocks.pop()
    group.freeze()
    with pytest.raises(ValueError, match="frozen"):
        pool.alloc()
    with pytest.raises(ValueError, match="frozen"):
        pool.alloc_many(1)
    assert blocks[0] == b"f" * 64
    blocks.clear()
    group.reset()
    assert len(pool.alloc_many(5)) == len(pool) == 5


def test_an_object_that_was_sent_to_another_process_is_not_reused():
    group = MemGroup(shared=True)
    pool = group.pool(64)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        blocks = pool.alloc_many(3)
        blocks[0][:] = b"s" * 64
        group.send(ours, blocks[0])
        group.send(ours, memoryview(blocks[1])[4:])
        group.send(ours, blocks[2].split(b"\0"))
        blocks.clear()
        gc.collect()
        assert (len(pool), pool.stats().retired) == (0, 3)
        for block in pool.alloc_many(500):
            block[:] = bytes(64)
        with MemGroup() as receiver:
            assert receiver.recv(theirs) == b"s" * 64
