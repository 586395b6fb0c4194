"""What the workers of `futures.py` do: a module of its own, so that all peers' workers can import it."""

from __future__ import annotations

import os
import time
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import memgroup
import numpy as np
from memgroup.futures import result_group

MIB = 1024 * 1024
WORDS = 64 * MIB // 8
RECORDS = 200_000

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


def fail() -> None:
    """Raise an exception that has 64 KiB."""
    raise ValueError("x" * 64 * 1024)


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


def pss(parent: int) -> int:
    """KiB that a process and its children hold, shared ones in parts."""
    pids = [str(parent)]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += children.read_text().split()
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
