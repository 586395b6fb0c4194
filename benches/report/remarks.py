"""What is written by hand of peers (benches/peers.toml) and of rows that are lost (benches/reasons.toml)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True)
class Remark:
    """A text.

    Attributes:
        of: Patterns, as of a shell, of the names that it is about.
        text: The text.
    """

    of: tuple[str, ...]
    text: str


def remarks(path: Path) -> list[Remark]:
    """Return the remarks in a file, in its order."""
    return [Remark(tuple(entry["of"]), entry["text"]) for entry in tomllib.loads(path.read_text())["remark"]]


def text_of(name: str, given: list[Remark]) -> str | None:
    """Return the first text about a name, if there is one."""
    matching = (remark.text for remark in given if any(fnmatchcase(name, pattern) for pattern in remark.of))
    return next(matching, None)
