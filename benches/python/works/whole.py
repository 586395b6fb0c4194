"""Whole jobs: a million lines from the file to the Arrow column, and a tree searched by a command."""

from __future__ import annotations

import mmap
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import memgroup

from model import Measure, Peer, Scale, UnavailableError, Work
from optional import module
from works.io import DIRECTORY

LINES = 1_000_000
NEEDLE = b"ERROR"

TREE_BYTES = 1 << 30
TREE_NEEDLE = "XERRORX"

Use = Callable[[int, Any], object]
"""Takes the number of lines, and a column of Arrow of those with NEEDLE, while their memory is there."""

Job = Callable[[Path, Use], None]
"""Reads a file, has the result used, and frees everything."""


def file_of_lines(count: int) -> Path:
    """Return a file of so many lines of about 110 bytes, one in a hundred with NEEDLE; make it if need be."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"lines-{count}"
    if not path.exists():
        chance = random.Random(7)
        letters = bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz ", k=1 << 20))
        with open(path.with_suffix(".part"), "wb") as file:
            for number in range(count):
                at = chance.randrange(len(letters) - 140)
                level = NEEDLE if number % 100 == 7 else b"INFO "
                file.write(
                    b"%s %s %s\n"
                    % (letters[at : at + 50], level, letters[at : at + chance.randrange(6, 101)])
                )
        path.with_suffix(".part").rename(path)
    path.read_bytes()  # so that the kernel has it in memory
    return path


def job(prepare_job: Callable[[], Job]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of a job, and checks what it finds."""

    def prepare(scale: Scale) -> Measure:
        compute = module("pyarrow.compute")
        count = scale.of(LINES)
        path = file_of_lines(count)
        work = prepare_job()

        def check(lines: int, column: Any) -> None:
            found = [value.encode() if isinstance(value, str) else value for value in column.to_pylist()]
            expected = [line for line in path.read_bytes().splitlines() if NEEDLE in line]
            if (lines, found) != (count, expected):
                raise AssertionError(f"{lines} lines of {count}, {len(found)} of {len(expected)} found")

        def use(lines: int, column: Any) -> None:
            compute.sum(compute.binary_length(column))

        work(path, check)

        def measure() -> dict[str, float]:
            start = perf_counter()
            work(path, use)
            return {"time": perf_counter() - start}

        return measure

    return prepare


def selected(lines: memgroup.MemList) -> Any:
    """Return the lines with NEEDLE as a column."""
    pa = module("pyarrow")
    return pa.array(lines.take(lines.contains(NEEDLE)).as_arrow("large_binary"))


def memgroup_read() -> Job:
    """Read into a group that is reset for each file."""
    group = memgroup.MemGroup()

    def work(path: Path, use: Use) -> None:
        lines = group.read_files([path]).check()[0].splitlines()
        use(len(lines), selected(lines))
        group.reset()

    return work


def memgroup_borrow() -> Job:
    """Borrow a mapping of the file, which is not copied."""

    def work(path: Path, use: Use) -> None:
        with open(path, "rb") as file, memgroup.MemGroup() as group:
            mapped = mmap.mmap(
                file.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ
            )
            lines = group.borrow(mapped).splitlines()
            use(len(lines), selected(lines))

    return work


def of_bytes() -> Job:
    """Split into bytes objects, and look into each."""
    pa = module("pyarrow")

    def work(path: Path, use: Use) -> None:
        lines = path.read_bytes().splitlines()
        use(len(lines), pa.array([line for line in lines if NEEDLE in line], pa.large_binary()))

    return work


def mapped_re() -> Job:
    """Search a mapping for the lines with the needle, and count all lines."""
    pa = module("pyarrow")
    needle, feed = re.compile(re.escape(NEEDLE)), re.compile(b"\n")

    def work(path: Path, use: Use) -> None:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            found = []
            for match in needle.finditer(mapped):
                start, end = mapped.rfind(b"\n", 0, match.start()) + 1, mapped.find(b"\n", match.end())
                found.append(mapped[start:end])
            use(sum(1 for _ in feed.finditer(mapped)), pa.array(found, pa.large_binary()))

    return work


def of_pyarrow() -> Job:
    """Read it as CSV of one column, which is pyarrow's way to lines."""
    pa, csv, compute = module("pyarrow"), module("pyarrow.csv"), module("pyarrow.compute")
    read = csv.ReadOptions(column_names=["line"], block_size=1 << 24)
    parse = csv.ParseOptions(delimiter="\x01", quote_char=False, ignore_empty_lines=False)
    convert = csv.ConvertOptions(column_types={"line": pa.binary()})

    def work(path: Path, use: Use) -> None:
        lines = csv.read_csv(path, read, parse, convert).column("line")
        found = lines.filter(compute.match_substring(lines, NEEDLE.decode()))
        use(len(lines), found.cast(pa.large_binary()).combine_chunks())

    return work


def of_polars() -> Job:
    """Read the lines as text, select, and hand the text on."""
    pl = module("polars")
    if not hasattr(pl, "read_lines"):
        raise UnavailableError("this polars has no read_lines")

    def work(path: Path, use: Use) -> None:
        lines = pl.read_lines(path).to_series()
        found = lines.filter(lines.str.contains(NEEDLE.decode(), literal=True))
        use(len(lines), found.to_arrow(compat_level=pl.CompatLevel.oldest()))

    return work


def of_pandas() -> Job:
    """Read it as CSV of one column, by pyarrow's reader and with pyarrow's strings."""
    pd, pa = module("pandas"), module("pyarrow")

    def work(path: Path, use: Use) -> None:
        options = {"names": ["line"], "engine": "pyarrow", "dtype_backend": "pyarrow"}
        lines = pd.read_csv(path, sep="\x01", **options)["line"]
        use(len(lines), pa.array(lines[lines.str.contains(NEEDLE.decode(), regex=False)]))

    return work


JOB = Work(
    "whole-job",
    "1,000,000 lines of 110 bytes: read, split, select those with a word, make an Arrow column of them, free",
    "job",
    (
        Peer(
            "memgroup",
            "g.read_files([path])[0].splitlines(); lines.take(lines.contains(x)).as_arrow()",
            job(memgroup_read),
        ),
        Peer("memgroup-borrow", "g.borrow(mmap).splitlines(); the same", job(memgroup_borrow)),
        Peer("bytes", "[line for line in path.read_bytes().splitlines() if x in line]", job(of_bytes)),
        Peer(
            "mmap-re",
            "re.finditer over an mmap, the line around each match, the line feeds counted",
            job(mapped_re),
        ),
        Peer("pyarrow", "csv.read_csv of one column, match_substring, filter", job(of_pyarrow)),
        Peer("polars", "read_lines, str.contains(literal=True), filter", job(of_polars)),
        Peer("pandas", 'read_csv(engine="pyarrow") of one column, str.contains', job(of_pandas)),
    ),
)


def tree(nbytes: int) -> Path:
    """Return a tree of files of text, TREE_NEEDLE in one of twenty; make it if need be."""
    root = DIRECTORY / f"tree-{nbytes}"
    if not root.exists():
        chance = random.Random(3)
        words = [
            bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randrange(2, 10)))
            for _ in range(5000)
        ]
        text = b"".join(
            b" ".join(chance.choices(words, k=chance.randrange(4, 16))) + b"\n" for _ in range(50_000)
        )
        made = number = 0
        partial = root.with_suffix(".part")
        while made < nbytes:
            directory = partial / f"{number % 37}" / f"{number % 11}"
            directory.mkdir(parents=True, exist_ok=True)
            size = int(2 ** chance.uniform(9, 19))
            at = chance.randrange(len(text) - size)
            content = text[at : at + size]
            if chance.random() < 0.05:
                content += b"an %s of the disk\n" % TREE_NEEDLE.encode()
            (directory / f"{number}.txt").write_bytes(content)
            made, number = made + len(content), number + 1
        partial.rename(root)
    for path in root.rglob("*.txt"):
        path.read_bytes()  # so that the kernel has it in memory
    return root


def command(*arguments: str) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of a command on the tree; its output goes nowhere."""

    def prepare(scale: Scale) -> Measure:
        program = shutil.which(arguments[0])
        if program is None:
            raise UnavailableError(f"{arguments[0]} is not installed")
        root = tree(scale.of(TREE_BYTES))
        # Several threads may search, where others of this suite stay on one CPU.
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        return lambda: measured([program, *arguments[1:], TREE_NEEDLE, str(root)])

    return prepare


# In a process of its own, for a child's peak is not less than what its parent has.
SPAWN = """
import os, sys, time
out = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=out)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - start, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status))
"""


def measured(arguments: list[str]) -> dict[str, float]:
    """Run a command; return its time and its peak memory."""
    said = subprocess.check_output([sys.executable, "-I", "-S", "-c", SPAWN, *arguments])
    seconds, peak, status = map(float, said.split())
    if status:
        raise AssertionError(f"{arguments[0]} ended with {status}")
    return {"time": seconds, "peak": peak}


def gather(*options: str) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of `memgroup gather`."""
    return command(sys.executable, "-m", "memgroup", "gather", *options, "--find")


FIGURES = {"time": "s", "peak": "bytes"}

SEARCH = Work(
    "search-tree",
    "1 GiB in files of 512 bytes to 512 KiB searched for a word that one of twenty has; processes",
    "search",
    (
        Peer("memgroup", "memgroup gather --find TEXT", gather()),
        Peer("memgroup-1-thread", "memgroup gather --threads 1 --find TEXT", gather("--threads", "1")),
        Peer("grep", "grep -rF TEXT", command("grep", "-rF")),
        Peer("grep-numbers", "grep -rnF TEXT", command("grep", "-rnF")),
        Peer("ripgrep", "rg -uu -nF TEXT", command("rg", "-uu", "-nF")),
        Peer("ripgrep-1-thread", "rg -uu -j1 -nF TEXT", command("rg", "-uu", "-j1", "-nF")),
    ),
    FIGURES,
)

COUNT = Work(
    "count-tree",
    "in the same tree the lines with the word counted, file by file",
    "search",
    (
        Peer("memgroup", "memgroup gather -c --find TEXT", gather("-c")),
        Peer("grep", "grep -rcF TEXT", command("grep", "-rcF")),
        Peer("ripgrep", "rg -uu -cF --include-zero TEXT", command("rg", "-uu", "-cF", "--include-zero")),
    ),
    FIGURES,
)

WORKS = (JOB, SEARCH, COUNT)
