"""What the first memory of a process costs: each work in a fresh process, by turns, medians of the rounds.

    python benches/cold.py                 nine rounds of everything, as a table
    python benches/cold.py --rounds 3      fewer
    python benches/cold.py --only free     rows whose names contain that
    python benches/cold.py --resident 1200 before each process, so many MiB are made resident and given back

Where the host of a virtual machine takes free memory away, the first touch of a huge page costs what
finding 512 small ones costs: --resident measures without that.

Every byte is written in and, where a row reads, read out. Figures are milliseconds of the clock and of the
processor. The ratio is of the processor's time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
MILLION = 1_000_000
PART = 64 << 10


class Row(NamedTuple):
    """A work, what it is compared with, and the ratio that it should not exceed."""

    name: str
    ours: str
    theirs: str
    goal: float


ROWS = (
    Row("64 blocks of 1 MiB, written, freed", "blocks", "bytearrays", 0.5),
    Row("a million of 16-512 bytes in a list", "many_blocks", "many_bytearrays", 0.35),
    Row("the same by alloc_many + fill_from", "many_at_once", "many_slices", 0.3),
    Row("free of 64 MiB, nothing kept warm", "free", "unmap", 0.2),
    Row("reading 1 GiB of a cached file", "read_ranges", "pread", 0.7),
)


def timed(work: Callable[[], object]) -> None:
    """Do the work, and print the milliseconds by the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    print((time.perf_counter() - clock) * 1e3, (time.process_time() - processor) * 1e3)


# The works. Each runs in a process of its own, and imports memgroup only if it measures that.


def blocks() -> None:
    """Fill 64 blocks of a group."""
    from memgroup import MemGroup

    data = b"x" * MIB

    def work() -> None:
        with MemGroup() as group:
            kept = [group.alloc(MIB) for _ in range(64)]
            for block in kept:
                block[:] = data

    timed(work)


def bytearrays() -> None:
    """Fill 64 bytearrays."""
    data = b"x" * MIB

    def work() -> None:
        for each in [bytearray(MIB) for _ in range(64)]:
            each[:] = data

    timed(work)


def _sizes() -> list[int]:
    gc.disable()
    choose = random.Random(1)
    return [choose.randrange(16, 513) for _ in range(MILLION)]


def many_blocks() -> None:
    """Copy a million objects to blocks of their own."""
    from memgroup import MemGroup

    sizes, data = _sizes(), [b"y" * size for size in range(513)]

    def work() -> None:
        with MemGroup() as group:
            kept = [group.copy(data[size]) for size in sizes]
            del kept

    timed(work)


def many_bytearrays() -> None:
    """Copy a million objects to bytearrays."""
    sizes, data = _sizes(), [b"y" * size for size in range(513)]

    def work() -> None:
        kept = [bytearray(data[size]) for size in sizes]
        del kept

    timed(work)


def many_at_once() -> None:
    """Copy a million objects to one list."""
    from memgroup import MemGroup

    sizes = _sizes()
    data = b"z" * sum(sizes)

    def work() -> None:
        with MemGroup() as group:
            group.alloc_many(sizes).fill_from(data)

    timed(work)


def many_slices() -> None:
    """Copy a million objects to bytes."""
    sizes = _sizes()
    data = b"z" * sum(sizes)

    def work() -> None:
        kept, at = [], 0
        for size in sizes:
            kept.append(data[at : at + size])
            at += size
        del kept

    timed(work)


def free() -> None:
    """Free a group that was written to."""
    from memgroup import MemGroup

    group = MemGroup()
    for _ in range(64):
        group.alloc(MIB)[:] = b"x" * MIB
    timed(group.free)


def unmap() -> None:
    """Unmap anonymous memory that was written to."""
    memory = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for start in range(0, 64 * MIB, MIB):
        memory[start : start + MIB] = b"x" * MIB
    timed(memory.close)


def _cached_file() -> int:
    file = os.open(os.environ["COLD_FILE"], os.O_RDONLY)
    for start in range(0, os.fstat(file).st_size, MIB):
        os.pread(file, MIB, start)
    return file


def read_ranges() -> None:
    """Read a file into one list."""
    from memgroup import MemGroup

    file = _cached_file()
    offsets = range(0, os.fstat(file).st_size, PART)

    def work() -> None:
        with MemGroup() as group:
            group.read_ranges(file, list(offsets), [PART] * len(offsets))

    timed(work)


def pread() -> None:
    """Read a file into bytes."""
    file = _cached_file()
    offsets = range(0, os.fstat(file).st_size, PART)

    def work() -> None:
        kept = [os.pread(file, PART, offset) for offset in offsets]
        del kept

    timed(work)


def resident() -> None:
    """Make memory resident in the host of a virtual machine, and give it back."""
    nbytes = int(os.environ["COLD_RESIDENT"]) * MIB
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    for start in range(0, nbytes, mmap.PAGESIZE):
        memory[start] = 1


def run(work: str, environment: dict[str, str]) -> tuple[float, float]:
    """Run a work in a process of its own: its milliseconds by the clock and by the processor."""
    if int(environment["COLD_RESIDENT"]):
        subprocess.run([sys.executable, __file__, "--work", "resident"], env=environment, check=True)
    ended = subprocess.run(
        [sys.executable, __file__, "--work", work],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    clock, processor = map(float, ended.stdout.split())
    return clock, processor


def measure(row: Row, rounds: int, environment: dict[str, str]) -> str:
    """Return the row's line of the table."""
    small = environment | {"MEMGROUP_HUGE_PAGES": "0"}
    turns = [
        (run(row.ours, environment), run(row.ours, small), run(row.theirs, environment))
        for _ in range(rounds)
    ]
    times = [[statistics.median(turn[who][which] for turn in turns) for which in (0, 1)] for who in range(3)]
    ratios = [statistics.median(turn[who][1] / turn[2][1] for turn in turns) for who in (0, 1)]
    figures = " | ".join(f"{clock:.1f} / {processor:.1f}" for clock, processor in times)
    return f"| {row.name} | {figures} | {ratios[1]:.2f} | **{ratios[0]:.2f}** | {row.goal} |"


def small_groups() -> str:
    """Return the line of what a small group commits."""
    from memgroup import MemGroup

    committed = []
    for huge_pages in (True, False):
        with MemGroup(huge_pages=huge_pages) as group:
            for _ in range(1000):
                group.alloc(100)
            committed.append(group.stats().committed)
    ours, small = committed
    return f"| 1,000 x 100 bytes: bytes committed | {ours} | {small} | | 1 | **{ours / small:.2f}** | 1.125 |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--resident", type=int, default=0, metavar="MIB")
    parser.add_argument("--file-mib", type=int, default=1024, help="size of the file that is read")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        globals()[options.work]()
        return
    print("| work | memgroup, ms | in small pages | the other | ratio in small pages | ratio | goal |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "file")
        environment = os.environ | {
            "COLD_FILE": str(file),
            "COLD_RESIDENT": str(options.resident),
            "MEMGROUP_WARM_LIMIT": "0",
        }
        for row in ROWS:
            if options.only in row.name:
                if row.ours == "read_ranges":
                    file.write_bytes(os.urandom(MIB) * options.file_mib)
                print(measure(row, options.rounds, environment), flush=True)
    print(small_groups())


if __name__ == "__main__":
    main()
