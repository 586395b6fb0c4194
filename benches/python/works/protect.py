"""Keeping others from writing: by the mirror, by a copy, by a read-only view, by a system call."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from timing import per_call


def calls(statement: str, count: int, names: Callable[[], dict[str, Any]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many calls."""

    def prepare(scale: Scale) -> Measure:
        call = per_call(statement, scale.of(count), **names())
        return lambda: {"time": call()}

    return prepare


def block(size: int) -> Callable[[], dict[str, Any]]:
    """Return what makes a group and a written block of it."""

    def names() -> dict[str, Any]:
        group = memgroup.MemGroup()
        return {"g": group, "b": group.copy(bytes(size))}

    return names


def of_size(name: str, size: int, words: str, copies: int) -> Work:
    """Return the work for one size, where copying takes so much that only `copies` are made."""

    def array() -> dict[str, Any]:
        return {"b": bytearray(b"x" * size)}

    return Work(
        f"protect-{name}",
        f"{words} that a callee can read and not write to",
        "call",
        (
            Peer("memgroup-protect", "g.protect(b)", calls("g.protect(b)", 100_000, block(size))),
            Peer("bytes", "bytes(b) of a bytearray: a copy", calls("bytes(b)", copies, array)),
            Peer(
                "memoryview",
                "memoryview(b).toreadonly()",
                calls("memoryview(b).toreadonly()", 100_000, array),
            ),
        ),
        values=5,
    )


def through_kernel() -> dict[str, Any]:
    """Return a mapped page, its address and `mprotect`."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page[0] = 1
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if mprotect(address, mmap.PAGESIZE, mmap.PROT_READ) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return {
        "mprotect": mprotect,
        "a": address,
        "n": mmap.PAGESIZE,
        "r": mmap.PROT_READ,
        "w": mmap.PROT_READ | mmap.PROT_WRITE,
        "page": page,
    }


WORKS = (
    of_size("64B", 64, "64 bytes", 100_000),
    of_size("64KiB", 64 << 10, "64 KiB", 2_000),
    of_size("16MiB", 16 << 20, "16 MiB", 20),
    Work(
        "protect-page",
        "a page protected and unprotected",
        "pair",
        (
            Peer(
                "memgroup-protect",
                "g.unprotect(g.protect(b))",
                calls("g.unprotect(g.protect(b))", 50_000, block(4096)),
            ),
            Peer(
                "mprotect",
                "mprotect by ctypes, there and back",
                calls("mprotect(a, n, r); mprotect(a, n, w)", 10_000, through_kernel),
            ),
        ),
        values=5,
    ),
)
