"""`memgroup gather`: a file that cannot be read affects only itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from memgroup import MemGroup
from memgroup.cli.gather.inspect import Largest, measure
from memgroup.cli.gather.job import Job, Outcome, gather
from memgroup.cli.gather.report import complaints
from support.gathering import Found


def gathered(*paths: Path | str, **options) -> Outcome:
    job = Job(tuple(map(str, paths)), 100, 2**28)
    return gather(job, MemGroup(**options), lambda step, done, total: None)


@pytest.mark.parametrize("place", [0, 100, 199])
def test_a_file_that_is_too_large_costs_only_itself(tmp_path, place):
    for number in range(200):
        size = 1 << 20 if number == place else 100
        (tmp_path / f"{number:03}").write_bytes(bytes(size))
    outcome = gathered(tmp_path, limit=256 * 1024)
    assert outcome.files == 199
    assert outcome.nbytes == 199 * 100
    assert outcome.shortage is not None
    assert (outcome.shortage.path, outcome.shortage.left) == (str(tmp_path / f"{place:03}"), 1)
    first, second = complaints(outcome)
    assert first.startswith(f"no memory for {tmp_path}/{place:03}: ")
    assert "gathered 199 files" in second
    assert "left out 1" in second


def test_files_that_do_not_fit_at_once_are_gathered_one_after_another(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}").write_bytes(bytes(100_000))
    (tmp_path / "last").write_bytes(b"small")
    outcome = gathered(tmp_path, limit=512 * 1024)
    assert (outcome.shortage, outcome.files, outcome.nbytes) == (None, 11, 1_000_005)


@pytest.mark.parametrize(
    ("sizes", "median", "p90"),
    [
        ([], 0, 0),
        ([7], 7, 7),
        ([1, 100], 1, 100),
        (list(range(1, 11)), 5, 9),
        (list(range(1, 12)), 6, 10),
        ([1] * 9 + [100], 1, 1),
        ([1] * 8 + [100] * 2, 1, 100),
    ],
)
def test_quantiles_are_of_the_nearest_rank(sizes, median, p90):
    found = measure(sizes, Largest(0))
    assert (found.median, found.p90) == (median, p90)


@pytest.fixture
def deep(tmp_path, monkeypatch) -> Path:
    """A directory with files at depths up to 6,000 bytes of path, which no system call takes as a whole."""
    monkeypatch.chdir(tmp_path)
    for depth in range(30):
        Path(f"file{depth}").write_bytes(b"deep" * depth)
        name = f"{depth:02}" + "d" * 198
        os.mkdir(name)
        os.chdir(name)
    os.chdir(tmp_path)
    return tmp_path


def test_a_path_of_any_length_is_found_and_read(deep):
    found = Found(deep)
    assert found.unreadable == []
    assert len(found.paths) == 30
    assert max(map(len, found.paths)) > 5000
    outcome = gathered(deep)
    assert outcome.complete
    assert outcome.nbytes == 4 * sum(range(30))
    assert [file.nbytes for file in outcome.sizes.largest] == [4 * depth for depth in reversed(range(30))]


def test_over_long_paths_leave_no_descriptor(deep):
    before = os.listdir("/proc/self/fd")
    gathered(deep)
    assert os.listdir("/proc/self/fd") == before


def test_the_command_reads_over_long_paths(deep):
    done = subprocess.run(
        [sys.executable, "-m", "memgroup", "gather", ".", "--json"], capture_output=True, cwd=deep, check=True
    )
    facts = json.loads(done.stdout)
    assert (facts["files"], facts["complete"]) == (30, True)
