"""Helpers for the tests of `memgroup gather`."""

import random
import sys
from pathlib import Path

import pytest
from memgroup.cli.gather.find import Finder, Found

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


def after(code: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", AFTER.format(code=code), "gather", *arguments]


def find(*paths: Path | str) -> Found:
    found = Found()
    Finder(found).find(list(map(str, paths)))
    return found


def offsets_in(content: bytes, pattern: bytes) -> list[int]:
    offsets, at = [], content.find(pattern)
    while at >= 0:
        offsets.append(at)
        at = content.find(pattern, at + len(pattern))
    return offsets


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
