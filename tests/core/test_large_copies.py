"""Copies that are too large for a processor's cache go past it, and are copies like any other."""

from typing import Any

import numpy as np
import pytest
from memgroup import MemGroup

# More than src/copy.rs has for the cache, and no multiple of anything.
LARGE = 33 * 1024 * 1024 + 13


@pytest.fixture(scope="module")
def source() -> Any:
    """Bytes of which no two neighbours are alike."""
    return np.arange(LARGE, dtype="u4").view("u1")[:LARGE]


@pytest.mark.parametrize("offset", [0, 1, 15, 63])
def test_a_large_copy_has_every_byte_at_any_alignment(source: Any, offset: int) -> None:
    with MemGroup() as group:
        block = group.alloc(LARGE + 64)
        block[:] = b"\xee" * len(block)
        block[offset : offset + LARGE] = source
        array = np.frombuffer(memoryview(block), "u1")
        assert np.array_equal(array[offset : offset + LARGE], source)
        assert (array[:offset] == 0xEE).all()
        assert (array[offset + LARGE :] == 0xEE).all()
        del array


@pytest.mark.parametrize(("to", "start"), [(0, 7), (7, 0)])
def test_a_large_part_of_a_block_moves_within_it(source: Any, to: int, start: int) -> None:
    with MemGroup() as group:
        block = group.alloc(LARGE + 7)
        block[:LARGE] = source
        block[LARGE:] = bytes(7)
        before = block.tobytes()
        block[to : to + LARGE] = block[start : start + LARGE]
        assert block[to : to + LARGE] == before[start : start + LARGE]


def test_a_list_of_large_and_small_objects_is_copied_whole(source: Any) -> None:
    with MemGroup() as group:
        items = [b"first", source, memoryview(source)[1:], b"", b"last"]
        assert [len(block) for block in group.copy_many(items)] == [5, LARGE, LARGE - 1, 0, 4]
        assert all(block == item for block, item in zip(group.copy_many(items), items, strict=True))
