"""Run programs that use up a memory cgroup of 64 MiB, and count how many of them the kernel kills.

`python -m support.exhaustion [RUNS]` in tests/ prints a table; it needs the right to make a cgroup.
`python -m support.exhaustion [RUNS] machine` has them use up the machine, which should be small and unused.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PRELUDE
from support import interpreters
from support.cgroups import LIMIT, MANY, MIB, QUICK, Cgroup, make
from support.interpreters import Interpreter

# What uses up any machine, and without many objects of the interpreter.
LARGE = {1: ["large", "huge", "lists", "many_groups", "promises", "rounds"], 4: ["threads"]}
WORK = {1: ["small", *(kind for kind in QUICK if kind != "threads"), "tiny"], 4: ["threads"]}
GROUPS: dict[str, tuple[str, dict[str, object]]] = {
    "memfd": ("memfd", {}),
    "memfd, small pages": ("memfd", {"huge_pages": False}),
    "anonymous": ("anonymous", {}),
    "secret": ("memfd", {"secret": True}),
}

# Fills a group, and says how much of the limit nothing needs then: what is neither used nor page cache. The
# program needs what it maps of its files at the beginning, even if the kernel has evicted it.
ROOM = """
def mapped():
    lines = [line.split() for line in open("/proc/self/status")]
    return next(int(line[1]) << 10 for line in lines if line[0] == "RssFile:")

def of_cgroup(name):
    return int(figures.get("total_" + name, figures.get(name)))

limit, usage, stat, backing, options = sys.argv[1:]
group = MemGroup(backing=backing, **eval(options))
kept, text = [], mapped()
try:
    while True:
        kept.append(group.copy(b"x" * 10_000))
except MemoryError:
    text = max(mapped(), text)
figures = dict(line.split() for line in open(stat))
cache = of_cgroup("inactive_file") + of_cgroup("active_file")
print(int(open(limit).read()) - int(open(usage).read()) + max(cache - text, 0))
"""


@contextlib.contextmanager
def files(where: str) -> Iterator[Interpreter]:
    """Give an interpreter whose files are cached elsewhere, or in the first cgroup that it runs in."""
    if where == "elsewhere":
        yield interpreters.THIS
        return
    with tempfile.TemporaryDirectory(dir=Path.home()) as directory:
        yield interpreters.copied(Path(directory))


Run = Callable[..., subprocess.CompletedProcess[str]]


def killed(run: Run, interpreter: Interpreter, runs: int, work: list[str], group: str) -> str:
    """Run programs until memory runs out; say how many were killed, and how many ended otherwise."""
    backing, options = GROUPS[group]
    with tempfile.NamedTemporaryFile() as source:
        source.write(os.urandom(700_000))
        source.flush()
        ended = run(interpreter, MANY, source.name, runs, backing, options, *work)
    if ended.returncode != 0:
        return f"all: {ended.returncode} {ended.stderr.strip()[-200:]}"
    codes = [int(code) for code in ended.stdout.strip()[1:-1].split(",")]
    other = sum(code > 0 for code in codes)
    return f"{sum(code < 0 for code in codes)}" + (f", {other} failed" if other else "")


def room_left(cgroup: Cgroup, interpreter: Interpreter, runs: int, group: str) -> list[int]:
    """Say for each run how many bytes of the limit nothing needed as a request was refused."""
    backing, options = GROUPS[group]
    arguments = (cgroup.limit, cgroup.usage, "memory.stat")
    paths = [cgroup.directory / name for name in arguments]
    ended = [cgroup.run_with(interpreter, ROOM, *paths, backing, options) for _ in range(runs)]
    return [int(one.stdout) for one in ended if one.returncode == 0]


def main(runs: int) -> None:
    """Print a row for each case."""
    print("| files of the program | group | threads | runs | killed | room left, median | most |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for where, group in itertools.product(("elsewhere", "in the cgroup"), GROUPS):
        with make() as cgroup, files(where) as interpreter:
            kills = {
                threads: killed(cgroup.run_with, interpreter, runs, work, group)
                for threads, work in WORK.items()
            }
            room = room_left(cgroup, interpreter, 10, group) or [LIMIT]
        left = f"{statistics.median(room) / MIB:.1f} MiB | {max(room) / MIB:.1f} MiB"
        for threads, count in kills.items():
            print(f"| {where} | {group} | {threads} | {runs} | {count} | {left} |", flush=True)


def use_up_the_machine(runs: int) -> None:
    """Print a line for each kind of group."""

    def run(interpreter: Interpreter, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return interpreter.run(PRELUDE + code, *arguments)

    for (threads, work), group in itertools.product(LARGE.items(), GROUPS):
        count = killed(run, interpreters.THIS, runs, work, group)
        print(f"killed: {group}, {threads} threads: {count} of {runs};", flush=True)


if __name__ == "__main__":
    try:
        runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
        use_up_the_machine(runs) if sys.argv[2:] == ["machine"] else main(runs)
    except pytest.skip.Exception as reason:
        sys.exit(str(reason))
