"""The rows that memgroup loses, each with the reason that benches/reasons.toml gives."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from report.figures import number
from report.results import Comparison, Results

UNEXPLAINED = "not explained yet"


@dataclass(frozen=True)
class Reason:
    """Why rows are lost.

    Attributes:
        rows: Patterns of keys, side/work/figure/ours/peer, as of a shell.
        why: The reason.
    """

    rows: tuple[str, ...]
    why: str

    def covers(self, comparison: Comparison) -> bool:
        """Return whether a row is one of these."""
        return any(fnmatchcase(comparison.key, pattern) for pattern in self.rows)


def reasons(path: Path) -> list[Reason]:
    """Return the reasons in a file, in its order."""
    return [Reason(tuple(entry["rows"]), entry["why"]) for entry in tomllib.loads(path.read_text())["reason"]]


def lost(results: Results) -> list[Comparison]:
    """Return the rows in which ours took more, in the figures that are shown."""
    return [comparison for comparison in results.comparisons() if round(comparison.ratio, 2) > 1]


def table(results: Results, given: list[Reason]) -> Iterator[str]:
    """Yield the lines of the table: those of one figure with the same reason share a line."""
    yield "| work | figure | memgroup | peers, and how many times as much memgroup took | reason |"
    yield "| --- | --- | --- | --- | --- |"
    explained = [(comparison, why(comparison, given)) for comparison in lost(results)]
    for (work, figure, ours, reason), group in groupby(
        explained, lambda entry: (entry[0].work, entry[0].figure, entry[0].ours, entry[1])
    ):
        others = ", ".join(f"{comparison.peer} {number(comparison.ratio)}" for comparison, _ in group)
        yield f"| {work} | {figure} | {ours} | {others} | {reason} |"


def why(comparison: Comparison, given: list[Reason]) -> str:
    """Return the first reason that covers a row."""
    return next((reason.why for reason in given if reason.covers(comparison)), UNEXPLAINED)
