"""The measurements of a run, in one form for both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

OURS = "memgroup"
FIRST = "first "
"""Before the name of a figure: what the first measurement of a process gave."""


@dataclass(frozen=True)
class Comparison:
    """One of ours beside another at the same work.

    Attributes:
        side: "rust" or "python".
        work: The job.
        figure: The measured quantity.
        ours: The measured peer.
        peer: Whom against.
        values: What each pass gave of either, in the order of the passes.
        unit: "s", "bytes" or "count".
    """

    side: str
    work: str
    figure: str
    ours: str
    peer: str
    values: tuple[tuple[float, float], ...]
    unit: str = "s"

    @property
    def ratios(self) -> list[float]:
        """Of each pass, since a pass compares what was measured close together."""
        return [ours / peer for ours, peer in self.values]

    @property
    def ratio(self) -> float:
        """The middle one; below 1, ours was the less."""
        return median(self.ratios)

    @property
    def key(self) -> str:
        """What reasons name it by."""
        return f"{self.side}/{self.work}/{self.figure}/{self.ours}/{self.peer}"


class Results:
    """All that a run has measured."""

    def __init__(self, run: dict[str, Any]) -> None:
        """Read a run as `run.py` keeps it."""
        self.rust: list[dict[str, Any]] = (run["parts"]["rust"].get("results") or {}).get("rows", [])
        self.python: dict[str, Any] = run["parts"]["python"].get("results") or {}

    def is_empty(self) -> bool:
        """Return whether nothing was measured."""
        return not self.rust and not self.python

    def values(self, work: str, peer: str, figure: str) -> list[float]:
        """Return what each pass gave of a peer at a work of Python's side, empty where there is nothing."""
        passes = self.python.get(work, {}).get("peers", {}).get(peer, {}).get("passes", [])
        return [value for found in passes if (value := of_pass(found, figure)) is not None]

    def value(self, work: str, peer: str, figure: str) -> float | None:
        """Return the middle one of these."""
        values = self.values(work, peer, figure)
        return median(values) if values else None

    def comparisons(self) -> Iterator[Comparison]:
        """Yield everything of ours beside everything of others', by work and figure."""
        for row in self.rust:
            if row["measured"].startswith(OURS) and not row["against"].startswith(OURS):
                yield of_row(row)
        for work, entry in self.python.items():
            ours = [peer for peer in entry["peers"] if peer.startswith(OURS)]
            others = [peer for peer in entry["peers"] if not peer.startswith(OURS)]
            for figure, unit in figures_of(entry).items():
                for our, other in ((our, other) for our in ours for other in others):
                    compared = self.compared(work, figure, our, other, unit)
                    if compared is not None:
                        yield compared

    def compared(self, work: str, figure: str, ours: str, peer: str, unit: str = "s") -> Comparison | None:
        """Return one of Python's comparisons, or None where one of them has no such figure."""
        pairs = zip(self.values(work, ours, figure), self.values(work, peer, figure), strict=False)
        values = tuple((our, other) for our, other in pairs if other > 0)
        return Comparison("python", work, figure, ours, peer, values, unit) if values else None

    def in_rust(self, work: str, measured: str, against: str) -> Comparison | None:
        """Return one of Rust's rows, or None if it was not measured."""
        wanted = (work, measured, against)
        rows = (row for row in self.rust if (row["work"], row["measured"], row["against"]) == wanted)
        return next((of_row(row) for row in rows), None)


def of_row(row: dict[str, Any]) -> Comparison:
    """Return a row of Rust's side, its nanoseconds as seconds."""
    pairs = zip(row["measured_ns"], row["against_ns"], strict=True)
    values = tuple((measured * 1e-9, against * 1e-9) for measured, against in pairs)
    return Comparison("rust", row["work"], "time", row["measured"], row["against"], values)


def figures_of(entry: dict[str, Any]) -> dict[str, str]:
    """Return the figures by which a work is compared, and their units. Not counts, since many are 0."""
    units = {figure: unit for figure, unit in entry["units"].items() if unit != "count"}
    if entry["shows_first"]:
        main, unit = next(iter(units.items()))
        units[FIRST + main] = unit
    return units


def of_pass(found: dict[str, Any], figure: str) -> float | None:
    """Return a figure of one process: the median of all but the first, unless that is the only one."""
    if figure.startswith(FIRST):
        return found["first"].get(figure.removeprefix(FIRST))
    values = [figures[figure] for figures in found["later"] or [found["first"]] if figure in figures]
    return median(values) if values else None
