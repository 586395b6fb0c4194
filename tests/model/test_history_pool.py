"""No history of a pool differs from a plain model.

The rules draw integers and keep what they make themselves, so that hypothesis holds no reference: the model
knows exactly how many objects are in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from memgroup import MemBlock, MemGroup

SIZE = 24
CAPACITY = 70
"""More than the first chunk has, so that there is another one."""


@dataclass(eq=False)
class Thing:
    """An object of the pool: what it holds, and how many views show it."""

    contents: bytearray
    views: int = 0


@dataclass(eq=False)
class Holder:
    """A block over bytes of an object."""

    block: MemBlock
    thing: Thing
    where: slice
    is_part: bool = False
    is_exporter: bool = False
    is_freed: bool = False
    views: list[memoryview] = field(default_factory=list)

    def contents(self) -> bytes:
        return bytes(self.thing.contents[self.where])

    def holds(self) -> bool:
        """Whether it keeps the bytes from being handed out again."""
        return self.is_exporter or not self.is_freed


INDEX = st.integers(0, 1 << 20)


class PoolHistory(RuleBasedStateMachine):
    """The model: which holders each object has, and the bytes that it was filled with."""

    def __init__(self) -> None:
        super().__init__()
        self.group = MemGroup(base=1 << 14)
        self.pool = self.group.pool(SIZE, capacity=CAPACITY)
        self.holders: list[Holder] = []
        self.ended: list[MemBlock] = []
        self.filled = 0

    def chosen(self, index: int) -> Holder:
        return self.holders[index % len(self.holders)]

    def things(self) -> Iterator[Thing]:
        return iter({id(holder.thing): holder.thing for holder in self.holders if holder.holds()}.values())

    def used(self) -> int:
        return sum(1 for _ in self.things())

    def fresh(self) -> bytes:
        self.filled += 1
        return self.filled.to_bytes(SIZE, "little")

    def keep(self, block: MemBlock) -> None:
        contents = self.fresh()
        block[:] = contents
        self.holders.append(Holder(block, Thing(bytearray(contents)), slice(0, SIZE)))

    @rule(count=st.integers(1, 20))
    def alloc(self, count: int) -> None:
        for _ in range(count):
            if self.used() < CAPACITY:
                self.keep(self.pool.alloc())
                continue
            with pytest.raises(MemoryError, match=f"all {CAPACITY} objects"):
                self.pool.alloc()

    @rule(count=st.integers(0, CAPACITY + 1))
    def alloc_many(self, count: int) -> None:
        if self.used() + count > CAPACITY:
            with pytest.raises(MemoryError):
                self.pool.alloc_many(count)
            return
        for block in self.pool.alloc_many(count):
            self.keep(block)

    @precondition(lambda self: self.holders)
    @rule(index=INDEX, start=st.integers(0, SIZE), stop=st.integers(0, SIZE), protected=st.booleans())
    def part(self, index: int, start: int, stop: int, protected: bool) -> None:
        holder = self.chosen(index)
        where = range(SIZE)[holder.where][start:stop]
        if holder.is_freed:
            return
        block = self.group.protect(holder.block) if protected else holder.block
        part = block[start:stop]
        self.holders.append(Holder(part, holder.thing, slice(where.start, where.stop), is_part=True))

    @precondition(lambda self: self.holders)
    @rule(index=INDEX)
    def view(self, index: int) -> None:
        holder = self.chosen(index)
        if holder.is_freed:
            with pytest.raises(ValueError, match="freed"):
                memoryview(holder.block)
            return
        holder.views.append(memoryview(holder.block))
        holder.is_exporter = True
        holder.thing.views += 1

    @precondition(lambda self: any(holder.views for holder in self.holders))
    @rule(index=INDEX)
    def release(self, index: int) -> None:
        viewed = [holder for holder in self.holders if holder.views]
        holder = viewed[index % len(viewed)]
        with holder.views.pop() as view:
            assert view == holder.contents()
        holder.thing.views -= 1

    @precondition(lambda self: self.holders)
    @rule(index=INDEX)
    def write(self, index: int) -> None:
        holder = self.chosen(index)
        if holder.is_freed or holder.block.readonly:
            return
        contents = self.fresh()[holder.where]
        holder.block[:] = contents
        holder.thing.contents[holder.where] = contents

    @precondition(lambda self: self.holders)
    @rule(index=INDEX)
    def die(self, index: int) -> None:
        holder = self.holders.pop(index % len(self.holders))
        holder.thing.views -= len(holder.views)

    @precondition(lambda self: self.holders)
    @rule(index=INDEX)
    def free(self, index: int) -> None:
        holder = self.chosen(index)
        if holder.is_part:
            self.refused(holder, ValueError, "slice of a block")
        elif holder.is_freed:
            self.refused(holder, ValueError, "freed before")
        elif holder.thing.views:
            self.refused(holder, BufferError, f"{holder.thing.views} live view")
        else:
            self.pool.free(holder.block)
            holder.is_freed = True

    def refused(self, holder: Holder, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            self.pool.free(holder.block)

    @rule()
    def reset(self) -> None:
        if any(holder.views for holder in self.holders):
            with pytest.raises(BufferError, match="live view"):
                self.group.reset()
            return
        self.group.reset()
        self.ended += [holder.block for holder in self.holders]
        self.holders.clear()

    @invariant()
    def contents_are_as_they_were_written(self) -> None:
        for holder in self.holders:
            if holder.is_freed:
                with pytest.raises(ValueError, match="freed"):
                    len(holder.block)
            else:
                assert holder.block == holder.contents()
            assert (holder.block in self.pool) is not holder.is_freed

    @invariant()
    def the_pool_counts_what_is_in_use(self) -> None:
        assert len(self.pool) == self.used()
        stats = self.pool.stats()
        assert (stats.used, stats.retired) == (self.used(), 0)

    @invariant()
    def blocks_from_before_a_reset_stay_freed(self) -> None:
        for block in self.ended:
            with pytest.raises(ValueError, match="freed"):
                len(block)
            assert block not in self.pool

    def teardown(self) -> None:
        self.holders.clear()
        assert len(self.pool) == 0


TestPoolHistory = PoolHistory.TestCase
TestPoolHistory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
