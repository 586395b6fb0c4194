"""No history of a pool differs from a plain model."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from memgroup import MemGroup

SIZE = 24


class PoolHistory(RuleBasedStateMachine):
    """The model: the bytes that each block in use was filled with."""

    blocks = Bundle("blocks")
    parts = Bundle("parts")

    def __init__(self):
        super().__init__()
        self.group = MemGroup(base=4096)
        self.pool = self.group.pool(SIZE)
        self.rng = random.Random(0)
        self.known = {}

    def fill(self, block):
        contents = self.rng.randbytes(SIZE)
        block[:] = contents
        self.known[id(block)] = (block, contents)
        return block

    @rule(target=blocks)
    def alloc(self):
        return self.fill(self.pool.alloc())

    @rule(count=st.integers(0, 40))
    def alloc_and_drop(self, count):
        for block in self.pool.alloc_many(count):
            block[:] = self.rng.randbytes(SIZE)

    @rule(block=consumes(blocks))
    def die(self, block):
        del self.known[id(block)]

    @rule(block=consumes(blocks))
    def free(self, block):
        del self.known[id(block)]
        try:
            self.pool.free(block)
        except ValueError:
            assert "freed when its group" in repr_of(block)

    @rule(target=parts, block=blocks, start=st.integers(0, SIZE), protected=st.booleans())
    def part(self, block, start, protected):
        shown = self.group.protect(block) if protected else block
        return shown[start:], self.known[id(block)][1][start:]

    @rule(part=consumes(parts))
    def drop_part(self, part):
        shown, contents = part
        assert shown == contents

    @rule(block=blocks)
    def refill(self, block):
        pass

    @invariant()
    def contents_are_as_they_were_written(self):
        for block, contents in self.known.values():
            assert block == contents

    @invariant()
    def the_pool_counts_what_is_in_use(self):
        assert len(self.pool) >= len(self.known)


def repr_of(block):
    try:
        len(block)
    except ValueError as error:
        return str(error)
    return ""


TestPoolHistory = PoolHistory.TestCase
TestPoolHistory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
