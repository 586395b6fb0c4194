"""Results and arguments of worker processes, and messages: `python benches/python/futures.py`.

All peers run in turn, with one warm worker (the table: two). Each row is the fastest of some rounds, in
milliseconds. The time of a result counts from the moment at which the worker has it until the parent can use
it; what is copied to the result's group counts, what is computed there does not, for any peer. A peer that is
not installed is left out.

Memory is the proportional share (PSS) of the parent and all its children together, with shared pages once.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
TABLE_MIB = 256
SMALL_RESULTS = 1000
MESSAGES = 2000
FLAT_RESULTS = 2000

# Starts a task in a worker, and returns what waits for its result.
Start = Callable[..., Callable[[], Any]]

# Runs a task so many times, and returns the results.
Repeat = Callable[[Callable[..., Any], tuple[Any, ...], int], list[Any]]

made: dict[str, Any] = {}


def now() -> float:
    """Seconds on a clock that all processes share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def source() -> np.ndarray:
    """What the worker has computed, outside of what is measured."""
    if "array" not in made:
        made["array"] = np.arange(WORDS, dtype="f8")
    return made["array"]


def plain_array() -> tuple[float, np.ndarray]:
    """Return an array of the worker's."""
    array = source()
    return now(), array


def group_array() -> tuple[float, np.ndarray]:
    """Return an array that was computed in the result's group."""
    array = result_group().empty((WORDS,), "f8")
    array[:] = source()
    return now(), array


def segment_array() -> tuple[float, str]:
    """By hand: copy an array of the worker's to a segment that the reader unlinks."""
    array = source()
    start = now()
    segment = shared_memory.SharedMemory(create=True, size=8 * WORDS)
    np.ndarray((WORDS,), "f8", segment.buf)[:] = array
    segment.close()
    return start, segment.name


def attach(name: str) -> None:
    """Take what was made by hand."""
    segment = shared_memory.SharedMemory(name)
    np.ndarray((WORDS,), "f8", segment.buf)[0]
    segment.close()
    segment.unlink()


def records() -> list[bytes]:
    """Records of 16 to 512 bytes, made once."""
    if "records" not in made:
        made["records"] = [os.urandom(16 + number * 7919 % 497) for number in range(RECORDS)]
    return made["records"]


def plain_records() -> tuple[float, list[bytes]]:
    """Return bytes objects."""
    found = records()
    return now(), found


def copied_records() -> tuple[float, memgroup.MemList]:
    """Copy bytes objects to the result's group."""
    found = records()
    start = now()
    return start, result_group().copy_many(found)


def group_records() -> tuple[float, memgroup.MemList]:
    """Return records that were found in the result's group, as `read_files` and `splitlines` do."""
    found = result_group().copy_many(records())
    return now(), found


def small() -> bytes:
    """Return 1 KiB."""
    return b"x" * 1024


def small_array() -> np.ndarray:
    """Return what goes through the pipe."""
    return np.ones(64 * 1024, "u1")


def larger_array() -> np.ndarray:
    """Return what goes through memory."""
    return np.ones(192 * 1024, "u1")


def one_mib() -> np.ndarray:
    """Return 1 MiB."""
    return np.ones(MIB // 8)


class SegmentTable:
    """A table that was shared by hand: it is pickled as the name of its segment."""

    def __init__(self, name: str) -> None:
        """Attach the segment of that name."""
        self.segment = shared_memory.SharedMemory(name)
        self.array = np.ndarray((self.segment.size // 8,), "f8", self.segment.buf)

    def __reduce__(self) -> Any:
        """Name the segment."""
        return segment_table, (self.segment.name,)


def segment_table(name: str) -> SegmentTable:
    """Attach a segment, once in each worker."""
    if name not in made:
        made[name] = SegmentTable(name)
    return made[name]


def first_and_last(table: np.ndarray | SegmentTable) -> float:
    """Use a table."""
    array = table.array if isinstance(table, SegmentTable) else table
    return float(array[0] + array[-1])


def held_with(table: np.ndarray | SegmentTable, parent: int) -> int:
    """KiB that the parent and all workers hold while they use the table."""
    time.sleep(0.2)
    first_and_last(table)
    return pss(parent)


def read_pages(array: np.ndarray) -> None:
    """Read a byte of every page."""
    array.view("u1")[::PAGE].sum()


def show(name: str, peer: str, seconds: float, more: str = "") -> None:
    """Print a line."""
    print(f"{name:32} {peer:32} {1e3 * seconds:10.4f} ms{more}", flush=True)


def pss(parent: int) -> int:
    """KiB that a process and its children hold, shared ones in parts."""
    pids = [str(parent)]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += children.read_text().split()
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def executors(workers: int) -> Iterator[dict[str, Start]]:
    """The peers."""
    context = multiprocessing.get_context("spawn")
    peers: dict[str, Any] = {
        "memgroup": ProcessPoolExecutor(workers, context),
        "concurrent.futures": concurrent.futures.ProcessPoolExecutor(workers, context),
    }
    try:
        from joblib.externals import loky
    except ImportError:
        pass
    else:
        peers["loky"] = loky.get_reusable_executor(workers)
    with context.Pool(workers) as pool:
        starts: dict[str, Start] = {
            name: lambda work, *args, peer=peer: peer.submit(work, *args).result
            for name, peer in peers.items()
        }
        starts["multiprocessing.Pool"] = lambda work, *args: pool.apply_async(work, args).get
        yield starts
        for peer in peers.values():
            peer.shutdown()


def handed_over(
    start: Start, work: Callable[[], Any], use: Callable[[Any], None] | None, rounds: int
) -> float:
    """Seconds until a result can be used; the fastest round behind two that warm up."""
    times = []
    for _ in range(rounds + 2):
        begin, result = start(work)()
        if use is not None:
            use(result)
        times.append(now() - begin)
        del result
    return min(times[2:])


def measure_results(rounds: int) -> None:
    """The rows of results."""
    works = {
        "64 MiB array": (plain_array, {"computed in result_group": group_array}, None),
        "64 MiB, every page read": (plain_array, {"computed in result_group": group_array}, read_pages),
        "200,000 records": (
            plain_records,
            {"copied to result_group": copied_records, "found in result_group": group_records},
            None,
        ),
    }
    with executors(1) as peers:
        for name, (plain, built, use) in works.items():
            for peer, start in peers.items():
                show(name, peer, handed_over(start, plain, use, rounds))
            for how, work in built.items():
                show(name, f"memgroup, {how}", handed_over(peers["memgroup"], work, use, rounds))
        start = peers["multiprocessing.Pool"]
        show("64 MiB array", "SharedMemory by hand", handed_over(start, segment_array, attach, rounds))
        for name, work in {
            "1 KiB": small,
            "64 KiB array": small_array,
            "192 KiB array": larger_array,
        }.items():
            measure_small(peers, name, work)


def measure_small(peers: dict[str, Start], name: str, work: Callable[[], Any]) -> None:
    """Results one by one: the median round trip of many, in which the peers take turns at random.

    Who follows a slow peer waits longer for a processor that sleeps, so no peer always follows the same one.
    """
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    order, draw = list(peers), random.Random(1)
    for _ in range(SMALL_RESULTS):
        draw.shuffle(order)
        for peer in order:
            begin = now()
            peers[peer](work)()
            times[peer].append(now() - begin)
    for peer, all_times in times.items():
        show(f"{name}, one by one", peer, statistics.median(all_times))


def one_by_one(start: Start) -> Repeat:
    """Run tasks each after the result of the one before."""
    return lambda work, arguments, count: [start(work, *arguments)() for _ in range(count)]


def show_table(peer: str, repeat: Repeat, make: Callable[[], Any], tasks: int) -> None:
    """Print how long tasks take that have a table as their argument, and what is held for it."""
    repeat(small, (), 4)
    before = pss(os.getpid())
    table = make()
    name = f"{TABLE_MIB} MiB table, {tasks} tasks"
    begin = now()
    repeat(first_and_last, (table,), tasks)
    took = now() - begin
    held = max(repeat(held_with, (table, os.getpid()), 4)) - before
    show(name, peer, took, f", {held / 1024:8.0f} MiB held")


def measure_table(tasks: int) -> None:
    """One table as the argument of many tasks."""
    words = TABLE_MIB * MIB // 8
    shared = memgroup.MemGroup(shared=True)
    with executors(2) as peers:
        for peer, start in peers.items():
            make = partial(shared.full if peer == "memgroup" else np.full, words, 1.0)
            show_table(peer, one_by_one(start), make, tasks)
        segment = shared_memory.SharedMemory(create=True, size=8 * words)

        def fill_segment() -> SegmentTable:
            table = segment_table(segment.name)
            table.array[:] = 1.0
            return table

        show_table("SharedMemory by hand", one_by_one(peers["multiprocessing.Pool"]), fill_segment, tasks)
        segment.unlink()
    try:
        import joblib
    except ImportError:
        return
    with joblib.Parallel(2) as parallel:

        def repeat(work: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> list[Any]:
            return list(parallel(joblib.delayed(work)(*arguments) for _ in range(count)))

        show_table("joblib.Parallel", repeat, partial(np.full, words, 1.0), tasks)


def measure_flat_memory() -> None:
    """What is held after many results, more than after the first hundred."""
    with executors(1) as peers:
        for peer in ("memgroup", "concurrent.futures"):
            repeat = one_by_one(peers[peer])
            for _ in range(100):
                repeat(one_mib, (), 1)
            before, begin = pss(os.getpid()), now()
            for _ in range(FLAT_RESULTS):
                repeat(one_mib, (), 1)
            took = (now() - begin) / FLAT_RESULTS
            more = (pss(os.getpid()) - before) / 1024
            show(f"1 MiB, result of {FLAT_RESULTS}", peer, took, f", {more:8.1f} MiB more held after all")


def known_slot() -> Iterator[float]:
    """Seconds to send and receive each of many blocks of a slot that the receiver has."""
    here, there = socket.socketpair()
    group, receiver = memgroup.MemGroup(shared=True), memgroup.MemGroup()
    kept = []
    for block in [group.copy(bytes(1024)) for _ in range(MESSAGES)]:
        begin = now()
        group.send(here, block)
        kept.append(receiver.recv(there))
        yield now() - begin


def first_announcement() -> Iterator[float]:
    """Seconds to send and receive blocks of slots that the receiver does not have."""
    here, there = socket.socketpair()
    receiver = memgroup.MemGroup()
    for _ in range(MESSAGES // 10):
        group = memgroup.MemGroup(shared=True)
        block = group.copy(bytes(1024))
        begin = now()
        group.send(here, block)
        arrived = receiver.recv(there)
        yield now() - begin
        del arrived
        receiver.reset()


def attached_by_name() -> Iterator[float]:
    """Seconds to attach segments of which the name has come already."""
    for _ in range(MESSAGES // 10):
        segment = shared_memory.SharedMemory(create=True, size=MIB)
        begin = now()
        attached = shared_memory.SharedMemory(segment.name)
        yield now() - begin
        attached.close()
        segment.close()
        segment.unlink()


def measure_messages() -> None:
    """Blocks over a socket, within one process: the median of many."""
    show("send + recv, a known slot", "memgroup", statistics.median(known_slot()))
    show("a slot's first announcement", "memgroup", statistics.median(first_announcement()))
    show(
        "a slot's first announcement", "SharedMemory by hand, attached", statistics.median(attached_by_name())
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--tasks", type=int, default=100)
    options = arguments.parse_args()
    measure_messages()
    measure_results(options.rounds)
    measure_flat_memory()
    measure_table(options.tasks)
