"""CPython's own tests of memoryview, with blocks as the exporters: writable ones and protected ones.

Two of them differ, for reasons that CPython itself has:

`test_hash`
    A memoryview can be hashed if its exporter can. A protected block cannot: its bytes can still change,
    through its group's `unprotect`. CPython does the same with `memoryview(bytearray(b"abc")).toreadonly()`.
`test_gc`
    The part about subclasses of the exporter is skipped, as CPython skips it for every exporter that is made
    by a function: a block can be neither subclassed nor given attributes, so no cycle goes through one.
"""

from __future__ import annotations

import unittest

import pytest
from memgroup import MemBlock, MemGroup

cpython = pytest.importorskip("test.test_memoryview", reason="this CPython comes without its tests")

GROUP = MemGroup(name="memoryviews")


def writable(contents) -> MemBlock:
    return GROUP.copy(contents)


def protected(contents) -> MemBlock:
    return GROUP.protect(GROUP.copy(contents))


class OfBlocks(cpython.BaseBytesMemoryTests):
    ro_type = staticmethod(protected)
    rw_type = staticmethod(writable)

    def test_hash(self):
        for view in (self._view(protected(self._source)), memoryview(bytearray(self._source)).toreadonly()):
            with pytest.raises(TypeError, match="unhashable"):
                hash(view)


class BlockMemoryviewTest(unittest.TestCase, cpython.BaseMemoryviewTests, OfBlocks):
    # Its body works with every exporter.
    test_constructor = cpython.BytesMemoryviewTest.test_constructor


class BlockMemorySliceTest(unittest.TestCase, cpython.BaseMemorySliceTests, OfBlocks):
    pass


class BlockMemorySliceSliceTest(unittest.TestCase, cpython.BaseMemorySliceSliceTests, OfBlocks):
    pass


def test_only_the_listed_behaviour_differs():
    differing = {name for name in vars(OfBlocks) if name.startswith("test_")}
    assert differing == {"test_hash"}
    ours = unittest.defaultTestLoader.getTestCaseNames(BlockMemoryviewTest)
    assert ours == unittest.defaultTestLoader.getTestCaseNames(cpython.BytesMemoryviewTest)
