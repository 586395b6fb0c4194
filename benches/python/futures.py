"""Results and arguments of worker processes, and messages: `python benches/python/futures.py`.

In each round the peers take turns in an order that is drawn anew, with one warm worker (the table: two). Each
row is the fastest round, or where it says so the median, in milliseconds, and what part of the time of
`concurrent.futures` (records: of the Pool) that is. The time of a result counts from the moment at which the
worker has it until the parent can use it; what is copied to the result's group counts, what is computed there
does not, for any peer. A peer that is not installed is left out.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import shared_memory
from typing import Any

import memgroup
import numpy as np
from memgroup.futures import ProcessPoolExecutor

import futures_work as work
from futures_work import MIB, now

PAGE = 4096
TABLE_MIB = 256
FEW_TASKS = 4
SMALL_RESULTS = 1000
LARGE_ARGUMENTS = 40
MESSAGES = 2000
FLAT_RESULTS = 2000

STANDARD, POOL, BY_HAND = "concurrent.futures", "multiprocessing.Pool", "SharedMemory by hand"

# Starts a task in a worker, and returns what waits for its result.
Start = Callable[..., Callable[[], Any]]

# Runs a task so many times, and returns the results.
Repeat = Callable[[Callable[..., Any], tuple[Any, ...], int], list[Any]]

# Does once what is measured, and returns how many seconds it took.
Measure = Callable[[], float]


def read_pages(array: np.ndarray) -> None:
    """Read a byte of every page."""
    array.view("u1")[::PAGE].sum()


def show(name: str, peer: str, seconds: float, more: str = "") -> None:
    """Print a line."""
    print(f"{name:32} {peer:36} {1e3 * seconds:10.4f} ms{more}", flush=True)


def show_all(
    name: str, times: dict[str, list[float]], summary: Callable[[list[float]], float], against: str = STANDARD
) -> None:
    """Print a line for each peer, with its part of the time of one of them."""
    one = summary(times[against])
    for peer, seconds in times.items():
        part = one / summary(seconds)
        ratio = f", 1/{part:.0f} of {against}" if part >= 2 else f", {1 / part:.2f} x {against}"
        show(name, peer, summary(seconds), "" if peer == against else ratio)


def interleaved(measures: dict[str, Measure], rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Measure all in turn, again and again, and leave out what warms up.

    Who follows a slow peer waits longer for a processor that sleeps, so no peer always follows the same one.
    """
    times: dict[str, list[float]] = {peer: [] for peer in measures}
    order, draw = list(measures), random.Random(1)
    for _ in range(warm_up + rounds):
        draw.shuffle(order)
        for peer in order:
            times[peer].append(measures[peer]())
    return {peer: seconds[warm_up:] for peer, seconds in times.items()}


@contextmanager
def executors(workers: int) -> Iterator[dict[str, Start]]:
    """The peers."""
    context = multiprocessing.get_context("spawn")
    peers: dict[str, Any] = {
        "memgroup": ProcessPoolExecutor(workers, context),
        STANDARD: concurrent.futures.ProcessPoolExecutor(workers, context),
    }
    try:
        from joblib.externals import loky
    except ImportError:
        pass
    else:
        peers["loky"] = loky.get_reusable_executor(workers)
    with context.Pool(workers) as pool:
        starts: dict[str, Start] = {
            name: lambda task, *args, peer=peer: peer.submit(task, *args).result
            for name, peer in peers.items()
        }
        starts[POOL] = lambda task, *args: pool.apply_async(task, args).get
        yield starts
        for peer in peers.values():
            peer.shutdown()


def handed_over(start: Start, task: Callable[[], Any], use: Callable[[Any], None] | None) -> float:
    """Seconds until a result can be used."""
    begin, result = start(task)()
    if use is not None:
        use(result)
    return now() - begin


def round_trip(start: Start, task: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of a task."""
    begin = now()
    start(task, *arguments)()
    return now() - begin


def failure(start: Start) -> float:
    """Seconds of a task that fails."""
    begin = now()
    try:
        start(work.fail)()
    except ValueError:
        return now() - begin
    raise AssertionError("the task did not fail")


def measure_results(rounds: int) -> None:
    """The rows of large results."""
    arrays = {"computed in result_group": work.group_array}
    lists = {"copied to result_group": work.copied_records, "found in result_group": work.group_records}
    with executors(1) as peers:
        for name, plain, built, use, against in (
            ("64 MiB array", work.plain_array, arrays, None, STANDARD),
            ("64 MiB, every page read", work.plain_array, arrays, read_pages, STANDARD),
            ("200,000 records", work.plain_records, lists, None, POOL),
        ):
            measures: dict[str, Measure] = {
                peer: partial(handed_over, start, plain, use) for peer, start in peers.items()
            }
            for how, task in built.items():
                measures[f"memgroup, {how}"] = partial(handed_over, peers["memgroup"], task, use)
            if name == "64 MiB array":
                measures[BY_HAND] = partial(handed_over, peers[POOL], work.segment_array, work.attach)
            show_all(name, interleaved(measures, rounds, 2), min, against)


def measure_small() -> None:
    """Results, failures and arguments one by one: the median round trip."""
    with executors(1) as peers:
        for name, task in {
            "1 KiB": work.small,
            "64 KiB array": work.small_array,
            "192 KiB array": work.larger_array,
        }.items():
            trips = {peer: partial(round_trip, start, task) for peer, start in peers.items()}
            show_all(f"{name}, one by one", interleaved(trips, SMALL_RESULTS, 0), statistics.median)
        failures = {peer: partial(failure, start) for peer, start in peers.items()}
        show_all("exception of 64 KiB", interleaved(failures, SMALL_RESULTS // 5, 0), statistics.median)
        tables = [np.full(16 * MIB // 8, float(number)) for number in range(LARGE_ARGUMENTS)]

        def argument(start: Start, left: Iterator[np.ndarray]) -> float:
            return round_trip(start, work.first_and_last, next(left))

        new = {peer: partial(argument, start, iter(tables)) for peer, start in peers.items()}
        show_all("16 MiB, a new argument each", interleaved(new, LARGE_ARGUMENTS, 0), statistics.median)


def one_by_one(start: Start) -> Repeat:
    """Run tasks each after the result of the one before."""
    return lambda task, arguments, count: [start(task, *arguments)() for _ in range(count)]


def show_table(peer: str, repeat: Repeat, make: Callable[[], Any], tasks: int, seconds: float) -> None:
    """Print how long tasks take that have a table as their argument, and what is held for it.

    A peer gets no more tasks when so many seconds are over; its time is that of all tasks, in proportion.
    """
    repeat(work.small, (), 4)
    before = work.pss(os.getpid())
    table = make()
    done, begin = 0, now()
    while done < tasks and (done == 0 or now() - begin < seconds):
        more = min(FEW_TASKS, tasks - done)
        repeat(work.first_and_last, (table,), more)
        done += more
        if done == FEW_TASKS:
            show(f"{TABLE_MIB} MiB table, {done} tasks", peer, now() - begin)
    took = (now() - begin) / done * tasks
    held = max(repeat(work.held_with, (table, os.getpid()), 4)) - before
    told = f", {held / 1024:8.0f} MiB held" + (f", in proportion to {done} tasks" if done < tasks else "")
    show(f"{TABLE_MIB} MiB table, {tasks} tasks", peer, took, told)


def measure_table(tasks: int, seconds: float) -> None:
    """One table as the argument of many tasks."""
    words = TABLE_MIB * MIB // 8
    shared = memgroup.MemGroup(shared=True)
    with executors(2) as peers:
        for peer, start in peers.items():
            make = partial(shared.full if peer == "memgroup" else np.full, words, 1.0)
            show_table(peer, one_by_one(start), make, tasks, seconds)
        segment = shared_memory.SharedMemory(create=True, size=8 * words)

        def fill_segment() -> work.SegmentTable:
            table = work.segment_table(segment.name)
            table.array[:] = 1.0
            return table

        show_table(BY_HAND, one_by_one(peers[POOL]), fill_segment, tasks, seconds)
        segment.unlink()
    try:
        import joblib
    except ImportError:
        return
    with joblib.Parallel(2) as parallel:

        def repeat(task: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> list[Any]:
            return list(parallel(joblib.delayed(task)(*arguments) for _ in range(count)))

        show_table("joblib.Parallel", repeat, partial(np.full, words, 1.0), tasks, seconds)


def measure_flat_memory() -> None:
    """What is held after many results, more than after the first hundred."""
    with executors(1) as peers:
        for peer in ("memgroup", STANDARD):
            repeat = one_by_one(peers[peer])
            for _ in range(100):
                repeat(work.one_mib, (), 1)
            before, begin = work.pss(os.getpid()), now()
            for _ in range(FLAT_RESULTS):
                repeat(work.one_mib, (), 1)
            took = (now() - begin) / FLAT_RESULTS
            more = (work.pss(os.getpid()) - before) / 1024
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
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--tasks", type=int, default=100)
    arguments.add_argument("--seconds", type=float, default=90, help="for a peer's tasks with the table")
    options = arguments.parse_args()
    measure_messages()
    measure_results(options.rounds)
    measure_small()
    measure_flat_memory()
    measure_table(options.tasks, options.seconds)
