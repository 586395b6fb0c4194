"""A memory cgroup at its limit: alloc raises MemoryError, and the kernel kills no process."""

from __future__ import annotations

import os
import re

import pytest
from support.cgroups import KINDS, LIMIT, MANY

MIB = 1 << 20


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
