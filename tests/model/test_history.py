"""Random histories of a group against a model of plain bytearrays."""

from __future__ import annotations

import array
import tempfile
from dataclasses import dataclass, field

import pytest
from conftest import cases
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memgroup import MemBlock, MemGroup

sizes = st.integers(0, 40) | st.integers(0, 5000) | st.integers(0, 200_000)
alignments = st.sampled_from([1, 2, 8, 16, 16, 16, 64, 4096])


@dataclass
class Allocation:
    """A block, its expected contents, and other views of it."""

    block: MemBlock
    model: bytearray
    address: int
    others: list[tuple[MemBlock, slice]] = field(default_factory=list)
    views: list[tuple[memoryview, slice]] = field(default_factory=list)


class History(RuleBasedStateMachine):
    @initialize(
        base=st.sampled_from([1, 65536]),
        limit=st.none() | st.integers(0, 1_000_000),
        backing=st.sampled_from(["memfd", "memfd", "anonymous", tempfile.gettempdir()]),
    )
    def begin(self, base, limit, backing):
        self.options = {"base": base, "limit": limit, "backing": backing}
        self.start()

    def start(self):
        self.group = MemGroup(**self.options)
        self.live: list[Allocation] = []
        self.dead: list[Allocation] = []
        self.requested = self.blocks = 0

    def teardown(self):
        if hasattr(self, "group"):
            self.group.free(force=True)

    # Allocation

    def add(self, block, model, align):
        # The part whose address is read becomes an exporter and dies at once; the block does not.
        part = block[:]
        assert isinstance(part, MemBlock)
        address = part.address
        assert address % align == 0
        for other in self.live:
            assert address + len(block) <= other.address or other.address + len(other.model) <= address
        self.live.append(Allocation(block, model, address))
        self.requested += len(block)
        self.blocks += 1

    @rule(n=sizes, align=alignments, fill=st.integers(0, 255) | st.none())
    def alloc(self, n, align, fill):
        try:
            block = self.group.alloc(n, align=align, zero=fill is None)
        except MemoryError as refused:
            self.check_refusal(refused, n)
            return
        assert (len(block), block.readonly) == (n, False)
        if fill is not None:
            block[:] = bytes([fill]) * n
        self.add(block, bytearray([fill or 0]) * n, align)

    @rule(data=st.binary(max_size=200), times=st.integers(1, 100), align=alignments)
    def copy(self, data, times, align):
        contents = data * times
        try:
            block = self.group.copy(contents, align=align)
        except MemoryError as refused:
            self.check_refusal(refused, len(contents))
            return
        self.add(block, bytearray(contents), align)

    @rule(ns=st.lists(sizes, max_size=12), align=alignments, as_buffer=st.booleans(), zero=st.booleans())
    def alloc_many(self, ns, align, as_buffer, zero):
        allocated = self.group.stats().allocated
        try:
            blocks = self.group.alloc_many(array.array("q", ns) if as_buffer else ns, align=align, zero=zero)
        except MemoryError as refused:
            self.check_list_refusal(refused, allocated)
            return
        if not zero:
            blocks.fill_from(bytes([len(ns)]) * sum(ns))
        for block, n in zip(blocks, ns, strict=True):
            self.add(block, bytearray([0 if zero else len(ns)]) * n, align)

    def check_list_refusal(self, refused, allocated):
        assert "limit" in str(refused)
        assert self.group.stats().allocated == allocated

    def check_refusal(self, refused, n):
        limit = self.group.limit
        assert "limit" in str(refused)
        assert limit is not None
        # The aligned pages for the request were not available.
        assert self.group.stats().committed + n + 2 * 4096 > limit

    # Use

    def pick(self, data, what=lambda allocation: True):
        return data.draw(st.sampled_from([one for one in self.live if what(one)]))

    def pick_slice(self, data, model):
        bound = st.none() | st.integers(-len(model) - 2, len(model) + 2)
        return slice(data.draw(bound), data.draw(bound), data.draw(st.sampled_from([None, 1, 2, -1, 7])))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), value=st.integers(0, 255))
    def write(self, data, value):
        one = self.pick(data)
        key = self.pick_slice(data, one.model)
        value = bytes([value]) * len(one.model[key])
        one.block[key] = value
        one.model[key] = value

    @precondition(lambda self: self.live)
    @rule(data=st.data(), source=st.data())
    def move(self, data, source):
        target, origin = self.pick(data), self.pick(source)
        n = min(len(target.model), len(origin.model))
        to = data.draw(st.integers(0, len(target.model) - n))
        start = source.draw(st.integers(0, len(origin.model) - n))
        seen = [(origin.block, slice(0, len(origin.model))), *origin.others]
        whole = [block for block, part in seen if part == slice(0, len(origin.model))]
        target.block[to : to + n] = source.draw(st.sampled_from(whole))[start : start + n]
        target.model[to : to + n] = origin.model[start : start + n]

    @precondition(lambda self: self.live and self.group.backing != "anonymous")
    @rule(data=st.data())
    def protect(self, data):
        one = self.pick(data)
        protected = self.group.protect(one.block)
        assert protected.readonly
        with pytest.raises(TypeError):
            protected[:] = bytes(len(one.model))
        one.others.append((protected, slice(0, len(one.model))))

    @precondition(lambda self: any(one.others for one in self.live))
    @rule(data=st.data(), value=st.integers(0, 255))
    def unprotect(self, data, value):
        one = self.pick(data, lambda one: one.others)
        seen, part = data.draw(st.sampled_from(one.others))
        self.group.unprotect(seen)[:] = bytes([value]) * len(seen)
        one.model[part] = bytes([value]) * len(seen)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def part(self, data):
        one = self.pick(data)
        key = self.pick_slice(data, one.model)
        start, stop, _ = slice(key.start, key.stop).indices(len(one.model))
        part = one.block[start:stop]
        assert isinstance(part, MemBlock)
        one.others.append((part, slice(start, max(start, stop))))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def view(self, data):
        one = self.pick(data)
        key = self.pick_slice(data, one.model)
        one.views.append((memoryview(one.block)[key], key))

    @precondition(lambda self: any(one.views for one in self.live))
    @rule(data=st.data())
    def release(self, data):
        one = self.pick(data, lambda one: one.views)
        one.views.pop(data.draw(st.integers(0, len(one.views) - 1)))

    @precondition(lambda self: any(not one.views for one in self.live))
    @rule(data=st.data())
    def drop(self, data):
        self.live.remove(self.pick(data, lambda one: not one.views))

    # Ends

    def exports(self):
        return sum(len(one.views) for one in self.live)

    @rule()
    def reset(self):
        if self.exports():
            with pytest.raises(BufferError, match=f"{self.exports()} live view"):
                self.group.reset()
            return
        self.group.reset()
        self.dead += self.live
        self.live = []
        self.requested = self.blocks = 0

    @rule(force=st.booleans())
    def free(self, force):
        if self.exports() and not force:
            with pytest.raises(BufferError, match=f"{self.exports()} live view"):
                self.group.free()
            return
        self.group.free(force)
        self.dead += self.live
        self.check_dead()
        self.start()

    # Invariants

    @invariant()
    def contents_survive(self):
        for one in getattr(self, "live", []):
            assert one.block == one.model
            for seen, part in one.others:
                assert seen == one.model[part]
            for view, key in one.views:
                assert view == one.model[key]

    @invariant()
    def check_dead(self):
        for one in getattr(self, "dead", []):
            for block in [one.block, *(other for other, _ in one.others)]:
                with pytest.raises(ValueError, match="freed"):
                    len(block)

    @invariant()
    def stats_add_up(self):
        if not hasattr(self, "group"):
            return
        stats = self.group.stats()
        assert (stats.requested, stats.blocks, stats.exports) == (self.requested, self.blocks, self.exports())
        for name in ("allocated", "committed", "mapped"):
            of_slots = sum(getattr(slot, name) for slot in stats.slots)
            # Exporters keep slots that a reset has set aside; nothing is allocated in those slots.
            assert getattr(stats, name) == of_slots or (
                name != "allocated" and getattr(stats, name) > of_slots
            )
        assert stats.requested <= stats.allocated
        assert self.group.limit is None or stats.committed <= self.group.limit
        for slot in stats.slots:
            assert slot.allocated <= slot.committed <= slot.capacity == self.group.base << slot.index


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=cases(150),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
