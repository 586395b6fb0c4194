"""Helpers for the tests of `memgroup gather`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memgroup._memgroup import TreeWalk

COMMAND = [sys.executable, "-m", "memgroup", "gather"]


ENOUGH = 60  # seconds after which a child counts as hung


# Runs the command after `code`, in a process that Ctrl-C ends even if the tests ignore it.
AFTER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
{code}
from memgroup.cli.main import main
sys.exit(main())
"""


def planted(place: Path, count: int, content: Callable[[int], bytes], odd: bytes) -> Path:
    """A tree: files in seven directories, one whose name is not UTF-8, and a link to nothing."""
    for number in range(count):
        directory = place / f"d{number % 7}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(content(number))
    Path(os.fsdecode(os.fsencode(place) + b"/d3/caf\xe9")).write_bytes(odd)
    (place / "dangling").symlink_to("nowhere")
    return place


def after(code: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", AFTER.format(code=code), "gather", *arguments]


Result = tuple[int, bytes, list[bytes]]


def gather(*arguments, cwd: Path, prefix: tuple[str, ...] = (), locale: str = "C.UTF-8") -> Result:
    """Run the command: its status, what it prints, and the lines of its messages."""
    done = subprocess.run(
        [*prefix, *COMMAND, *arguments],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "LC_ALL": locale},
        timeout=ENOUGH,
        check=False,
    )
    return done.returncode, done.stdout, sorted(done.stderr.splitlines())


def interrupted(fifo: Path, prefix: tuple[str, ...], *options: str) -> tuple[int, bytes, bytes, float]:
    """A search of a fifo that is interrupted: its status, what it printed, and how long it took to end."""
    os.mkfifo(fifo)
    command = [*prefix, *after("", "--find=x", *options, fifo)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    # The open ends when somebody reads.
    writer = os.open(fifo, os.O_WRONLY)
    try:
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=ENOUGH)
        return process.returncode, output, errors, time.monotonic() - start
    finally:
        os.close(writer)


def facts(output: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The facts of a report that are no times, and what each worker has done."""
    found = json.loads(output)
    assert set(found.pop("seconds")) >= {"read", "inspect", "free"}
    assert len(found.pop("rates")) == 2
    return found, found.pop("workers", [])


class Found:
    """What a walk has found."""

    def __init__(self, *paths: Path | str) -> None:
        walk = TreeWalk([os.fsencode(path) for path in paths], False)
        self.paths = [os.fsdecode(path) for some in walk for path in some]
        self.skipped = walk.skipped
        self.unreadable = [(os.fsdecode(path), os.strerror(code)) for path, code in walk.unreadable]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of 200 files of 0 to 20,000 bytes of four letters, in directories up to four deep."""
    chance = random.Random(1)
    root = tmp_path / "tree"
    for number in range(200):
        directory = root.joinpath(*(f"d{chance.randrange(3)}" for _ in range(chance.randrange(5))))
        directory.mkdir(parents=True, exist_ok=True)
        content = bytes(chance.choices(b"abc\0", k=chance.choice([0, 1, 700, chance.randrange(20_000)])))
        directory.joinpath(f"f{number}").write_bytes(content)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
