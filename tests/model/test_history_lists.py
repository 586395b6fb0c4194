"""Random histories with lists, streams, arrays, gentle ends and warm memory beside the rest."""

from __future__ import annotations

import os
import socket
import warnings
from dataclasses import dataclass, field

import memgroup
import numpy as np
import pytest
from conftest import cases
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from memgroup import MemGroup, MemList
from test_history import Allocation, History, alignments

WARM = 64 << 20

sizes = st.integers(0, 40) | st.integers(0, 3000) | st.integers(0, 60_000)


@dataclass
class Listed:
    """A list, the expected contents of its blocks, and other views of some of them."""

    blocks: MemList
    model: list[bytearray]
    others: list[tuple[MemList, slice]] = field(default_factory=list)
    views: list[tuple[memoryview, int]] = field(default_factory=list)


def has_much(self):
    """Whether the group has enough contents to end it: short lives show little."""
    return len(self.lists) + len(self.live) > 3


class ListHistory(History):
    def start(self):
        super().start()
        self.lists: list[Listed] = []
        self.retired: list[Allocation] = getattr(self, "retired", [])
        memgroup.set_warm_limit(WARM)

    def teardown(self):
        super().teardown()
        memgroup.set_warm_limit(WARM)

    def exports(self):
        return super().exports() + sum(len(listed.views) for listed in self.lists)

    # Lists

    def keep(self, blocks, model):
        self.lists.append(Listed(blocks, model))
        self.requested += sum(map(len, model))
        self.blocks += len(model)

    @rule(ns=st.lists(sizes, max_size=30), align=alignments, byte=st.integers(0, 255) | st.none())
    def many(self, ns, align, byte):
        allocated = self.group.stats().allocated
        try:
            blocks = self.group.alloc_many(ns, align=align, zero=byte is None)
        except MemoryError as refused:
            self.check_list_refusal(refused, allocated)
            return
        if byte is not None:
            blocks.fill_from(bytes([byte]) * sum(ns))
        self.keep(blocks, [bytearray([byte or 0]) * n for n in ns])

    def pick_list(self, data, what=lambda _: True):
        return data.draw(st.sampled_from([listed for listed in self.lists if what(listed)]))

    @precondition(lambda self: self.lists)
    @rule(data=st.data(), value=st.integers(0, 255))
    def fill(self, data, value):
        listed = self.pick_list(data)
        contents = bytes((value + i) % 256 for i in range(sum(map(len, listed.model))))
        listed.blocks.fill_from(contents)
        for block in listed.model:
            block[:], contents = contents[: len(block)], contents[len(block) :]

    @precondition(lambda self: any(listed.model for listed in self.lists))
    @rule(data=st.data(), value=st.integers(0, 255))
    def write_one(self, data, value):
        listed = self.pick_list(data, lambda listed: listed.model)
        i = data.draw(st.integers(-len(listed.model), len(listed.model) - 1))
        contents = bytes([value]) * len(listed.model[i])
        listed.blocks[i][:] = contents
        listed.model[i][:] = contents

    @precondition(lambda self: self.lists and self.group.backing != "anonymous")
    @rule(data=st.data())
    def protect_list(self, data):
        listed = self.pick_list(data)
        protected = self.group.protect(listed.blocks)
        assert protected.readonly
        with pytest.raises(TypeError):
            protected.fill_from(b"".join(listed.model))
        listed.others.append((protected, slice(None)))

    @precondition(lambda self: self.lists)
    @rule(data=st.data())
    def part_of_list(self, data):
        listed = self.pick_list(data)
        key = self.pick_slice(data, listed.model)
        listed.others.append((listed.blocks[key], key))

    @precondition(lambda self: any(listed.others for listed in self.lists))
    @rule(data=st.data(), value=st.integers(0, 255))
    def write_other(self, data, value):
        listed = self.pick_list(data, lambda listed: listed.others)
        other, key = data.draw(st.sampled_from(listed.others))
        if other.readonly:
            other = self.group.unprotect(other)
        other.fill_from(bytes([value]) * other.nbytes)
        for block in listed.model[key]:
            block[:] = bytes([value]) * len(block)

    @precondition(lambda self: self.lists)
    @rule(data=st.data())
    def join(self, data):
        listed = self.pick_list(data)
        contents = bytearray().join(listed.model)
        try:
            joined = listed.blocks.join()
        except MemoryError as refused:
            self.check_refusal(refused, len(contents))
            return
        self.add(joined, contents, 1)

    @precondition(lambda self: any(listed.model for listed in self.lists))
    @rule(data=st.data())
    def view_one(self, data):
        listed = self.pick_list(data, lambda listed: listed.model)
        i = data.draw(st.integers(0, len(listed.model) - 1))
        listed.views.append((memoryview(listed.blocks[i]), i))

    @precondition(lambda self: any(listed.views for listed in self.lists))
    @rule(data=st.data())
    def release_one(self, data):
        listed = self.pick_list(data, lambda listed: listed.views)
        listed.views.pop(data.draw(st.integers(0, len(listed.views) - 1)))

    @precondition(lambda self: any(one.model for one in self.live))
    @rule(data=st.data())
    def view_by_numpy(self, data):
        one = self.pick(data, lambda one: one.model)
        one.views.append((memoryview(np.frombuffer(one.block, "u1").data), slice(None)))

    # Input and output

    @precondition(lambda self: self.lists)
    @rule(data=st.data(), offset=st.integers(0, 10_000))
    def through_a_file(self, data, offset):
        source, target = self.pick_list(data), self.pick_list(data)
        file = os.memfd_create("through a file")
        try:
            contents = b"".join(source.model)
            assert source.blocks.pwritev(file, offset) == len(contents)
            assert os.pread(file, len(contents), offset) == contents
            arrived = target.blocks.preadv(file, offset)
        finally:
            os.close(file)
        assert arrived == min(len(contents), sum(map(len, target.model)))
        for block in target.model:
            block[: len(contents)], contents = contents[: len(block)], contents[len(block) :]

    @rule(bodies=st.lists(st.binary(max_size=500), max_size=10), ahead=st.integers(0, 1000))
    def frames(self, bodies, ahead):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"".join(len(body).to_bytes(4, "big") + body for body in bodies))
            theirs.close()
            try:
                with warnings.catch_warnings():
                    received = list(self.group.frames(ours, read_ahead=ahead))
            except MemoryError as refused:
                # The bytes taken before the refusal belong to no block, but still count.
                self.check_frame_refusal(refused)
                stats = self.group.stats()
                self.requested, self.blocks = stats.requested, stats.blocks
                return
        for block, body in zip(received, bodies, strict=True):
            self.add(block, bytearray(body), 1)

    def check_frame_refusal(self, refused):
        assert "limit" in str(refused)

    # Ends, and concurrent changes

    @precondition(has_much)
    @rule()
    def reset(self):
        if self.exports():
            return super().reset()
        lists, self.lists = self.lists, []
        super().reset()
        self.check_ended(lists)
        return None

    @precondition(has_much)
    @rule(force=st.booleans())
    def free(self, force):
        lists = self.lists if force or not self.exports() else []
        super().free(force)
        self.check_ended(lists)

    def check_ended(self, lists):
        for listed in lists:
            for blocks in (listed.blocks, *(other for other, _ in listed.others)):
                with pytest.raises(ValueError, match="freed"):
                    blocks.join()

    @precondition(has_much)
    @rule()
    def end_gently(self):
        """Views keep showing their bytes, also after later allocations."""
        exports = self.exports()
        with self.group:
            pass
        assert self.group.stats().exports == exports
        self.retired += [one for one in self.live if one.views]
        self.start()

    @precondition(lambda self: self.retired)
    @rule(data=st.data())
    def forget(self, data):
        self.retired.pop(data.draw(st.integers(0, len(self.retired) - 1)))

    @precondition(has_much)
    @rule(limit=st.sampled_from([0, 1, 100_000, WARM]))
    def bound_what_is_warm(self, limit):
        memgroup.set_warm_limit(limit)
        assert memgroup.warm_memory().committed <= limit

    @rule(n=sizes, byte=st.integers(1, 255), gently=st.booleans())
    def another_group_comes_and_goes(self, n, byte, gently):
        other = MemGroup(base=self.options["base"])
        assert other.alloc(n, zero=True) == bytes(n)
        assert other.copy(bytes([byte]) * n) == bytes([byte]) * n
        if gently:
            del other
        else:
            other.free()

    @invariant()
    def lists_survive(self):
        for listed in getattr(self, "lists", []):
            assert [bytes(block) for block in listed.blocks] == listed.model
            for other, key in listed.others:
                assert [bytes(block) for block in other] == listed.model[key]
            for view, i in listed.views:
                assert view == listed.model[i]

    @invariant()
    def the_retired_survive(self):
        for one in getattr(self, "retired", []):
            for view, key in one.views:
                assert view == one.model[key]


TestListHistory = ListHistory.TestCase
TestListHistory.settings = settings(
    max_examples=cases(80),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
