"""Who is compared in the plots, as benches/peers.toml explains it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True)
class Explanation:
    """What some peers are; `names` are patterns of their names, as of a shell."""

    names: tuple[str, ...]
    what: str

    def covers(self, name: str) -> bool:
        """Return whether a peer is one of these."""
        return any(fnmatchcase(name, pattern) for pattern in self.names)


def explanations(path: Path) -> list[Explanation]:
    """Return the explanations in a file, in its order."""
    return [
        Explanation(tuple(entry["names"]), entry["what"]) for entry in tomllib.loads(path.read_text())["peer"]
    ]


def table(names: Iterable[str], given: list[Explanation]) -> Iterator[str]:
    """Yield the lines of the table: the peers of one explanation share a line.

    Raises:
        LookupError: A peer has no explanation.
    """
    explained: dict[str, list[str]] = {explanation.what: [] for explanation in given}
    for name in dict.fromkeys(names):
        first = next((explanation for explanation in given if explanation.covers(name)), None)
        if first is None:
            raise LookupError(f"explain {name} in benches/peers.toml")
        explained[first.what].append(name)
    yield "| peer | |"
    yield "| --- | --- |"
    for what, peers in explained.items():
        if peers:
            yield f"| {', '.join(peers)} | {what} |"
