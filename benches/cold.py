"""What the first memory of a process costs: each work in a fresh process, by turns, medians of the rounds.

    python benches/cold.py                 nine rounds of everything, as a table
    python benches/cold.py --rounds 3      fewer
    python benches/cold.py --only free     rows whose names contain that
    python benches/cold.py --as-found      without making free memory resident before
    python benches/cold.py --rust          also the row of the crate, by `cargo bench`

Every byte is written in and, where a row reads, read out. Figures are milliseconds of the clock and of the
processor. The ratio is of the processor's time, which other work on the machine disturbs less.

Where the host of a virtual machine takes free memory away, the first touch of a huge page waits for the host
512 times. So each process first makes as much free memory resident as its work needs; --as-found does not.
"""

from __future__ import annotations

import argparse
import gc
import json
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

from python.timing import make_resident
from report.results import of_row

MIB = 1 << 20
MILLION = 1_000_000
PART = 64 << 10


class Row(NamedTuple):
    """A work, what it is compared with, the ratio that it should not exceed, and the MiB that it touches."""

    name: str
    ours: str
    theirs: str
    goal: float
    mib: int


ROWS = (
    Row("64 blocks of 1 MiB, written, freed", "blocks", "bytearrays", 0.5, 64),
    Row("a million of 16-512 bytes in a list", "many_blocks", "many_bytearrays", 0.35, 384),
    Row("the same by alloc_many + fill_from", "many_at_once", "many_slices", 0.3, 384),
    Row("free of 64 MiB, nothing kept warm", "free", "unmap", 0.2, 64),
    Row("reading 1 GiB of a cached file", "read_ranges", "pread", 0.7, 1024),
    Row("100 forks with 1 GiB touched", "forks_touched", "forks", 1.09, 1024),
)

RUST = "alloc-cold-16-143"


def prepare() -> None:
    """Make free memory resident, a quarter more than the work touches."""
    make_resident(int(os.environ["COLD_RESIDENT"]) * MIB * 5 // 4)


def timed(work: Callable[[], object]) -> None:
    """Do the work, and print the milliseconds by the clock and by the processor."""
    prepare()
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

    prepare()
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


def _forks() -> None:
    for _ in range(100):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def forks() -> None:
    """Fork, and nothing else."""
    import memgroup

    del memgroup
    timed(_forks)


def forks_touched() -> None:
    """Fork while a group has memory that was written to."""
    from memgroup import MemGroup

    prepare()
    with MemGroup() as group:
        for _ in range(1024):
            group.alloc(MIB)[:] = b"x" * MIB
        timed(_forks)


def run(work: str, environment: dict[str, str]) -> tuple[float, float]:
    """Run a work in a process of its own: its milliseconds by the clock and by the processor."""
    ended = subprocess.run(
        [sys.executable, __file__, "--work", work],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    clock, processor = map(float, ended.stdout.split())
    return clock, processor


def measure(row: Row, rounds: int, as_found: bool, environment: dict[str, str]) -> str:
    """Return the row's line of the table."""
    environment = environment | {"COLD_RESIDENT": "0" if as_found else str(row.mib)}
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


def many_groups(groups: int = 1000, nbytes: int = 4 * MIB) -> None:
    """Print how much memory is resident of many groups, with huge pages or without, and what they hold."""
    from memgroup import MemGroup

    before, kept = _resident(), []
    for _ in range(groups):
        kept.append(group := MemGroup())
        for _ in range(nbytes // PART):
            group.alloc(PART)[:] = b"x" * PART
    print(_resident() - before, groups * nbytes)


def _resident() -> int:
    """Return the resident bytes of this process, each page once however often it is mapped."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def resident_of_groups(environment: dict[str, str]) -> str:
    """Return the line of what many groups make resident."""
    (ours, held), (small, _) = (
        run("many_groups", environment | {"MEMGROUP_HUGE_PAGES": huge}) for huge in ("1", "0")
    )
    figures = " | ".join(f"{nbytes / MIB:.0f}" for nbytes in (ours, small, held))
    ratios = f"{small / held:.2f} | **{ours / held:.2f}**"
    return f"| 1,000 groups of 4 MiB: MiB resident | {figures} | {ratios} | 1.15 |"


def rust(environment: dict[str, str]) -> str:
    """Return the line of what the crate takes for an object in fresh memory."""
    with tempfile.TemporaryDirectory() as directory:
        rows = Path(directory, "rows.json")
        command = ["cargo", "bench", "--bench", "rust", "--", RUST]
        environment = environment | {"MEMGROUP_BENCH_ROWS": str(rows)}
        subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
        found = json.loads(rows.read_text())["rows"]
    row = next(row for row in found if (row["measured"], row["against"]) == ("memgroup-alloc", "bumpalo"))
    return f"| Rust, 870 kB of 16-143 bytes, against bumpalo | | | | | **{of_row(row).ratio:.2f}** | 0.8 |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--as-found", action="store_true", help="make no free memory resident before")
    parser.add_argument("--rust", action="store_true", help="also `cargo bench`")
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
            "MEMGROUP_WARM_LIMIT": "0",
        }
        for row in ROWS:
            if options.only in row.name:
                if row.ours == "read_ranges":
                    file.write_bytes(os.urandom(MIB) * options.file_mib)
                print(measure(row, options.rounds, options.as_found, environment), flush=True)
    if not options.only:
        print(small_groups())
        print(resident_of_groups(environment), flush=True)
    if options.rust:
        print(rust(environment))


if __name__ == "__main__":
    main()
