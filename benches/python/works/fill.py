"""Large blocks filled and freed, again and again: how much of the memory's bandwidth is left."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from optional import keep_no_warm_memory, module
from timing import in_rounds

MIB = 1 << 20
BLOCKS, ROUNDS = 64, 4

address_of_bytearray = (ctypes.c_char * MIB).from_buffer


def rounds(make_work: Callable[[int], Callable[[], object]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many rounds of a work with so many blocks."""

    def prepare(scale: Scale) -> Measure:
        work = make_work(scale.of(BLOCKS))
        return lambda: in_rounds(work, ROUNDS)

    return prepare


def fill_blocks(group: memgroup.MemGroup, blocks: int) -> None:
    """Allocate and fill blocks, keep them until all are filled, then let them go."""
    held = []
    for _ in range(blocks):
        block = group.alloc(MIB)
        ctypes.memset(block.address, 1, MIB)
        held.append(block)


def group(blocks: int) -> Callable[[], object]:
    """Allocate from a new group, fill, free."""

    def work() -> None:
        group = memgroup.MemGroup()
        fill_blocks(group, blocks)
        group.free()

    return work


def group_without_warm_memory(blocks: int) -> Callable[[], object]:
    """Have every round begin with what the kernel has yet to give."""
    keep_no_warm_memory()
    return group(blocks)


def reset(blocks: int) -> Callable[[], object]:
    """Keep one group, and reset it after every round."""
    group = memgroup.MemGroup()

    def work() -> None:
        fill_blocks(group, blocks)
        group.reset()

    return work


def held(
    make_one: Callable[[], Any], address_of: Callable[[Any], Any]
) -> Callable[[int], Callable[[], object]]:
    """Return a maker of rounds that make, fill and keep blocks, then let all go."""

    def make_work(blocks: int) -> Callable[[], object]:
        def work() -> None:
            held = []
            for _ in range(blocks):
                block = make_one()
                ctypes.memset(address_of(block), 1, MIB)
                held.append(block)

        return work

    return make_work


def np_empty(blocks: int) -> Callable[[], object]:
    """Make arrays."""
    np = module("numpy")
    return held(lambda: np.empty(MIB, "u1"), lambda array: array.ctypes.data)(blocks)


def memset_whole(blocks: int) -> Callable[[], object]:
    """Fill one warm buffer in one call."""
    buffer = (ctypes.c_char * (blocks * MIB))()
    return lambda: ctypes.memset(buffer, 1, blocks * MIB)


def memset_in_pieces(blocks: int) -> Callable[[], object]:
    """Fill one warm buffer piece by piece, as blocks are filled."""
    buffer = (ctypes.c_char * (blocks * MIB))()

    def work() -> None:
        start = ctypes.addressof(buffer)
        for offset in range(0, blocks * MIB, MIB):
            ctypes.memset(start + offset, 1, MIB)

    return work


WORKS = (
    Work(
        "fill-64MiB",
        "64 blocks of 1 MiB made, filled, then freed, again and again",
        "round",
        (
            Peer("memgroup-alloc", "g = MemGroup(); 64 × memset(g.alloc(1 MiB)); g.free()", rounds(group)),
            Peer("memgroup-reset", "one group; g.reset() instead", rounds(reset)),
            Peer(
                "memgroup-fresh",
                "as the first, no memory kept between groups",
                rounds(group_without_warm_memory),
            ),
            Peer("memset-whole", "one memset of one warm buffer of 64 MiB", rounds(memset_whole)),
            Peer("memset-in-pieces", "64 × memset of 1 MiB of it", rounds(memset_in_pieces)),
            Peer(
                "bytearray",
                "64 × memset(bytearray(1 MiB))",
                rounds(held(lambda: bytearray(MIB), address_of_bytearray)),
            ),
            Peer("np.empty", '64 × memset(np.empty(1 MiB, "u1"))', rounds(np_empty)),
        ),
        {"time": "s", "faults": "count"},
        values=4,
        first=True,
        nbytes=BLOCKS * MIB,
        resident=2 * BLOCKS * MIB,
    ),
)
