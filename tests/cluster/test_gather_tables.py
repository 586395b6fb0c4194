"""`memgroup gather --out` writes the same file whoever searches, and with any number of threads."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gathering import gather, planted

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tree with lines for several groups of rows."""
    place = tmp_path_factory.mktemp("tables")
    planted(
        place, 200, lambda number: b"hello %d\nx\n" % number * (number * number % 1009), odd=b"x hello\xff"
    )
    (place / "d1/large").write_bytes(b"hello " + b"y" * 9_000_000 + b"\n" + b"hello\n" * 100_000)
    (place / "d2/zero").write_bytes(b"hello\0\n")
    return place


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
@pytest.mark.parametrize(
    "question", [["--find=hello"], ["--find=hello", "-a"], [], ["--memory=2M"]], ids=" ".join
)
def test_tables_are_the_same_bytes(place, on, tmp_path, name, question):
    where, prefix = on
    paths = [".", "dangling", "nowhere"]
    alone = gather(*question, "--threads=3", "--out", tmp_path / f"1{name}", *paths, cwd=place)
    for number, options in enumerate((["--threads=1"], ["--on", where, "--batch=300K"]), 2):
        done = gather(
            *question, *options, "--out", tmp_path / f"{number}{name}", *paths, cwd=place, prefix=prefix
        )
        assert done == alone
        assert (tmp_path / f"{number}{name}").read_bytes() == (tmp_path / f"1{name}").read_bytes()


def test_errors_leave_no_table(tmp_path):
    for arguments in (["--find=(", "--regex"], ["--find=x", "--memory=1"]):
        for where in ([], ["--on=local"]):
            done = gather(*arguments, *where, "--out=x.parquet", cwd=tmp_path)
            assert (done[0], done[1]) == (2, b"")
            assert done[2][0].startswith(b"memgroup gather: ") or b"error: unclosed group" in done[2]
    assert not list(tmp_path.iterdir())
