"""`memgroup gather --on` without `--find`: the report of one machine, and what each worker has done."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from memgroup import MemGroup
from memgroup._memgroup import TreeWalk
from memgroup.engines.measuring import measured_on_workers
from memgroup.engines.reading import parts_of_file
from memgroup.engines.sums import Sums
from support.gathering import facts, gather, planted

REPORTS = [
    [],
    ["--largest=all"],
    ["--largest=0", "--ignore"],
    ["--memory=256K", "--base=4K"],
    ["--memory=1M", "--backing=anonymous"],
    ["--backing=."],
    ["--limit=256K"],
    ["--limit=600K", "--memory=512K"],
]

# What differs from one run to the next.
TIMES = re.compile(rb"\nSteps\n.*", re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tree with files of all sizes, some of which cannot be read."""
    place = tmp_path_factory.mktemp("place")
    planted(place, 300, lambda number: bytes(number * number * number % 20_011), odd=b"x")
    (place / "d1/large").write_bytes(b"hello\n" * 200_000)
    (place / "d2/long").write_bytes(bytes(700_000))
    (place / "d3/.gitignore").write_text("1*\n")
    os.mkfifo(place / "fifo")
    return place


def reports(place: Path, on: tuple[str, tuple[str, ...]], *options: str) -> list[bytes]:
    """What one machine prints, and what workers make of it, with the same status and messages."""
    where, prefix = on
    paths = [".", "dangling", place / "d1", "d2/long"]
    alone, done = (
        gather(*options, *more, *paths, cwd=place, prefix=prefix)
        for more in ([], ["--on", where, "--batch=100K"])
    )
    assert (done[0], done[2]) == (alone[0], alone[2])
    return [alone[1], done[1]]


@pytest.mark.parametrize("options", REPORTS, ids=" ".join)
def test_the_facts_are_those_of_one_machine(place, on, options):
    (expected, none), (found, workers) = map(facts, reports(place, on, "--json", *options))
    assert (found, none) == (expected, [])
    assert sum(worker["batches"] for worker in workers) > 1
    assert all(worker["seconds"] > 0 for worker in workers)
    if found["shortage"] is None:
        assert sum(worker["bytes"] for worker in workers) == found["bytes"]


@pytest.mark.parametrize("memory", ["256K", "256M"])
def test_the_report_is_that_of_one_machine_and_a_line_for_each_worker(place, on, memory):
    alone, done = reports(place, on, "--memory", memory)
    assert TIMES.sub(b"", done) == TIMES.sub(b"", alone)
    assert b"\nWorkers\n" in done


def test_errors_are_those_of_one_machine(tmp_path):
    for arguments in (["nowhere"], ["--base=0"], ["--backing=/nowhere"]):
        alone = gather(*arguments, cwd=tmp_path)
        assert alone[0] == 2
        assert gather(*arguments, "--on=local", cwd=tmp_path) == alone


def test_files_of_proc_announce_no_size():
    place = Path("/proc/self")
    found, _ = facts(gather("--json", "--on=local", "/proc/version", "/proc/filesystems", cwd=place)[1])
    assert (found["files"], found["unsized"], found["changed"]) == (2, 2, 0)


def test_a_file_that_vanishes_is_one_error(tmp_path, monkeypatch):
    """However many pieces of it were to be read."""
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    (tmp_path / "small").write_bytes(bytes(10))

    def vanished(path, size, memory):
        parts = [*parts_of_file(path, size, memory)]
        os.unlink(path)
        return parts

    monkeypatch.setattr("memgroup.engines.measuring.parts_of_file", vanished)
    walk = TreeWalk([os.fsencode(tmp_path)], False)
    sums = Sums()
    batches = [
        (batch[0], [*batch[1].sizes], batch.errors)
        for batch in measured_on_workers("local", 1 << 16, sums, walk, 1 << 18, MemGroup())
    ]
    assert [(paths, sizes, [*errors]) for paths, sizes, errors in batches] == [
        ([], [], [str(tmp_path / "large")]),
        ([str(tmp_path / "small")], [10], []),
    ]
    assert sums.figures[0] == 1
