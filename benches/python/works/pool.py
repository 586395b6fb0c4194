"""One object of a pool and its death."""

from __future__ import annotations

from collections.abc import Callable

import memgroup

from model import Measure, Peer, Scale, Work
from timing import per_call

CALLS = 200_000
KEPT = 100
"""Bytearrays in the list that does the same by hand."""


def pool(size: int) -> Callable[[Scale], Measure]:
    """Return what prepares taking an object of a pool and dropping it."""

    def prepare(scale: Scale) -> Measure:
        call = per_call("p.alloc()", scale.of(CALLS), p=memgroup.MemGroup().pool(size))
        return lambda: {"time": call()}

    return prepare


def made(size: int) -> Callable[[Scale], Measure]:
    """Return what prepares making a bytearray and dropping it."""

    def prepare(scale: Scale) -> Measure:
        call = per_call("bytearray(n)", scale.of(CALLS), n=size)
        return lambda: {"time": call()}

    return prepare


def kept(size: int, code: str) -> Callable[[Scale], Measure]:
    """Return what prepares taking a bytearray of a list and putting it back."""

    def prepare(scale: Scale) -> Measure:
        call = per_call(code, scale.of(CALLS), n=size, kept=[bytearray(size) for _ in range(KEPT)])
        return lambda: {"time": call()}

    return prepare


CHECKED = "x = kept.pop() if kept else bytearray(n); kept.append(x)"
UNCHECKED = "x = kept.pop(); kept.append(x)"

WORKS = tuple(
    Work(
        f"pool-{size}",
        f"an object of {size} bytes of a pool, and its death",
        "call",
        (
            Peer("memgroup-pool", "p.alloc()", pool(size)),
            Peer("bytearray", f"bytearray({size})", made(size)),
            Peer("list", CHECKED, kept(size, CHECKED)),
            Peer("list-unchecked", UNCHECKED, kept(size, UNCHECKED)),
        ),
        values=15,
    )
    for size in (64, 4096)
)
