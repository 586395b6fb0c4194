"""What an object takes beyond the bytes that were asked for."""

from __future__ import annotations

import ctypes
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


def held() -> int:
    """Return how many of these are in use: malloc gives back what is free, where it can be asked to."""
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
    return resident()


class Mallinfo(ctypes.Structure):
    """What glibc's `mallinfo2` tells: ten numbers, of which two matter here."""

    _fields_ = (
        ("_", ctypes.c_size_t * 4),
        ("hblkhd", ctypes.c_size_t),
        ("__", ctypes.c_size_t * 2),
        ("uordblks", ctypes.c_size_t),
        ("___", ctypes.c_size_t * 2),
    )


def heap() -> int | None:
    """Return how many bytes `malloc` has handed out, Python's own heap apart; None where it does not tell."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return None
    mallinfo.restype = Mallinfo
    told = mallinfo()
    return told.uordblks + told.hblkhd


Make = Callable[[], tuple[Any, float | None, Any]]
"""Makes written objects; returns them, the size of a handle if there is one, and their group if any."""

MakeOf = Callable[[list[int]], Make]
"""Gets ready to make objects of these sizes, which is not measured."""


def beyond(make_of: MakeOf) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of what objects take beyond their payload."""

    def prepare(scale: Scale) -> Measure:
        make_of(mixed(100))()  # so that nothing is imported or set up by what is measured
        sizes = mixed(scale.of(COUNT))
        make = make_of(sizes)

        def measure() -> dict[str, float]:
            before, heap_before = held(), heap()
            objects, handle, group = make()
            figures = {"beyond payload": (held() - before - sum(sizes)) / len(sizes)}
            if handle is not None:
                figures["handle"] = handle
            elif heap_before is not None:
                figures["columns"] = ((heap() or 0) - heap_before) / len(sizes)
            if group is not None:
                stats = group.stats()
                figures["alignment"] = (stats.allocated - stats.requested) / len(sizes)
            del objects
            return figures

        return measure

    return prepare


def in_list(make_one: Callable[[int], Any], payload_in_size: bool, write: Callable[[Any], None]) -> MakeOf:
    """Return what makes objects one by one, kept in a list."""

    def make_of(sizes: list[int]) -> Make:
        def make() -> tuple[Any, float, None]:
            objects = [make_one(n) for n in sizes]
            for item in objects:
                write(item)
            return objects, sys.getsizeof(objects[0]) - (sizes[0] if payload_in_size else 0), None

        return make

    return make_of


def write_pages(view: Any) -> None:
    """Touch every page of what `view` shows: its first byte, its last, and so, being short, all between."""
    view[0] = view[-1] = 1


def group_alloc(sizes: list[int]) -> Make:
    """Blocks of a group, kept in a list."""

    def make() -> tuple[Any, float, Any]:
        group = memgroup.MemGroup()
        objects = [group.alloc(n) for n in sizes]
        for block in objects:
            write_pages(block)
        return objects, sys.getsizeof(objects[0]), group

    return make


def group_alloc_many(sizes: list[int]) -> Make:
    """A list of blocks of a group."""
    array = module("numpy").array(sizes, "i8")
    alloc_many_of(memgroup.MemGroup)

    def make() -> tuple[Any, None, Any]:
        group = memgroup.MemGroup()
        objects = alloc_many_of(group)(array)
        for block in objects:
            write_pages(block)
        return objects, None, group

    return make


def c_arena(sizes: list[int]) -> Make:
    """Objects of the C extension, which is told how much will be asked for."""
    arena_of, capacity = yardstick().Arena, padded(sizes)

    def make() -> tuple[Any, float, Any]:
        arena = arena_of(capacity)
        objects = [arena.alloc(n) for n in sizes]
        for piece in objects:
            write_pages(memoryview(piece))
        return objects, sys.getsizeof(objects[0]), None

    return make


def slices(sizes: list[int]) -> Make:
    """Slices of a memoryview of one bytearray."""

    def make() -> tuple[Any, float, None]:
        view = memoryview(bytearray(sum(sizes)))
        objects, stop = [], 0
        for n in sizes:
            objects.append(view[stop : stop + n])
            stop += n
        return objects, sys.getsizeof(objects[0]), None

    return make


def np_empty(sizes: list[int]) -> Make:
    """Arrays."""
    np = module("numpy")
    return in_list(lambda n: np.empty(n, "u1"), True, lambda array: array.fill(1))(sizes)


def pyarrow(sizes: list[int]) -> Make:
    """Buffers of Arrow."""
    pa = module("pyarrow")
    return in_list(pa.allocate_buffer, False, lambda buffer: write_pages(memoryview(buffer)))(sizes)


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
                beyond(in_list(bytearray, True, write_pages)),
            ),
            Peer("bytes", "[bytes(n) for n in sizes]", beyond(in_list(bytes, True, lambda _: None))),
            Peer("np.empty", '[np.empty(n, "u1") for n in sizes]', beyond(np_empty)),
            Peer("memoryview", "slices of a memoryview of one bytearray", beyond(slices)),
            Peer("pyarrow", "[pa.allocate_buffer(n) for n in sizes]", beyond(pyarrow)),
        ),
        {"beyond payload": "bytes", "handle": "bytes", "columns": "bytes", "alignment": "bytes"},
        values=0,
        passes=1,
    ),
)
