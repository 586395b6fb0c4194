"""Fixtures that the tests share: groups of every backing, and child processes that may crash."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import memgroup
import pytest
from hypothesis import HealthCheck, settings

# Fixtures that several files share, beside those here.
pytest_plugins = [
    f"support.{module}"
    for module in (
        "cgroups",
        "clusters",
        "ends",
        "faults",
        "forkcosts",
        "gathering",
        "loops",
        "pickles",
        "rays",
        "servers",
        "sharing",
        "shown_files",
        "transfers",
    )
]


def cases(usual: int) -> int:
    """The number of examples that a test tries, multiplied by the environment variable MEMGROUP_FUZZ."""
    return usual * int(os.environ.get("MEMGROUP_FUZZ") or 1)


settings.register_profile(
    "memgroup", deadline=None, max_examples=cases(80), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("memgroup")

# Folders and files that pytest-run-parallel must not run in several threads at once (`--parallel-threads=4`),
# and why.

ALONE = {
    "test_gather": "runs commands, which have one standard output",
    "test_gather_command": "runs commands, which have one standard output",
    "test_gather_terminal": "runs commands, which have one standard output",
    "fork": "forks",
    "io": "plays with signals, descriptors and directories of the process",
    "model": "a model and a history are used by one thread",
    "project": "reads the files of the project",
    "test_limits": "runs into limits of the whole process",
    "test_threads": "has threads of its own",
    "test_warm": "counts what is warm in the whole process",
}

ALONE_WITH = {
    "child": "starts a process, which would be the same in every thread",
    "cold": "sets the bound on warm memory, which is the process's",
    "monkeypatch": "changes what all threads see",
    "capsys": "standard output is the process's",
}


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that must not run in parallel; in the others, give each thread its own group."""
    if not isinstance(item, pytest.Function) or item.config.getoption("parallel_threads", 1) == 1:
        return
    reasons = [
        *map(ALONE.get, (item.path.stem, item.path.parent.name)),
        *map(ALONE_WITH.get, item.fixturenames),
    ]
    if reason := next(filter(None, reasons), None):
        item.add_marker(pytest.mark.thread_unsafe(reason=reason))
    elif "group" in item.fixturenames:
        item.obj = with_own_group(item.obj)


def with_own_group(test):
    """The fixture is made once for all threads; this makes one group for each thread."""

    @functools.wraps(test)
    def with_one(*arguments, group, **others):
        own = memgroup.MemGroup()
        try:
            test(*arguments, group=own, **others)
        finally:
            own.free(force=True)

    return with_one


PRELUDE = """
import ctypes, errno, gc, os, resource, signal, sys, threading, warnings
import memgroup
from memgroup import MemGroup

libc = ctypes.CDLL(None, use_errno=True)


def outcome(work, *arguments, **options):
    try:
        work(*arguments, **options)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "fine"
"""


class Child:
    """A separate Python process, for code that could end it."""

    def run(
        self, code: str, *arguments: object, flags: tuple[str, ...] = (), under: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run `code` after the prelude, optionally with interpreter flags and under another program."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [*under, sys.executable, *flags, "-c", PRELUDE + textwrap.dedent(code)]
        return subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
        )

    def output(
        self, code: str, *arguments: object, flags: tuple[str, ...] = (), under: tuple[str, ...] = ()
    ) -> str:
        """Run `code`, which must succeed and print nothing to stderr; return its output."""
        ended = self.run(code, *arguments, flags=flags, under=under)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.strip()

    def segfaults(self, code: str, *arguments: object) -> None:
        """Run `code`, which must print "before" and then die of SIGSEGV at once."""
        ended = self.run(code, *arguments)
        assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGSEGV, "before\n", "")


@pytest.fixture
def child() -> Child:
    return Child()


@pytest.fixture(params=["memfd", "directory", "anonymous"])
def backing(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "directory" else request.param


@pytest.fixture(params=["memfd", "directory"])
def mirrored(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A backing with two mirrors."""
    return str(tmp_path) if request.param == "directory" else request.param


@pytest.fixture
def group() -> Iterator[memgroup.MemGroup]:
    made = memgroup.MemGroup()
    yield made
    made.free(force=True)


@pytest.fixture
def cold() -> Iterator[None]:
    """No memory is warm: groups get fresh memory from the kernel and give it back to the kernel."""
    before = memgroup.warm_memory().limit
    memgroup.set_warm_limit(0)
    yield
    memgroup.set_warm_limit(before)


def mappings(name: str) -> int:
    """How many mappings of a memfd of that name this process has."""
    return sum(f"/memfd:{name} " in line for line in Path("/proc/self/maps").read_text().splitlines())


def assign(target, key, value) -> None:
    """An assignment as an expression."""
    target[key] = value


def outcome(work) -> Any:
    """The result of a call, or the type of its exception, to compare with another type's behaviour."""
    try:
        return work()
    except Exception as error:
        return type(error)


def memory_available() -> int:
    """The bytes of memory that the machine has available."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
