"""One small object and its death."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from optional import keep_no_warm_memory, module, yardstick
from timing import per_call

CALLS = 200_000


def plain(code: str, names: Callable[[], dict[str, Any]] = dict) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of `code` with these names."""

    def prepare(scale: Scale) -> Measure:
        call = per_call(code, scale.of(CALLS), **names())
        return lambda: {"time": call()}

    return prepare


def warm(scale: Scale) -> Measure:
    """Allocate where an earlier measurement did, after a reset that is not timed."""
    group = memgroup.MemGroup()
    call = per_call("g.alloc(64)", scale.of(CALLS), g=group)

    def measure() -> dict[str, float]:
        group.reset()
        return {"time": call()}

    return measure


def fresh(scale: Scale) -> Measure:
    """Allocate from a new group each time, whose pages the kernel has yet to find."""
    keep_no_warm_memory()

    def measure() -> dict[str, float]:
        with memgroup.MemGroup() as group:
            return {"time": per_call("g.alloc(64)", scale.of(CALLS), g=group)()}

    return measure


def c_arena(scale: Scale) -> Measure:
    """Do the same as `warm` with the C extension."""
    calls = scale.of(CALLS) + 100
    arena = yardstick().Arena(calls * 64)
    call = per_call("a.alloc(64)", scale.of(CALLS), a=arena)

    def measure() -> dict[str, float]:
        arena.reset()
        return {"time": call()}

    return measure


WORKS = (
    Work(
        "alloc-one",
        "an object of 64 bytes, and its death",
        "call",
        (
            Peer("memgroup-warm", "g.alloc(64), memory used before", warm),
            Peer("memgroup-fresh", "g.alloc(64), fresh pages", fresh),
            Peer("c-arena", "a.alloc(64), memory used before", c_arena),
            Peer("bytearray", "bytearray(64)", plain("bytearray(64)")),
            Peer("bytes", "bytes(64)", plain("bytes(64)")),
            Peer(
                "np.empty", 'np.empty(64, "u1")', plain('np.empty(64, "u1")', lambda: {"np": module("numpy")})
            ),
            Peer(
                "memoryview", "view[64:128]", plain("v[64:128]", lambda: {"v": memoryview(bytearray(4096))})
            ),
            Peer(
                "pyarrow",
                "pa.allocate_buffer(64)",
                plain("pa.allocate_buffer(64)", lambda: {"pa": module("pyarrow")}),
            ),
        ),
        values=15,
    ),
)
