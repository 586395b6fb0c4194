"""A million objects of mixed sizes, kept and then freed: untouched, and with bytes in them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Any

import memgroup

from model import Measure, Peer, Scale, Work
from optional import alloc_many_of, module, yardstick
from works.sizes import mixed, padded

COUNT = 1_000_000

Kept = list[Any]
"""What is kept: the objects and, where they need one, their group behind them."""


@dataclass
class Input:
    """What there is before the clock starts."""

    sizes: list[int]

    def payloads(self) -> list[bytearray]:
        """Return for each object what goes into it: a bytearray, of which even `bytes` has to make a copy."""
        of_size = {size: bytearray(b"x" * size) for size in set(self.sizes)}
        return [of_size[size] for size in self.sizes]

    def source(self) -> bytearray:
        """Return one buffer that holds what goes into all of them, one behind the other."""
        return bytearray(b"x") * sum(self.sizes)


def kept(make_from: Callable[[Input], Callable[[], Kept]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of making and of freeing.

    Args:
        make_from: Called with the input; returns what makes the objects, which alone is timed.
    """

    def prepare(scale: Scale) -> Measure:
        make = make_from(Input(mixed(scale.of(COUNT))))

        def measure() -> dict[str, float]:
            start = perf_counter()
            things = make()
            middle = perf_counter()
            end(things)
            finish = perf_counter()
            return {"both": finish - start, "make": middle - start, "free": finish - middle}

        return measure

    return prepare


def end(things: Kept) -> None:
    """Let the objects go, then free the group if there is one."""
    last = things.pop()
    things.clear()
    if isinstance(last, memgroup.MemGroup):
        last.free()


def of_group(objects: Callable[[memgroup.MemGroup, Input], Any]) -> Callable[[Input], Callable[[], Kept]]:
    """Return a maker of a group and what `objects` makes in it."""

    def make_from(given: Input) -> Callable[[], Kept]:
        def make() -> Kept:
            group = memgroup.MemGroup()
            return [objects(group, given), group]

        return make

    return make_from


def alloc(group: memgroup.MemGroup, given: Input) -> Any:
    """Allocate one by one."""
    return [group.alloc(n) for n in given.sizes]


def alloc_many(given: Input) -> Callable[[], Kept]:
    """Allocate all in one call."""
    np = module("numpy")
    alloc_many_of(memgroup.MemGroup)
    sizes = np.array(given.sizes, "i8")

    def make() -> Kept:
        group = memgroup.MemGroup()
        return [alloc_many_of(group)(sizes), group]

    return make


def c_arena(given: Input) -> Callable[[], Kept]:
    """Allocate from the C extension, which is told in advance how much it will be asked for."""
    arena_of, capacity = yardstick().Arena, padded(given.sizes)

    def make() -> Kept:
        arena = arena_of(capacity)
        return [[arena.alloc(n) for n in given.sizes], arena]

    return make


def np_empty(given: Input) -> Callable[[], Kept]:
    """Make arrays of unsigned bytes."""
    np = module("numpy")
    return lambda: [[np.empty(n, "u1") for n in given.sizes]]


def slices(given: Input) -> Callable[[], Kept]:
    """Make one bytearray and slice a memoryview of it."""

    def make() -> Kept:
        view = memoryview(bytearray(sum(given.sizes)))
        return [[view[stop - n : stop] for n, stop in zip(given.sizes, accumulate(given.sizes), strict=True)]]

    return make


def without_gc(make_from: Callable[[Input], Callable[[], Kept]]) -> Callable[[Input], Callable[[], Kept]]:
    """Do the same with the garbage collector off."""

    def make_without(given: Input) -> Callable[[], Kept]:
        gc.disable()
        return make_from(given)

    return make_without


def pyarrow(given: Input) -> Callable[[], Kept]:
    """Make buffers of Arrow."""
    pa = module("pyarrow")
    return lambda: [[pa.allocate_buffer(n) for n in given.sizes]]


KEEP = Work(
    "keep-million",
    "1,000,000 objects of 16 to 512 bytes, kept in a list, then freed; not written to",
    "round",
    (
        Peer("memgroup-alloc", "[g.alloc(n) for n in sizes]", kept(of_group(alloc))),
        Peer("memgroup-alloc_many", "g.alloc_many(array of sizes)", kept(alloc_many)),
        Peer("c-arena", "[a.alloc(n) for n in sizes]", kept(c_arena)),
        Peer(
            "bytearray",
            "[bytearray(n) for n in sizes]",
            kept(lambda given: lambda: [[bytearray(n) for n in given.sizes]]),
        ),
        Peer(
            "bytes",
            "[bytes(n) for n in sizes]",
            kept(lambda given: lambda: [[bytes(n) for n in given.sizes]]),
        ),
        Peer("np.empty", '[np.empty(n, "u1") for n in sizes]', kept(np_empty)),
        Peer("memoryview", "slices of a memoryview of one bytearray", kept(slices)),
        Peer("memoryview-gc-off", "the same after gc.disable()", kept(without_gc(slices))),
        Peer("pyarrow", "[pa.allocate_buffer(n) for n in sizes]", kept(pyarrow)),
    ),
    {"both": "s", "make": "s", "free": "s"},
    values=2,
    passes=3,
    first=True,
    resident=512 << 20,
)


def of_payloads(make_one: Callable[[Any], Any]) -> Callable[[Input], Callable[[], Kept]]:
    """Return a maker of one object of each payload."""

    def make_from(given: Input) -> Callable[[], Kept]:
        payloads = given.payloads()
        return lambda: [[make_one(payload) for payload in payloads]]

    return make_from


def group_copy(given: Input) -> Callable[[], Kept]:
    """Copy each payload into a group."""
    payloads = given.payloads()

    def make() -> Kept:
        group = memgroup.MemGroup()
        return [[group.copy(payload) for payload in payloads], group]

    return make


def group_assign(given: Input) -> Callable[[], Kept]:
    """Allocate blocks, then assign to each."""
    payloads = given.payloads()

    def make() -> Kept:
        group = memgroup.MemGroup()
        blocks = [group.alloc(n) for n in given.sizes]
        for block, payload in zip(blocks, payloads, strict=True):
            block[:] = payload
        return [blocks, group]

    return make


def c_arena_copy(given: Input) -> Callable[[], Kept]:
    """Copy each payload into an arena of the C extension, which is told in advance how much there will be."""
    arena_of, capacity, payloads = yardstick().Arena, padded(given.sizes), given.payloads()

    def make() -> Kept:
        arena = arena_of(capacity)
        return [[arena.copy(payload) for payload in payloads], arena]

    return make


def bytearray_assign(given: Input) -> Callable[[], Kept]:
    """Make bytearrays of zeros, then assign to each."""
    payloads = given.payloads()

    def make() -> Kept:
        blocks = [bytearray(n) for n in given.sizes]
        for block, payload in zip(blocks, payloads, strict=True):
            block[:] = payload
        return [blocks]

    return make


def np_copy(given: Input) -> Callable[[], Kept]:
    """Copy each payload into an array."""
    np = module("numpy")
    return of_payloads(lambda payload: np.array(payload, "u1"))(given)


def slices_assign(given: Input) -> Callable[[], Kept]:
    """Slice a memoryview of one bytearray, then assign to each."""
    payloads, slices_of = given.payloads(), slices(given)

    def make() -> Kept:
        things = slices_of()
        for view, payload in zip(things[0], payloads, strict=True):
            view[:] = payload
        return things

    return make


def pyarrow_assign(given: Input) -> Callable[[], Kept]:
    """Make buffers of Arrow, then assign to each through a memoryview."""
    pa, payloads = module("pyarrow"), given.payloads()

    def make() -> Kept:
        buffers = [pa.allocate_buffer(n) for n in given.sizes]
        for buffer, payload in zip(buffers, payloads, strict=True):
            memoryview(buffer).cast("B")[:] = payload  # they are signed bytes, which cannot be assigned to
        return [buffers]

    return make


COPY = Work(
    "copy-million",
    "1,000,000 bytearrays of 16 to 512 bytes, each copied into an object of its own; then freed",
    "round",
    (
        Peer("memgroup-copy", "[g.copy(p) for p in payloads]", kept(group_copy)),
        Peer("memgroup-assign", "b = g.alloc(n); b[:] = p", kept(group_assign)),
        Peer("c-arena", "[a.copy(p) for p in payloads]", kept(c_arena_copy)),
        Peer("bytearray", "[bytearray(p) for p in payloads]", kept(of_payloads(bytearray))),
        Peer("bytearray-assign", "b = bytearray(n); b[:] = p", kept(bytearray_assign)),
        Peer("bytes", "[bytes(p) for p in payloads]", kept(of_payloads(bytes))),
        Peer("np.array", '[np.array(p, "u1") for p in payloads]', kept(np_copy)),
        Peer("memoryview", "slices of one memoryview; v[:] = p", kept(slices_assign)),
        Peer("pyarrow", 'b = pa.allocate_buffer(n); memoryview(b).cast("B")[:] = p', kept(pyarrow_assign)),
    ),
    {"both": "s", "make": "s", "free": "s"},
    values=2,
    passes=3,
    first=True,
    resident=512 << 20,
)


def fill_from(given: Input) -> Callable[[], Kept]:
    """Allocate all in one call, fill all in another."""
    np, source = module("numpy"), given.source()
    alloc_many_of(memgroup.MemGroup)
    sizes = np.array(given.sizes, "i8")

    def make() -> Kept:
        group = memgroup.MemGroup()
        blocks = alloc_many_of(group)(sizes)
        blocks.fill_from(source)
        return [blocks, group]

    return make


def of_slices(make_one: Callable[[Any], Any]) -> Callable[[Input], Callable[[], Kept]]:
    """Return a maker of one object of each slice of the source."""

    def make_from(given: Input) -> Callable[[], Kept]:
        view, sizes = memoryview(given.source()), given.sizes
        return lambda: [
            [make_one(view[stop - n : stop]) for n, stop in zip(sizes, accumulate(sizes), strict=True)]
        ]

    return make_from


def group_copy_slices(given: Input) -> Callable[[], Kept]:
    """Copy each slice of the source into a group."""
    view, sizes = memoryview(given.source()), given.sizes

    def make() -> Kept:
        group = memgroup.MemGroup()
        copy = group.copy
        return [
            [copy(view[stop - n : stop]) for n, stop in zip(sizes, accumulate(sizes), strict=True)],
            group,
        ]

    return make


SCATTER = Work(
    "scatter-million",
    "one buffer scattered into 1,000,000 objects of 16 to 512 bytes; then freed",
    "round",
    (
        Peer("memgroup-fill_from", "g.alloc_many(array of sizes).fill_from(buffer)", kept(fill_from)),
        Peer("memgroup-copy", "g.copy(view[a:b]) for each", kept(group_copy_slices)),
        Peer("bytearray", "bytearray(view[a:b]) for each", kept(of_slices(bytearray))),
        Peer("bytes", "bytes(view[a:b]) for each", kept(of_slices(bytes))),
    ),
    {"both": "s", "make": "s", "free": "s"},
    values=2,
    passes=3,
    first=True,
    resident=512 << 20,
)

WORKS = (KEEP, COPY, SCATTER)
