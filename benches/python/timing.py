"""Measuring time."""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter
from typing import Any

COPIES = 20
"""How often a statement stands in the loop that is timed, so that the loop itself weighs next to nothing."""

TEMPLATE = """
def timed(_rounds, {parameters}):
    _start = perf_counter()
    for _ in _rounds:
        {statements}
    return perf_counter() - _start
"""


def per_call(statement: str, calls: int, **names: Any) -> Callable[[], float]:
    """Return a function that runs `statement` some `calls` times and returns the seconds of one.

    Args:
        statement: One line of Python. Builtins are what they are to a user: looked up each time.
        calls: How often, rounded to a multiple of COPIES.
        names: What the statement may use, as local variables.
    """
    source = TEMPLATE.format(parameters=", ".join(names), statements="; ".join([statement] * COPIES))
    scope: dict[str, Any] = {"perf_counter": perf_counter}
    exec(compile(source, f"<{statement}>", "exec"), scope)
    timed = scope["timed"]
    rounds = max(1, calls // COPIES)
    return lambda: timed(repeat(None, rounds), **names) / (rounds * COPIES)


def make_resident(nbytes: int) -> None:
    """Have so much memory come to be free that the host of a virtual machine has backed, and in huge pages.

    Where the host takes free memory away, the next touch of it waits for the host, once for each page that
    was free for two seconds. How much that is changes by the minute, and no library decides it.
    """
    with mmap.mmap(-1, max(nbytes, mmap.PAGESIZE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, nbytes, mmap.PAGESIZE):
            memory[start] = 1


def faults() -> int:
    """Return how many pages the kernel has had to find for this process, none of them from a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def in_rounds(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Repeat `work`; return the seconds and the page faults of one round."""
    faults_before = faults()
    start = perf_counter()
    for _ in repeat(None, rounds):
        work()
    seconds = perf_counter() - start
    return {"time": seconds / rounds, "faults": (faults() - faults_before) / rounds}


@contextmanager
def on_all_cpus() -> Iterator[None]:
    """Let what is started in this context run beside this process, which stays on one CPU otherwise."""
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, here)
