"""Beside `multiprocessing.shared_memory`: one large segment, and many small ones."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable
from multiprocessing import resource_tracker, shared_memory
from typing import Any

import memgroup

from model import Measure, Peer, Scale, UnavailableError, Work
from timing import in_rounds

LARGE, SMALL, COUNT = 64 << 20, 4096, 1_000


def rounds(make_work: Callable[[Scale], Callable[[], object]], count: int) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many rounds of a work."""

    def prepare(scale: Scale) -> Measure:
        work = make_work(scale)
        return lambda: {"time": in_rounds(work, count)["time"]}

    return prepare


def large_block(scale: Scale) -> Callable[[], object]:
    """Make a group, fill one block of it, free."""
    size = scale.of(LARGE)

    def work() -> None:
        group = memgroup.MemGroup()
        block = group.alloc(size)
        ctypes.memset(block.address, 1, size)
        del block
        group.free()

    return work


def segment(size: int) -> shared_memory.SharedMemory:
    """Return a new segment.

    Raises:
        UnavailableError: The system offers none.
    """
    resource_tracker.ensure_running()  # a process of its own, once; not what is measured
    try:
        return shared_memory.SharedMemory(create=True, size=size)
    except OSError as error:
        raise UnavailableError(f"no shared memory here: {error.strerror}") from error


def bytes_of(segment: shared_memory.SharedMemory) -> memoryview:
    """Return its bytes; only a closed one has none."""
    return segment.buf  # pyright: ignore[reportReturnType]


def close(segment: shared_memory.SharedMemory) -> None:
    """Give it back."""
    segment.close()
    segment.unlink()


def large_segment(scale: Scale) -> Callable[[], object]:
    """Make one segment, fill it, give it back."""
    size = scale.of(LARGE)
    close(segment(size))

    def work() -> None:
        shared = shared_memory.SharedMemory(create=True, size=size)
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(bytes_of(shared))), 1, size)
        close(shared)

    return work


def large_mapping(scale: Scale) -> Callable[[], object]:
    """Map anonymous memory, fill it, unmap it."""
    size = scale.of(LARGE)

    def work() -> None:
        with mmap.mmap(-1, size) as mapping:
            ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(mapping)), 1, size)

    return work


def write_to(views: Iterable[Any]) -> None:
    """Write one byte of each."""
    for view in views:
        view[0] = 1


def small_blocks(scale: Scale) -> Callable[[], object]:
    """Make a group, write to many blocks of it, free."""
    count = scale.of(COUNT)

    def work() -> None:
        group = memgroup.MemGroup()
        write_to([group.alloc(SMALL) for _ in range(count)])
        group.free()

    return work


def small_segments(scale: Scale) -> Callable[[], object]:
    """Make many segments, write to each, give them back."""
    count = scale.of(COUNT)
    close(segment(SMALL))

    def work() -> None:
        segments = [shared_memory.SharedMemory(create=True, size=SMALL) for _ in range(count)]
        write_to(map(bytes_of, segments))
        for shared in segments:
            close(shared)

    return work


def small_mappings(scale: Scale) -> Callable[[], object]:
    """Map many pages, write to each, unmap them."""
    count = scale.of(COUNT)

    def work() -> None:
        mappings = [mmap.mmap(-1, SMALL) for _ in range(count)]
        write_to(mappings)
        for mapping in mappings:
            mapping.close()

    return work


WORKS = (
    Work(
        "segment-64MiB",
        "64 MiB that can be shared: made, filled, given back",
        "round",
        (
            Peer(
                "memgroup-alloc", "g = MemGroup(); memset(g.alloc(64 MiB)); g.free()", rounds(large_block, 3)
            ),
            Peer(
                "shared_memory",
                "SharedMemory(create=True, size=64 MiB); memset; close(); unlink()",
                rounds(large_segment, 3),
            ),
            Peer("mmap", "mmap.mmap(-1, 64 MiB); memset; close()", rounds(large_mapping, 3)),
        ),
        values=3,
        nbytes=LARGE,
    ),
    Work(
        "segments-1000",
        "1,000 objects of 4,096 bytes that can be shared: made, one byte of each written, given back",
        "round",
        (
            Peer(
                "memgroup-alloc",
                "g = MemGroup(); 1,000 × g.alloc(4096)[0] = 1; g.free()",
                rounds(small_blocks, 5),
            ),
            Peer("shared_memory", "1,000 × SharedMemory(create=True, size=4096)", rounds(small_segments, 1)),
            Peer("mmap", "1,000 × mmap.mmap(-1, 4096)", rounds(small_mappings, 5)),
        ),
        values=3,
    ),
)
