"""Helpers for the tests of lists."""

from __future__ import annotations

import itertools

from memgroup import MemGroup, MemList

KIB = 1024


def numbered(n: int) -> bytes:
    """Bytes that differ from their neighbours."""
    return bytes(itertools.islice(itertools.cycle(range(251)), n))


def filled(group: MemGroup, sizes: list[int], **how) -> tuple[MemList, list[bytes]]:
    """A list of these sizes, and its contents."""
    made = group.alloc_many(sizes, **how)
    data = numbered(sum(sizes))
    made.fill_from(data)
    ends = list(itertools.accumulate(sizes))
    return made, [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def figures(group: MemGroup) -> tuple[int, int, int]:
    """Figures that a refused list must not change."""
    stats = group.stats()
    return stats.blocks, stats.requested, stats.allocated


def check_slots(group: MemGroup, made: MemList) -> None:
    """`slots` covers the list and gives the position of each block."""
    runs = made.slots
    assert [start for _, start, _, _ in runs] == [0, *(stop for _, _, stop, _ in runs)][: len(runs)]
    assert (runs[-1][2] if runs else 0) == len(made)
    offsets = made.offsets
    origins: dict[int, int] = {}
    for slot, start, stop, offset in runs:
        assert start < stop
        for at in range(start, stop):
            within = offset + offsets[at] - offsets[start]
            assert 0 <= within <= group.base << slot
            # Every block of a slot agrees on where the slot begins.
            assert origins.setdefault(slot, made[at].address - within) == made[at].address - within
