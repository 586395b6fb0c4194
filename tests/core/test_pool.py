"""Pools: objects of one size that are reused, and what holds one."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref

import pytest
from memgroup import MemBlock, MemGroup, MemPool

FREED = "was freed: its pool's alloc"


@pytest.fixture
def group():
    with MemGroup() as group:
        yield group


@pytest.fixture
def pool(group):
    return group.pool(64)


def test_a_block_is_a_block_of_the_pools_size(pool):
    block = pool.alloc()
    assert isinstance(block, MemBlock)
    assert (len(block), block.readonly, block.address % 16) == (64, False, 0)
    block[:] = bytes(range(64))
    assert block == bytes(range(64))
    assert block[5:7] == b"\x05\x06"


def test_bytes_return_when_the_last_reference_dies(pool):
    block = pool.alloc()
    block[:5] = b"hello"
    assert (len(pool), pool.stats().used) == (1, 1)
    del block
    assert len(pool) == 0
    assert pool.alloc()[:5] == b"hello"


def test_what_was_freed_last_is_handed_out_first(group):
    pool = group.pool(16)
    blocks = pool.alloc_many(300)
    block = None
    for number, block in enumerate(blocks):
        block[:2] = number.to_bytes(2, "big")
    del block
    while blocks:
        blocks.pop(0)
    numbers = [int.from_bytes(block[:2], "big") for block in pool.alloc_many(300)]
    assert numbers == list(reversed(range(300)))


def test_objects_share_no_byte(group):
    for size, align in [(1, 1), (7, 2), (64, 64), (100, 16), (5000, 4096)]:
        pool = group.pool(size, align=align)
        blocks = pool.alloc_many(200)
        starts = sorted(block.address for block in blocks)
        assert all(start % align == 0 for start in starts)
        assert all(later - earlier >= size for earlier, later in itertools.pairwise(starts))


HELD = {
    "slice": lambda group, block: block[3:9],
    "protected": lambda group, block: group.protect(block),
    "unprotected": lambda group, block: group.unprotect(group.protect(block)),
    "part of a protected block": lambda group, block: group.protect(block)[1:].strip(b"\0"),
    "memoryview": lambda group, block: memoryview(block),
    "protected memoryview": lambda group, block: group.protect(memoryview(block)[::2]),
    "borrowed from a memoryview": lambda group, block: group.borrow(memoryview(block)[4:]),
    "borrowed by another group": lambda group, block: MemGroup().borrow(block),
    "list": lambda group, block: block.split(b"\0"),
    "slice of a list": lambda group, block: block.split(b"\0")[1:],
    "block of a list": lambda group, block: block.split(b"\0")[0],
    "selection of a list": lambda group, block: block.split(b"\0").take([0, 1]),
    "protected list": lambda group, block: group.protect(block.split(b"\0")),
    "column of a list": lambda group, block: memoryview(group.protect(block.split(b"\0"))[0]),
    "DLPack tensor": lambda group, block: block.__dlpack__(),
    "Arrow array": lambda group, block: block.__arrow_c_array__(),
}


@pytest.mark.parametrize("what", HELD)
def test_whatever_shows_the_bytes_holds_the_object(group, pool, what):
    block = pool.alloc()
    block[:] = b"x" * 20 + b"\0" + b"y" * 42 + b"\0"
    address = block.address if what == "memoryview" else None
    before = block.tobytes()
    holder = HELD[what](group, block)
    del block
    assert len(pool) == 1
    others = pool.alloc_many(500)
    other = None
    for other in others:
        other[:] = bytes(64)
    if address is None and isinstance(holder, (MemBlock, memoryview)):
        assert bytes(holder) in before or before[:40:2] == bytes(holder)[:20]
    del holder
    gc.collect()
    assert len(pool) == 500
    del others, other
    assert len(pool) == 0


def test_free_gives_a_block_back_at_once(pool):
    block = pool.alloc()
    block[:3] = b"abc"
    assert pool.free(block) is None
    assert len(pool) == 0
    again = pool.alloc()
    assert again[:3] == b"abc"
    for use in (len, memoryview, bytes, lambda freed: freed[0], lambda freed: freed.find(b"a")):
        with pytest.raises(ValueError, match=FREED):
            use(block)
    assert repr(block) == "<MemBlock, freed>"
    with pytest.raises(ValueError, match=FREED):
        block[0] = 1
    with pytest.raises(ValueError, match=FREED):
        again[:] = block
    del block
    assert len(pool) == 1
    assert again[:3] == b"abc"


def test_free_is_refused_over_live_views(group, pool):
    block = pool.alloc()
    views = [memoryview(block), memoryview(block[5:]), memoryview(group.protect(block))]
    with pytest.raises(BufferError, match="3 live views: release memoryviews"):
        pool.free(block)
    assert block[0] is not None
    for view in views:
        view.release()
    pool.free(block)
    with pytest.raises(ValueError, match=FREED):
        len(block)


def test_free_of_a_block_that_has_parts_keeps_its_bytes_for_them(group, pool):
    block = pool.alloc()
    block[:] = b"z" * 64
    part, protected = block[:8], group.protect(block)
    pool.free(block)
    assert len(pool) == 1
    other = None
    for other in pool.alloc_many(100):
        other[:] = bytes(64)
    del other
    assert (part, protected) == (b"z" * 8, b"z" * 64)
    del part
    assert len(pool) == 1
    del protected
    assert len(pool) == 0


def test_free_of_an_exporter_keeps_its_bytes_until_it_dies(pool):
    block = pool.alloc()
    memoryview(block).release()
    pool.free(block)
    with pytest.raises(ValueError, match=FREED):
        len(block)
    assert len(pool) == 1  # who knows the address may have kept nothing but the block
    del block
    assert len(pool) == 0


def test_what_cannot_be_freed_is_refused_by_name(group, pool):
    other = group.pool(64)
    block = pool.alloc()
    for wrong in (other.alloc(), group.alloc(64), group.copy(b"abc")):
        with pytest.raises(ValueError, match="not of this pool"):
            pool.free(wrong)
    for part in (block[:], block[3:], group.protect(block), group.unprotect(group.protect(block))):
        with pytest.raises(ValueError, match="slice of a block"):
            pool.free(part)
    del part
    for wrong in (None, b"abc", bytearray(64), memoryview(b"abc"), group.alloc_many([64])):
        with pytest.raises(TypeError, match=r"free\(\) takes a MemBlock that alloc\(\) returned, not "):
            pool.free(wrong)
    pool.free(block)
    with pytest.raises(ValueError, match=r"this block \(object 0 of the pool\) was freed before"):
        pool.free(block)
    assert len(pool) == 0


def test_in_says_whether_a_block_is_of_the_pool(group, pool):
    block = pool.alloc()
    assert block in pool
    assert block[1:] in pool
    assert group.protect(block) in pool
    assert block in group
    assert group.pool(64).alloc() not in pool
    assert group.alloc(64) not in pool
    assert b"abc" not in pool
    assert 5 not in pool
    pool.free(block)
    assert block not in pool


def test_a_pool_is_true_and_cannot_be_iterated(pool):
    assert bool(pool)
    assert len(pool) == 0
    with pytest.raises(TypeError):
        iter(pool)


def test_alloc_many_gives_all_or_none(group):
    pool = group.pool(32, capacity=10)
    blocks = pool.alloc_many(7)
    assert type(blocks) is list
    assert len({block.address for block in blocks}) == 7
    with pytest.raises(MemoryError, match="all 10 objects of this pool are in use"):
        pool.alloc_many(4)
    assert len(pool) == 7
    assert pool.alloc_many(0) == []
    assert len(pool.alloc_many(3)) == 3
    with pytest.raises(ValueError, match="count must be an integer and not negative, not -1"):
        pool.alloc_many(-1)
    with pytest.raises(TypeError, match="count must be an integer"):
        pool.alloc_many("3")


def test_a_capacity_bounds_the_objects_in_use(group):
    pool = group.pool(16, capacity=2)
    first, second = pool.alloc(), pool.alloc()
    with pytest.raises(MemoryError, match="all 2 objects of this pool are in use"):
        pool.alloc()
    del first
    assert pool.alloc() is not second
    assert (pool.capacity, pool.stats().capacity) == (2, 2)
    assert group.pool(16).capacity is None


def test_zero_clears_each_object(group):
    pool = group.pool(100, zero=True)
    for _ in range(3):
        block = pool.alloc()
        assert block == bytes(100)
        block[:] = b"\xff" * 100
        del block
    assert pool.stats().used == 0


@pytest.mark.parametrize(
    ("arguments", "names", "error", "message"),
    [
        ((-1,), {}, ValueError, "a size must be an integer and not negative, not -1"),
        (("64",), {}, TypeError, "a size must be an integer"),
        ((64,), {"align": 3}, ValueError, "align must be a power of two from 1 to 4096, not 3"),
        ((64,), {"capacity": -1}, ValueError, "capacity must be an integer and not negative, not -1"),
        ((64,), {"zero": 1}, TypeError, "zero must be True or False"),
        ((64,), {"debug": 1}, TypeError, "debug must be True or False"),
        ((1 << 60,), {}, MemoryError, "the largest slot of this group holds"),
        ((), {}, TypeError, "size"),
    ],
)
def test_wrong_arguments_are_named(group, arguments, names, error, message):
    with pytest.raises(error, match=message):
        group.pool(*arguments, **names)


def test_a_pool_of_its_own_has_a_group():
    pool = MemPool(1 << 20, 32)
    assert (pool.group.base, pool.size) == (1 << 20, 32)
    block = pool.alloc()
    group = weakref.ref(pool.group)
    del pool
    block[:] = b"a" * 32  # which keeps its group
    assert group() is not None
    assert block == b"a" * 32
    del block
    gc.collect()
    assert group() is None
    with pytest.raises(ValueError, match="nbytes must be from 1 to"):
        MemPool(0, 32)
    with pytest.raises(TypeError, match="nbytes must be an integer"):
        MemPool("1", 32)  # type: ignore[arg-type]


def test_a_pool_says_what_it_holds(group):
    pool = group.pool(100, align=64, capacity=1000)
    block = pool.alloc()
    stats = pool.stats()
    numbers = stats.as_dict()
    assert (numbers["size"], numbers["align"], numbers["stride"]) == (100, 64, 128)
    assert (stats.used, stats.retired) == (1, 0)
    assert stats.free > 0
    assert stats == pool.stats()
    assert f"free={stats.free}" in repr(stats)
    assert repr(pool) == f'<MemPool of 100 bytes, "memgroup": 1 of at most 1000 in use, {stats.free} free>'
    assert block in pool


def test_a_block_outlives_the_pool_object(group):
    pool = group.pool(64)
    blocks = pool.alloc_many(10)
    del pool
    for number, block in enumerate(blocks):
        block[:] = bytes([number]) * 64
    assert all(block == bytes([number]) * 64 for number, block in enumerate(blocks))


def test_blocks_have_weak_references_and_reuse_clears_them(pool):
    block = pool.alloc()
    reference = weakref.ref(block)
    del block
    assert reference() is None
    again = pool.alloc()
    assert reference() is None
    assert weakref.ref(again)() is again


def test_memory_is_flat_over_many_rounds(group):
    pool = group.pool(64)
    held = pool.alloc_many(50)
    before = (group.stats().allocated, sys.getallocatedblocks())
    for number in range(200_000):
        held[number % 50] = pool.alloc()
    after = (group.stats().allocated, sys.getallocatedblocks())
    assert after[0] == before[0]
    assert abs(after[1] - before[1]) < 100


def test_a_group_counts_the_memory_of_its_pools(group):
    before = group.stats()
    pool = group.pool(1000)
    blocks = pool.alloc_many(1000)
    after = group.stats()
    assert after.allocated - before.allocated >= 1_000_000
    assert after.requested - before.requested >= 1_000_000
    assert len(blocks) == len(pool)


def test_a_pool_works_up_to_the_limit():
    group = MemGroup(limit=1 << 20)
    pool = group.pool(1000)
    blocks = []

    def fill() -> None:
        while True:
            blocks.append(pool.alloc())

    with pytest.raises(MemoryError, match="limit"):
        fill()
    assert len(blocks) > 900
    del blocks[100:]
    blocks += pool.alloc_many(500)
    assert len(pool) == 600
