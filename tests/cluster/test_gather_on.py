"""`memgroup gather --on` prints what it prints on one machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.gathering import COMMAND, ENOUGH, gather

LEAST = "256K"  # the least --memory

# What is printed, and what is searched for.
QUESTIONS = [
    ["--find=hello"],
    ["--find=hello", "--no-line-number"],
    ["--find=hello", "-c"],
    ["--find=hello", "-l"],
    ["--find=hello", "-q"],
    ["--find=hello", "-a"],
    ["--find=hello", "-i"],
    ["--find=hello", "--color=always"],
    ["--find=hello", "--json"],
    ["--find=hello", "--json", "-c"],
    ["--find=hello", "--json", "-l"],
    ["--find=h.l*o", "--find=ö", "--regex"],
    ["--find=nowhere to be found"],
    ["--find=hello", "--ignore"],
    ["--find=hello", f"--memory={LEAST}"],
    ["--find=hello", "--regex", f"--memory={LEAST}"],
    ["--find=hello", "--threads=3"],
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tree of files of many kinds."""
    place = tmp_path_factory.mktemp("place")
    files = {
        b"a/plain": b"one\nhello\ntwo hello hello\nend",
        b"a/crlf": b"a\r\nhello\r\nb\r\n",
        b"b/empty": b"",
        b"b/zero": b"a\0hello\nhello\n",
        b"b/latin": b"caf\xe9 hello\nHELLO\n",
        b"b/utf8": "größe hello\n".encode(),
        b"b/new\nline": b"hello\n",
        b"b/inv\xffalid": b"hello\n",
        b"b/-": b"hello\n",
        b"c/long": b"x" * 300_000 + b"hello\nhello\n",
        b"c/.gitignore": b"ignored\n",
        b"c/ignored": b"hello\n",
        **{b"d/%03d" % n: b"hello\nx\n" * (n * n % 997) for n in range(300)},
    }
    for name, content in files.items():
        path = os.path.join(os.fsencode(place), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(content)
    (place / "link").symlink_to("a/plain")
    (place / "dangling").symlink_to("nowhere")
    os.mkfifo(place / "fifo")
    return place


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_every_mode_prints_the_same_bytes(place, on, question):
    where, prefix = on
    locale = "C" if "-i" in question else "C.UTF-8"
    expected = gather(*question, cwd=place, locale=locale)
    found = gather(*question, "--on", where, "--batch=20K", cwd=place, prefix=prefix, locale=locale)
    assert found == expected


@pytest.mark.parametrize(
    "paths",
    [
        ["."],
        ["a", "d/007"],
        ["link"],
        ["a/plain"],
        ["b"],
        ["dangling", "a", "nowhere", "a/plain/below"],
    ],
    ids=" ".join,
)
def test_paths_of_all_kinds(place, on, paths):
    where, prefix = on
    for question in (["--find=hello"], ["--find=hello", "-c"]):
        expected = gather(*question, *paths, cwd=place)
        assert gather(*question, "--on", where, *paths, cwd=place, prefix=prefix) == expected


def test_paths_of_any_length(tmp_path, on):
    where, prefix = on
    directory = os.open(tmp_path, os.O_PATH)
    for number in range(60):
        os.mkdir(f"{number:0100}", dir_fd=directory)
        below = os.open(f"{number:0100}", os.O_PATH, dir_fd=directory)
        os.close(directory)
        directory = below
    with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=directory), "w") as file:
        file.write("hello\n")
    os.close(directory)
    status, output, messages = gather("--find=hello", cwd=tmp_path)
    assert (status, len(output), messages) == (0, 60 * 101 + len("file:1:hello\n"), [])
    assert gather("--find=hello", "--on", where, cwd=tmp_path, prefix=prefix) == (0, output, [])


def test_what_is_written_to_is_not_searched(tmp_path):
    (tmp_path / "a").write_text("hello\n")
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [*COMMAND, "--find=hello", "--on=local", "."],
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=ENOUGH,
        )
    assert (done.returncode, done.stderr) == (2, b"memgroup: ./out: input file is also the output\n")
    assert (tmp_path / "out").read_text() == "./a:1:hello\n"


def test_the_report_has_a_line_for_each_worker(place, on):
    where, prefix = on
    alone = gather("--find=hello", "-c", "--stats", cwd=place)
    done = gather("--find=hello", "-c", "--stats", "--on", where, "--batch=100K", cwd=place, prefix=prefix)
    assert done[:2] == alone[:2]
    for line in alone[2]:
        if line.startswith((b"Searched", b"Found")):
            assert line in done[2]
    name = rb"process \d+" if where == "local" else rb"tcp://[\d.]+:\d+"
    workers = [line for line in done[2] if re.match(rb"  " + name + rb" +[\d,]+ +[\d,]+ ", line)]
    assert 1 <= len(workers) <= max(2, len(os.sched_getaffinity(0)))


def test_errors_name_a_remedy(tmp_path):
    for where in (
        "dask://",
        "dask://host",
        "dask://host:0",
        "dask://host:99999",
        "ray://host",
        "tcp://host:1",
        "",
        "dask://a/b:1",
    ):
        status, _, messages = gather("--find=x", "--on", where, cwd=tmp_path)
        assert status == 2
        assert any(b"--on: give local, dask://HOST:PORT" in message for message in messages)
    assert gather("--find=x", "--on=local", "-", cwd=tmp_path) == (
        2, b"", [b"memgroup gather: --on cannot search standard input, which workers have not: give files"]
    )  # fmt: skip
    for arguments in (["--find=(", "--regex"], ["--find=x", "--memory=1"]):
        alone = gather(*arguments, cwd=tmp_path)
        assert alone[0] == 2
        assert gather(*arguments, "--on=local", cwd=tmp_path) == alone
