"""A memory cgroup at its limit: alloc raises MemoryError, and the kernel kills no process.

The kernel kills a process beyond the limit of a cgroup by SIGKILL, so a run succeeds only if every request
that did not fit was refused before. Each run writes to all its memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PRELUDE

MIB = 1 << 20
LIMIT = 64 * MIB


class Cgroup(NamedTuple):
    """A memory cgroup, and the names of its files."""

    directory: Path
    limit: str
    peak: str

    def run(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `code` after the prelude in a process that starts in the cgroup."""
        join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        command = ("sh", "-c", join, self.directory, sys.executable, "-c", PRELUDE + code)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=environment,
        )


def own_directory() -> tuple[Path, str, str] | str:
    """Where this process may make memory cgroups and the names of their files, or why it may not."""
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
            return directory, "memory.limit_in_bytes", "memory.max_usage_in_bytes"
        # A cgroup with processes cannot pass controllers down, so the new cgroup is made where there are
        # none.
        if "memory" in Path(point, "cgroup.subtree_control").read_text().split():
            return Path(point), "memory.max", "memory.peak"
    return "the memory controller is nowhere to be had"


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup of 64 MiB."""
    try:
        found = own_directory()
    except OSError as error:
        found = str(error)
    if isinstance(found, str):
        pytest.skip(f"no memory cgroup can be made: {found}")
    parent, limit, peak = found
    directory = parent / f"memgroup-test-{os.getpid()}"
    try:
        directory.mkdir()
        (directory / limit).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    yield Cgroup(directory, limit, peak)
    for _ in range(100):  # a process that has ended may still be in it for a moment
        with contextlib.suppress(OSError):
            directory.rmdir()
            return
        time.sleep(0.1)


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


SMALL_WINDOWS = {"huge_pages": False}
HUGE_WINDOWS = {"base": 2 * MIB}


@pytest.mark.parametrize("options", [SMALL_WINDOWS, HUGE_WINDOWS], ids=["small", "huge"])
@pytest.mark.parametrize(("backing", "runs"), [("memfd", 100), ("anonymous", 40)])
def test_every_run_ends_in_a_memory_error_and_none_is_killed(cgroup, tmp_path, backing, runs, options):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(700_000))
    ended = cgroup.run(MANY, source, runs, backing, options, *KINDS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip() == str([0] * runs)
    # The runs came near the limit: only requests that did not fit were refused.
    assert int((cgroup.directory / cgroup.peak).read_text()) > LIMIT * 3 // 4


@pytest.mark.parametrize("kind", ["small", "at_once"])
def test_a_single_process_gets_a_memory_error_with_a_remedy(cgroup, kind):
    code = MANY[: MANY.index("files, runs")] + f"print(outcome({kind}, 'memfd'))"
    ended = cgroup.run(code)
    assert (ended.returncode, ended.stderr) == (0, "")
    file = cgroup.directory / cgroup.limit
    assert re.match(
        rf"MemoryError: cannot commit \d+ more bytes: of the {LIMIT} that the memory cgroup allows in "
        rf"{file}, \d+ are in use and \d+ to be had; .*raise the limit",
        ended.stdout,
    )


def test_page_cache_never_causes_a_refusal(cgroup, tmp_path):
    """Page cache counts as used, and the kernel reclaims it when memory is needed."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(80):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    ended = cgroup.run(
        """
        with open(sys.argv[1], "rb", buffering=0) as file:
            piece = bytearray(1 << 16)
            while file.readinto(piece):
                pass
        print(open(sys.argv[2]).read())
        group = MemGroup()
        for _ in range(30):
            group.copy(bytes(1 << 20))
        print(outcome(group.alloc, 1 << 30)[:11])
        """.replace("\n        ", "\n"),
        source,
        cgroup.directory / cgroup.peak,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    peak, said = ended.stdout.split()
    assert int(peak) > LIMIT * 9 // 10  # it was full of cache
    assert said == "MemoryError"


def test_a_limit_that_is_raised_counts_at_once(cgroup):
    ended = cgroup.run(
        """
        group = MemGroup()
        print(outcome(group.alloc, 100 << 20)[:11])
        open(sys.argv[1], "w").write(str(512 << 20))
        print(outcome(group.copy, bytes(100 << 20)))
        """.replace("\n        ", "\n"),
        cgroup.directory / cgroup.limit,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "MemoryError\nfine\n", "")


def test_a_process_that_is_moved_is_refused_by_its_new_cgroup(cgroup, child):
    said = child.output(
        """
        group = MemGroup()
        print(outcome(group.copy, bytes(1 << 20)))
        open(sys.argv[1], "w").write(str(os.getpid()))
        print(outcome(group.alloc, 100 << 20)[:27])
        """,
        cgroup.directory / "cgroup.procs",
    )
    assert said == "fine\nMemoryError: cannot commit"


def test_files_in_a_directory_may_exceed_the_cgroup_limit(cgroup, tmp_path):
    ended = cgroup.run(
        """
        group = MemGroup(backing=sys.argv[1])
        blocks = [group.copy(bytes([number]) * (1 << 20)) for number in range(150)]
        print(all(block == bytes([number]) * (1 << 20) for number, block in enumerate(blocks)))
        """.replace("\n        ", "\n"),
        tmp_path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True\n", "")


def test_little_is_kept_warm_in_a_small_cgroup(cgroup):
    ended = cgroup.run("print(memgroup.warm_memory().limit)")
    assert (ended.returncode, ended.stdout) == (0, f"{LIMIT // 16}\n")


@pytest.mark.parametrize(
    "call",
    [
        "group.copy(far)",
        "group.alloc(len(far)).__setitem__(slice(None), far)",
        "group.alloc(200 << 20) == far",
        "group.alloc(10).find(far)",
        "group.alloc_many([1 << 20] * 200).fill_from(far)",
        "group.frames(os.pipe()[0], read_ahead=len(far))",
        "group.alloc_many(np.broadcast_to(np.ones(1, 'u4'), len(far)))",
        "group.alloc_many(1 for _ in range(len(far)))",
        "group.read_ranges(os.open('/dev/null', 0), far[: 16 << 20], far[: 16 << 20])",
        "group.alloc_many(count=50 << 20, size=0).offsets",
    ],
)
def test_tables_and_strided_sources_end_in_a_memory_error_too(cgroup, call):
    """A strided source of 200 MiB that takes one byte until it is copied."""
    pytest.importorskip("numpy")
    code = f"""
import numpy as np

far = np.broadcast_to(np.ones(1, "u1"), 200 << 20)
group = MemGroup()
print(outcome(lambda: {call}))
"""
    ended = cgroup.run(code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("MemoryError: "), ended.stdout
