"""The loop of the original article: an array grown by 16, each element allocated, each freed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from optional import alloc_many_of
from timing import in_rounds

COUNT, SIZE, STEP, ROUNDS = 10_000, 100, 16, 5


def rounds(make_work: Callable[[int], Callable[[], object]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many rounds with so many elements."""

    def prepare(scale: Scale) -> Measure:
        work = make_work(scale.of(COUNT))
        return lambda: {"time": in_rounds(work, ROUNDS)["time"]}

    return prepare


def grown(count: int, make_one: Callable[[int], Any]) -> list[Any]:
    """Return an array that was grown whenever it was full, and an element in each place."""
    array: list[Any] = []
    for index in range(count):
        if index == len(array):
            array.extend([None] * STEP)
        array[index] = make_one(SIZE)
    return array


def plain(count: int) -> Callable[[], object]:
    """Make bytearrays, and let them go one by one."""

    def work() -> None:
        array = grown(count, bytearray)
        for index in range(count):
            array[index] = None

    return work


def by_group(count: int) -> Callable[[], object]:
    """Take the elements from a group and free it."""

    def work() -> None:
        group = memgroup.MemGroup()
        array = grown(count, group.alloc)
        del array
        group.free()

    return work


def by_list(count: int) -> Callable[[], object]:
    """Take array and elements in one call, and free them in one."""
    alloc_many_of(memgroup.MemGroup)

    def work() -> None:
        group = memgroup.MemGroup()
        array = alloc_many_of(group)(count=count, size=SIZE)
        del array
        group.free()

    return work


def by_libc(count: int) -> Callable[[], object]:
    """Do it as the article does, by `realloc`, `malloc` and `free`, called through ctypes."""
    libc = ctypes.CDLL(None)
    malloc, realloc, free = libc.malloc, libc.realloc, libc.free
    malloc.restype = realloc.restype = ctypes.c_void_p
    malloc.argtypes, free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    pointer = ctypes.sizeof(ctypes.c_void_p)

    def work() -> None:
        start, room = None, 0
        array: Any = None
        for index in range(count):
            if index == room:
                room += STEP
                start = realloc(start, room * pointer)
                array = (ctypes.c_void_p * room).from_address(start)
            array[index] = malloc(SIZE)
        for index in range(count):
            free(array[index])
        free(start)

    return work


WORKS = (
    Work(
        "article",
        "the original article's loop: 10,000 elements of 100 bytes in an array grown by 16, all freed",
        "round",
        (
            Peer("memgroup-alloc", "the loop, g.alloc(100) for each, one g.free()", rounds(by_group)),
            Peer(
                "memgroup-alloc_many",
                "no loop: g.alloc_many(count=10_000, size=100), one g.free()",
                rounds(by_list),
            ),
            Peer("bytearray", "the loop, bytearray(100) for each, each freed", rounds(plain)),
            Peer("libc-by-ctypes", "the loop with realloc, malloc and free", rounds(by_libc)),
        ),
        values=5,
    ),
)
