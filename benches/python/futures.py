"""Results and arguments of worker processes: `python benches/python/futures.py`, one run, all peers in turn.

Each row is the fastest of some rounds with one warm worker (the table: two), in milliseconds. A peer that is
not installed is left out.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import memgroup
import numpy as np
from memgroup.futures import ProcessPoolExecutor, result_group

MIB = 1024 * 1024
PAGE = 4096
WORDS = 64 * MIB // 8
RECORDS = 200_000
SMALL_RESULTS = 500

made: dict[str, np.ndarray] = {}


def source() -> np.ndarray:
    """What the worker has computed, outside of what is measured."""
    if "array" not in made:
        made["array"] = np.arange(WORDS, dtype="f8")
    return made["array"]


def plain_array(_: int) -> np.ndarray:
    """Return what the worker has."""
    return source()


def group_array(_: int) -> np.ndarray:
    """The same, written to the result's group."""
    array = result_group().empty((WORDS,), "f8")
    array[:] = source()
    return array


def segment_array(_: int) -> str:
    """By hand: a segment that the reader unlinks."""
    segment = shared_memory.SharedMemory(create=True, size=8 * WORDS)
    np.ndarray((WORDS,), "f8", segment.buf)[:] = source()
    segment.close()
    return segment.name


def attach(name: str) -> None:
    """Take what was made by hand."""
    segment = shared_memory.SharedMemory(name)
    np.ndarray((WORDS,), "f8", segment.buf)[0]
    segment.close()
    segment.unlink()


def sizes() -> list[int]:
    """How long the records are."""
    return [16 + number * 7919 % 497 for number in range(RECORDS)]


def plain_records(_: int) -> list[bytes]:
    """Return bytes objects."""
    if "records" not in globals():
        globals()["records"] = [os.urandom(size) for size in sizes()]
    return globals()["records"]


def group_records(_: int) -> memgroup.MemList:
    """The same, written to the result's group."""
    return result_group().copy_many(plain_records(0))


def small(_: int) -> bytes:
    """Return 1 KiB."""
    return b"x" * 1024


def first_and_last(table: np.ndarray) -> float:
    """Use a table."""
    return float(table[0] + table[-1])


def read_pages(array: np.ndarray) -> None:
    """Read a byte of every page."""
    array.view("u1")[::PAGE].sum()


def one(call: Callable[..., Any], work: Callable[[int], Any], use: Callable[[Any], None] | None) -> None:
    """Have a result made, and use it."""
    result = call(work, 0)
    if use is not None:
        use(result)


def many(call: Callable[..., Any]) -> None:
    """Have small results made, one by one."""
    for _ in range(SMALL_RESULTS):
        call(small, 0)


def show(name: str, peer: str, milliseconds: float) -> None:
    """Print a line."""
    print(f"{name:32} {peer:32} {milliseconds:10.4f} ms", flush=True)


def best(call: Callable[[], Any], rounds: int) -> float:
    """Milliseconds of the fastest round behind two that warm up."""
    times = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        result = call()
        if number >= 2:
            times.append(time.perf_counter() - start)
        del result
    return 1e3 * min(times)


def pss() -> int:
    """KiB that this process and its children hold, shared ones in parts."""
    pids = [str(os.getpid())]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += children.read_text().split()
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def submitters(workers: int) -> dict[str, tuple[Callable[..., Any], Callable[[], Any]]]:
    """How each peer does one call and waits for its result, and how it ends."""
    context = multiprocessing.get_context("spawn")
    ours = ProcessPoolExecutor(workers, context)
    theirs = concurrent.futures.ProcessPoolExecutor(workers, context)
    pool = context.Pool(workers)
    peers: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
        "memgroup": (lambda work, *args: ours.submit(work, *args).result(), ours.shutdown),
        "concurrent.futures": (lambda work, *args: theirs.submit(work, *args).result(), theirs.shutdown),
        "multiprocessing.Pool": (lambda work, *args: pool.apply(work, args), pool.terminate),
    }
    try:
        from joblib.externals import loky
    except ImportError:
        return peers
    other = loky.get_reusable_executor(workers)
    peers["loky"] = (lambda work, *args: other.submit(work, *args).result(), other.shutdown)
    return peers


def measure_results(rounds: int) -> None:
    """The rows of results."""
    peers = submitters(1)
    works = {
        "64 MiB array": (plain_array, group_array, None),
        "64 MiB array, every page read": (plain_array, group_array, read_pages),
        "200,000 records": (plain_records, group_records, None),
    }
    for name, (plain, built, use) in works.items():
        for peer, (call, _) in peers.items():
            show(name, peer, best(partial(one, call, plain, use), rounds))
        show(name, "memgroup, result_group", best(partial(one, peers["memgroup"][0], built, use), rounds))
        if name == "64 MiB array":
            call = peers["multiprocessing.Pool"][0]
            show(name, "SharedMemory by hand", best(partial(one, call, segment_array, attach), rounds))
    for _ in range(3):
        for peer, (call, _) in peers.items():
            show("1 KiB, one by one", peer, best(partial(many, call), 3) / SMALL_RESULTS)
    for _, end in peers.values():
        end()


def measure_table(mib: int, tasks: int) -> None:
    """One table as the argument of many tasks."""
    group = memgroup.MemGroup(shared=True)
    shared = group.full((mib * MIB // 8,), 1.0)
    for peer, (call, end) in submitters(2).items():
        call(small, 0)
        idle = pss()
        table = shared if peer == "memgroup" else np.array(shared)
        start = time.perf_counter()
        for _ in range(tasks):
            call(first_and_last, table)
        took = 1e3 * (time.perf_counter() - start)
        held = (pss() - idle) / 1024 + (mib if peer == "memgroup" else 0)
        print(
            f"{f'{mib} MiB table, {tasks} tasks':32} {peer:32} {took:10.2f} ms, {held:8.0f} MiB held",
            flush=True,
        )
        del table
        end()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--table", type=int, default=256, help="MiB of the table")
    arguments.add_argument("--tasks", type=int, default=100)
    options = arguments.parse_args()
    measure_results(options.rounds)
    measure_table(options.table, options.tasks)
