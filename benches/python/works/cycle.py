"""A small group made, used and freed, again and again."""

from __future__ import annotations

from collections.abc import Callable

import memgroup

from model import Measure, Peer, Scale, Work
from optional import alloc_many_of, keep_no_warm_memory, module, yardstick
from timing import in_rounds

OBJECTS, SIZE, ROUNDS = 1_000, 100, 100


def rounds(make_work: Callable[[], Callable[[], object]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many rounds of a work."""

    def prepare(scale: Scale) -> Measure:
        work = make_work()
        return lambda: in_rounds(work, scale.of(ROUNDS))

    return prepare


def alloc() -> None:
    """One round of single allocations."""
    group = memgroup.MemGroup()
    blocks = [group.alloc(SIZE) for _ in range(OBJECTS)]
    del blocks
    group.free()


def alloc_without_warm_memory() -> Callable[[], object]:
    """Have every round begin with what the kernel has yet to give."""
    keep_no_warm_memory()
    return alloc


def alloc_many() -> Callable[[], object]:
    """Allocate all objects of a round in one call."""
    alloc_many_of(memgroup.MemGroup)

    def work() -> None:
        group = memgroup.MemGroup()
        blocks = alloc_many_of(group)(count=OBJECTS, size=SIZE)
        del blocks
        group.free()

    return work


def c_arena() -> Callable[[], object]:
    """Do the same with the C extension, which is told how much will be asked for and keeps nothing warm."""
    arena_of = yardstick().Arena

    def work() -> None:
        arena = arena_of(OBJECTS * 112)
        [arena.alloc(SIZE) for _ in range(OBJECTS)]

    return work


def np_empty() -> Callable[[], object]:
    """Make arrays."""
    np = module("numpy")
    return lambda: [np.empty(SIZE, "u1") for _ in range(OBJECTS)]


WORKS = (
    Work(
        "cycle-small",
        "1,000 objects of 100 bytes made, then freed with their group, again and again",
        "round",
        (
            Peer("memgroup-alloc", "g = MemGroup(); 1,000 × g.alloc(100); g.free()", rounds(lambda: alloc)),
            Peer(
                "memgroup-alloc_many",
                "g = MemGroup(); g.alloc_many(count=1000, size=100); g.free()",
                rounds(alloc_many),
            ),
            Peer(
                "memgroup-fresh",
                "as the first, no memory kept between groups",
                rounds(alloc_without_warm_memory),
            ),
            Peer("c-arena", "a = Arena(112_000); 1,000 × a.alloc(100)", rounds(c_arena)),
            Peer(
                "bytearray",
                "1,000 × bytearray(100)",
                rounds(lambda: lambda: [bytearray(SIZE) for _ in range(OBJECTS)]),
            ),
            Peer(
                "bytes", "1,000 × bytes(100)", rounds(lambda: lambda: [bytes(SIZE) for _ in range(OBJECTS)])
            ),
            Peer("np.empty", '1,000 × np.empty(100, "u1")', rounds(np_empty)),
        ),
        {"time": "s", "faults": "count"},
        values=10,
        first=True,
    ),
)
