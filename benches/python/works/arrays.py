"""numpy arrays: small ones and their death, and a large one made, filled and dropped, again and again."""

from __future__ import annotations

from collections.abc import Callable

import memgroup

from model import Measure, Peer, Scale, Work
from optional import keep_no_warm_memory, module
from timing import in_rounds, per_call

CALLS = 20_000
SIZES = (8, 64, 512, 4096)
LARGE = 64 << 20
ROUNDS = 8


def ours(size: int) -> Callable[[Scale], Measure]:
    """Make arrays where an earlier measurement did, after a reset that is not timed."""

    def prepare(scale: Scale) -> Measure:
        module("numpy")
        group = memgroup.MemGroup(base=1 << 20)
        # As many as fit what stays warm.
        calls = scale.of(min(CALLS, (128 << 20) // (size * 8)))
        call = per_call(f"g.empty({size})", calls, g=group)

        def measure() -> dict[str, float]:
            group.reset()
            return {"time": call()}

        return measure

    return prepare


def numpys(size: int) -> Callable[[Scale], Measure]:
    """Make arrays of numpy's own, which keeps some dead ones' memory."""

    def prepare(scale: Scale) -> Measure:
        calls = scale.of(min(CALLS, (128 << 20) // (size * 8)))
        call = per_call(f"np.empty({size})", calls, np=module("numpy"))
        return lambda: {"time": call()}

    return prepare


def within(size: int) -> Callable[[Scale], Measure]:
    """Have numpy make arrays in a group, where each takes the memory of the one before it."""

    def prepare(scale: Scale) -> Measure:
        group = memgroup.MemGroup()
        call = per_call(f"np.empty({size})", scale.of(CALLS), np=module("numpy"))

        def measure() -> dict[str, float]:
            with group.numpy():
                return {"time": call()}

        return measure

    return prepare


def rounds(make_work: Callable[[int], Callable[[], object]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many rounds with one array of so many bytes."""

    def prepare(scale: Scale) -> Measure:
        work = make_work(scale.of(LARGE))
        return lambda: in_rounds(work, ROUNDS)

    return prepare


def group_each(nbytes: int) -> Callable[[], object]:
    """Make a group, an array of it, fill it, end the group."""
    module("numpy")

    def work() -> None:
        group = memgroup.MemGroup()
        array = group.empty(nbytes // 8)
        array.fill(1)
        del array
        group.free()

    return work


def group_each_fresh(nbytes: int) -> Callable[[], object]:
    """Have every round begin with what the kernel has yet to give."""
    keep_no_warm_memory()
    return group_each(nbytes)


def reset_each(nbytes: int) -> Callable[[], object]:
    """Keep one group, and reset it after every round."""
    module("numpy")
    group = memgroup.MemGroup()

    def work() -> None:
        array = group.empty(nbytes // 8)
        array.fill(1)
        del array
        group.reset()

    return work


def in_block(nbytes: int) -> Callable[[], object]:
    """Have numpy allocate in a group, which takes back what was made last."""
    np = module("numpy")
    group = memgroup.MemGroup()

    def work() -> None:
        with group.numpy():
            array = np.empty(nbytes // 8)
            array.fill(1)
            del array

    return work


def plain(nbytes: int) -> Callable[[], object]:
    """Make an array of numpy's own, fill it, drop it."""
    np = module("numpy")

    def work() -> None:
        array = np.empty(nbytes // 8)
        array.fill(1)
        del array

    return work


def kept(nbytes: int) -> Callable[[], object]:
    """Fill one array again and again."""
    array = module("numpy").empty(nbytes // 8)
    return lambda: array.fill(1)


WORKS = (
    *(
        Work(
            f"array-{size}",
            f"an uninitialised numpy array of {size:,} float64, and its death",
            "call",
            (
                Peer("memgroup-empty", f"g.empty({size}), memory used before", ours(size)),
                Peer("memgroup-numpy", f"with g.numpy(): np.empty({size})", within(size)),
                Peer("np.empty", f"np.empty({size})", numpys(size)),
            ),
            values=15,
        )
        for size in SIZES
    ),
    Work(
        "array-64MiB",
        "a numpy array of 64 MiB made, filled and dropped, again and again",
        "round",
        (
            Peer("memgroup-group", "g = MemGroup(); g.empty(n).fill(1); g.free()", rounds(group_each)),
            Peer("memgroup-reset", "one group; g.empty(n).fill(1); g.reset()", rounds(reset_each)),
            Peer("memgroup-numpy", "one group; with g.numpy(): np.empty(n).fill(1)", rounds(in_block)),
            Peer("memgroup-fresh", "as the first, no memory kept between groups", rounds(group_each_fresh)),
            Peer("np.empty", "np.empty(n).fill(1)", rounds(plain)),
            Peer("np.fill-kept", "the same array filled again", rounds(kept)),
        ),
        {"time": "s", "faults": "count"},
        values=4,
        first=True,
        nbytes=LARGE,
        resident=2 * LARGE,
    ),
)
