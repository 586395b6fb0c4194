"""`memgroup gather --on` has several workers search a large file, and its output is that of one machine."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup.engines.batches import FileBatches, Files, Range
from memgroup.engines.ranges import Lines, can_split, joined, search_part
from memgroup.engines.searching import Found, Search, search_batch
from memgroup.engines.sums import Sums
from support.gathering import gather

TOKENS = [b"hello", b"x", b"\n", b"\r\n", b"y" * 50, "ö".encode(), b"\xff", b"\0"]
LEAST = 256 * 1024
BEFORE = b"a line\n" * 3000
"""More than what is looked at before a file is split."""


def found_in_ranges(search: Search, nbytes: int) -> tuple[Found, list[Found | Lines]]:
    """What ranges of the file `file` tell together, with all figures, and what each of them tells."""
    sums = Sums()
    results = [search_part(search, part) for part in FileBatches([b"file"], False, nbytes, None, splits=True)]
    for result in results:
        sums.add("worker", 0, result.figures)
    whole = [*joined(search, results, sums)]
    output, errors = (b"".join(getattr(found, name) for found in whole) for name in ("output", "errors"))
    return Found(output, errors, sums.figures), results


def search_here(pattern: bytes, *style: str) -> Search:
    return Search(os.fsencode(os.getcwd()), [pattern], ["regex", "utf-8"], [*style], LEAST, 1)


@pytest.fixture(scope="module")
def empty():
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield


@pytest.mark.usefixtures("empty")
@given(
    content=st.lists(st.sampled_from(TOKENS), max_size=100).map(b"".join),
    before=st.sampled_from([b"", BEFORE]),
    nbytes=st.sampled_from([20, 100, 777, 10_000]),
    pattern=st.sampled_from([b"hello", b"^$", b"x", b"a line$"]),
    style=st.sampled_from(
        [["numbers", "paths"], ["numbers"], ["paths"], ["counts", "paths"], ["counts"], ["numbers", "text"]]
    ),
)
def test_ranges_tell_what_the_whole_file_tells(content, before, nbytes, pattern, style):
    Path("file").write_bytes(before + content)
    search = search_here(pattern, *style)
    found, _ = found_in_ranges(search, max(nbytes, len(before + content) // 50))
    assert found == search_batch(search, Files([b"file"], [True]))


@pytest.mark.usefixtures("empty")
def test_a_file_that_turns_out_to_be_binary_is_searched_as_a_whole():
    Path("file").write_bytes(BEFORE + b"a line\n" * 3000 + b"\0\n")
    search = search_here(b"line", "numbers", "paths")
    found, results = found_in_ranges(search, 10_000)
    assert [isinstance(result, Lines) and result.is_text for result in results] == [
        True,
        True,
        True,
        True,
        False,
    ]
    assert found == search_batch(search, Files([b"file"], [True]))


@pytest.mark.usefixtures("empty")
def test_lines_that_no_memory_holds_are_not_copied():
    Path("file").write_bytes(BEFORE + b"x" * 4 * LEAST + b"\nx\n")
    search = search_here(b"x", "numbers")
    found, results = found_in_ranges(search, 100_000)
    assert not all(isinstance(result, Lines) and result.is_text for result in results)
    assert found == search_batch(search, Files([b"file"], [True]))


@pytest.mark.usefixtures("empty")
def test_what_begins_as_binary_or_cannot_be_read_is_not_split():
    Path("file").write_bytes(b"\0" + BEFORE)
    assert [*FileBatches([b"file"], False, 1000, None, splits=True)] == [Files([b"file"], [True])]
    Path("file").write_bytes(BEFORE)
    parts = [*FileBatches([b"file"], False, 10_000, None, splits=True)]
    assert parts == [
        Range(b"file", True, 0, 10_000, False),
        Range(b"file", True, 10_000, 20_000, False),
        Range(b"file", True, 20_000, 21_000, True),
    ]
    assert not any(can_split(search_here(b"x", style)) for style in ("json", "colour", "files", "quiet"))


def test_workers_share_a_large_file(tmp_path, on):
    where, prefix = on
    line = b"a line of text that is long enough\nhello\n"
    (tmp_path / "a").write_bytes(b"hello\n")
    (tmp_path / "large").write_bytes(line * 100_000)
    (tmp_path / "z").write_bytes(b"hello\n")
    for question in (["--find=hello"], ["--find=hello", "-c"], ["--find=hello", "--json"]):
        expected = gather(*question, cwd=tmp_path)
        assert gather(*question, "--on", where, "--batch=500K", cwd=tmp_path, prefix=prefix) == expected
    *_, messages = gather(
        "--find=hello", "--stats", "--on", where, "--batch=500K", cwd=tmp_path, prefix=prefix
    )
    assert b"Found 100,002 lines in 3 files" in messages
    workers = [re.match(rb"  \S.*?  +([\d,]+) +[\d,]+ +[\d.]+ ", line) for line in messages]
    assert sum(int(worker[1]) for worker in workers if worker) >= len(line) * 100_000 // 512_000
