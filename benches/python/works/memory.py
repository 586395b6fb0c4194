"""What an object takes beyond the bytes that were asked for."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from optional import alloc_many_of, module, yardstick
from works.sizes import mixed, padded

COUNT = 1_000_000
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return how many bytes of this process are in memory, shared ones among them."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE


Make = Callable[[list[int]], tuple[Any, float | None, Any]]
"""Makes written objects of these sizes; returns them, the size of a handle if it has one, and their group."""


def beyond(make_maker: Callable[[], Make]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of what objects take beyond their payload."""

    def prepare(scale: Scale) -> Measure:
        make = make_maker()
        make(mixed(100))  # so that nothing is imported or set up by what is measured
        sizes = mixed(scale.of(COUNT))

        def measure() -> dict[str, float]:
            gc.collect()
            before = resident()
            objects, handle, group = make(sizes)
            figures = {"beyond payload": (resident() - before - sum(sizes)) / len(sizes)}
            if handle is not None:
                figures["handle"] = handle
            if group is not None:
                stats = group.stats()
                figures["of it, for alignment"] = (stats.allocated - stats.requested) / len(sizes)
                figures["of it, else"] = figures["beyond payload"] - figures["of it, for alignment"]
            del objects
            return figures

        return measure

    return prepare


def in_list(make_one: Callable[[int], Any], payload_in_size: bool, write: Callable[[Any], None]) -> Make:
    """Return what makes objects one by one, kept in a list."""

    def make(sizes: list[int]) -> tuple[Any, float, None]:
        objects = [make_one(n) for n in sizes]
        for item in objects:
            write(item)
        return objects, sys.getsizeof(objects[0]) - (sizes[0] if payload_in_size else 0), None

    return make


def write_pages(view: Any) -> None:
    """Touch every page of what `view` shows: its first byte, its last, and so, being short, all between."""
    view[0] = view[-1] = 1


def group_alloc() -> Make:
    """Blocks of a group, kept in a list."""

    def make(sizes: list[int]) -> tuple[Any, float, Any]:
        group = memgroup.MemGroup()
        objects = [group.alloc(n) for n in sizes]
        for block in objects:
            write_pages(block)
        return objects, sys.getsizeof(objects[0]), group

    return make


def group_alloc_many() -> Make:
    """A list of blocks of a group."""
    np = module("numpy")
    alloc_many_of(memgroup.MemGroup)

    def make(sizes: list[int]) -> tuple[Any, None, Any]:
        group = memgroup.MemGroup()
        # As small as they get, and gone before memory is looked at.
        objects = alloc_many_of(group)(np.fromiter(sizes, "u2", len(sizes)))
        for block in objects:
            write_pages(block)
        return objects, None, group

    return make


def c_arena() -> Make:
    """Objects of the C extension, which is told how much will be asked for."""
    arena_of = yardstick().Arena

    def make(sizes: list[int]) -> tuple[Any, float, Any]:
        arena = arena_of(padded(sizes))
        objects = [arena.alloc(n) for n in sizes]
        for piece in objects:
            write_pages(memoryview(piece))
        return objects, sys.getsizeof(objects[0]), None

    return make


def slices() -> Make:
    """Slices of a memoryview of one bytearray."""

    def make(sizes: list[int]) -> tuple[Any, float, None]:
        view = memoryview(bytearray(sum(sizes)))
        objects, stop = [], 0
        for n in sizes:
            objects.append(view[stop : stop + n])
            stop += n
        return objects, sys.getsizeof(objects[0]), None

    return make


def np_empty() -> Make:
    """Arrays."""
    np = module("numpy")
    return in_list(lambda n: np.empty(n, "u1"), True, lambda array: array.fill(1))


def pyarrow() -> Make:
    """Buffers of Arrow."""
    pa = module("pyarrow")
    return in_list(pa.allocate_buffer, False, lambda buffer: write_pages(memoryview(buffer)))


WORKS = (
    Work(
        "memory",
        "what each of 1,000,000 objects of 16 to 512 bytes takes beyond these; written, kept in a list",
        "object",
        (
            Peer("memgroup-alloc", "[g.alloc(n) for n in sizes]", beyond(group_alloc)),
            Peer("memgroup-alloc_many", "g.alloc_many(array of sizes)", beyond(group_alloc_many)),
            Peer("c-arena", "[a.alloc(n) for n in sizes]", beyond(c_arena)),
            Peer(
                "bytearray",
                "[bytearray(n) for n in sizes]",
                beyond(lambda: in_list(bytearray, True, write_pages)),
            ),
            Peer("bytes", "[bytes(n) for n in sizes]", beyond(lambda: in_list(bytes, True, lambda _: None))),
            Peer("np.empty", '[np.empty(n, "u1") for n in sizes]', beyond(np_empty)),
            Peer("memoryview", "slices of a memoryview of one bytearray", beyond(slices)),
            Peer("pyarrow", "[pa.allocate_buffer(n) for n in sizes]", beyond(pyarrow)),
        ),
        {
            "beyond payload": "bytes",
            "handle": "bytes",
            "of it, for alignment": "bytes",
            "of it, else": "bytes",
        },
        values=0,
        passes=1,
    ),
)
