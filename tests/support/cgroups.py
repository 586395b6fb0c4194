"""Memory cgroups, and programs that use them up.

The kernel kills a process beyond the limit of a cgroup by SIGKILL, so a run succeeds only if every request
that did not fit was refused before. Each run writes to all its memory.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PRELUDE
from support.interpreters import THIS, Interpreter

MIB = 1 << 20
LIMIT = 64 * MIB


class Cgroup(NamedTuple):
    """A memory cgroup, and the names of its files."""

    directory: Path
    limit: str
    usage: str
    peak: str

    def run(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `code` after the prelude in a process that starts in the cgroup."""
        return self.run_with(THIS, code, *arguments)

    def run_with(
        self, interpreter: Interpreter, code: str, *arguments: object
    ) -> subprocess.CompletedProcess[str]:
        """Run `code` with that interpreter."""
        join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        return interpreter.run(PRELUDE + code, *arguments, under=("sh", "-c", join, self.directory))


def own() -> Cgroup | str:
    """The cgroup in which this process may make others, or why it may not."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths["memory" if "memory" in controllers.split(",") else controllers] = path
    for mount in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = mount.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        root, point = fields.split(" ")[3:5]
        version_one = kind == "cgroup" and "memory" in options.split(",")
        path = paths.get("memory" if version_one else "")
        if path is None or not (version_one or kind == "cgroup2"):
            continue
        if version_one:
            directory = Path(point, os.path.relpath(path, root))
            return Cgroup(
                directory, "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes"
            )
        # A cgroup with processes cannot pass controllers down, so the new cgroup is made where there are
        # none.
        if "memory" in Path(point, "cgroup.subtree_control").read_text().split():
            return Cgroup(Path(point), "memory.max", "memory.current", "memory.peak")
    return "the memory controller is nowhere to be had"


@contextlib.contextmanager
def make() -> Iterator[Cgroup]:
    """Make a cgroup of 64 MiB, or skip the test."""
    try:
        parent = own()
    except OSError as error:
        parent = str(error)
    if isinstance(parent, str):
        pytest.skip(f"no memory cgroup can be made: {parent}")
    directory = parent.directory / f"memgroup-test-{os.getpid()}"
    made = parent._replace(directory=directory)
    try:
        directory.mkdir()
        (directory / made.limit).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    yield made
    for _ in range(100):  # a process that has ended may still be in it for a moment
        with contextlib.suppress(OSError):
            directory.rmdir()
            return
        time.sleep(0.1)


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup of 64 MiB."""
    with make() as made:
        yield made


# One process for each run, all forked from one that has already imported everything.
MANY = """
import array, functools, mmap, traceback

limit = 64 << 20


def small(backing):
    group = MemGroup(backing=backing)
    kept = []
    while True:
        kept.append(group.copy(b"x" * 100))


def tiny(backing):
    group = MemGroup(backing=backing)
    kept = []
    while True:
        block = group.alloc(1)
        block[0] = 1
        kept.append(block)


def large(backing):
    group = MemGroup(backing=backing)
    while True:
        group.copy(bytes(1_000_000))


def huge(backing):
    group = MemGroup(backing=backing)
    page = mmap.PAGESIZE
    while True:
        block = group.alloc(15 << 20)
        for start in range(0, len(block), page):
            block[start] = 1


def at_once(backing):
    group = MemGroup(backing=backing)
    block = group.alloc(200 << 20)
    block[:] = bytes(200 << 20)


def lists(backing):
    group = MemGroup(backing=backing)
    while True:
        for block in group.alloc_many(count=100, size=5000):
            block[:] = b"x" * 5000


def many_groups(backing):
    groups = []
    while True:
        groups.append(MemGroup(backing=backing))
        for _ in range(20):
            groups[-1].copy(b"x" * 50_000)


def promises(backing):
    # Nothing is written before all is promised.
    groups, blocks = [], []
    try:
        while True:
            groups.append(MemGroup(backing=backing))
            blocks.append(groups[-1].alloc(3 << 20))
    finally:
        for block in blocks:
            for start in range(0, len(block), mmap.PAGESIZE):
                block[start] = 1


def threads(backing):
    group = MemGroup(backing=backing)
    refused = []

    def fill():
        own = MemGroup(backing=backing)
        try:
            while True:
                group.copy(b"x" * 300_000)
                own.copy(b"x" * 10_000)
        except MemoryError:
            refused.append(1)

    running = [threading.Thread(target=fill) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if len(refused) == len(running):
        raise MemoryError


def read(backing):
    group = MemGroup(backing=backing)
    while True:
        result = group.read_files([files] * 5)
        assert not result.errors


def rounds(backing):
    # What groups leave warm counts as well, and is given back before anybody is refused.
    for _ in range(3):
        with MemGroup(backing=backing) as group:
            for _ in range(30):
                group.copy(bytes(1 << 20))
    large(backing)


def one_run(work, backing):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(backing)
        except MemoryError:
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


files, runs, backing, options, *names = sys.argv[1:]
MemGroup = functools.partial(MemGroup, **eval(options))
work = [globals()[name] for name in names]
print([one_run(work[number % len(work)], backing) for number in range(int(runs))])
"""

QUICK = ["large", "huge", "at_once", "lists", "many_groups", "promises", "threads", "read", "rounds"]
KINDS = ["small", *QUICK, "tiny", *QUICK]
