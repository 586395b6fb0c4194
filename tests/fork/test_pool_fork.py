"""Pools and forks: parent and child never hand out the same object."""

from __future__ import annotations

import os
import threading

import pytest
from memgroup import MemGroup


def in_child(work) -> bool:
    """Whether `work` gives true in a forked child."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_a_child_hands_out_no_object_of_its_parent(backing, cold):
    group = MemGroup(backing=backing)
    pool = group.pool(64)
    kept = pool.alloc_many(200)
    block = None
    for block in kept:
        block[:] = b"p" * 64
    del kept[100:], block
    free = pool.stats().free

    def child() -> bool:
        before = {block.address for block in kept}
        mine = pool.alloc_many(1000)
        for block in mine:
            block[:] = b"c" * 64
        apart = before.isdisjoint(block.address for block in mine)
        whole = all(block == b"p" * 64 for block in kept)
        kept.clear()  # what dies here stays the parent's
        more = pool.alloc_many(500)
        for block in more:
            block[:] = b"d" * 64
        return apart and whole and len(pool) == 1500 and all(block == b"c" * 64 for block in mine)

    assert in_child(child)
    assert all(block == b"p" * 64 for block in kept)
    assert pool.stats().free == free
    again = pool.alloc_many(300)
    block = None
    for block in again:
        block[:] = b"q" * 64
    assert all(block == b"p" * 64 for block in kept)
    # A child may still use what was in use at the fork, unless it has a copy.
    kept.clear()
    del again, block
    assert pool.stats().retired == (100 if backing == "memfd" else 0)
    assert len(pool) == 0


def test_a_block_that_was_free_at_the_fork_is_reused(cold):
    group = MemGroup()
    pool = group.pool(64)
    del pool.alloc_many(50)[:]
    assert in_child(lambda: len(pool.alloc_many(10)) == 10)
    before = group.stats().allocated
    for _ in range(1000):
        pool.alloc()
    assert (group.stats().allocated, pool.stats().retired) == (before, 0)


def test_forks_under_load_leave_every_object_one_owner(cold):
    group = MemGroup()
    pool = group.pool(64)
    stop, errors = threading.Event(), []

    def work(owner: int) -> None:
        mine = bytes([owner]) * 64
        while not stop.is_set():
            blocks = pool.alloc_many(20)
            for block in blocks:
                block[:] = mine
            errors.extend(block.tobytes() for block in blocks if block != mine)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in (1, 2)]
    for thread in threads:
        thread.start()

    def child() -> bool:
        blocks = pool.alloc_many(200)
        for block in blocks:
            block[:] = b"c" * 64
        return all(block == b"c" * 64 for block in blocks)

    try:
        assert all(in_child(child) for _ in range(20))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
