"""The rows that memgroup loses, each with the reason that benches/reasons.toml gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from report.figures import number
from report.remarks import Remark, text_of
from report.results import Comparison, Results

UNEXPLAINED = "not explained yet"


def lost(results: Results) -> list[Comparison]:
    """Return the rows in which ours took more, in the figures that are shown."""
    return [comparison for comparison in results.comparisons() if round(comparison.ratio, 2) > 1]


def table(results: Results, given: list[Remark]) -> Iterator[str]:
    """Yield the lines of the table: those of one figure with the same reason share a line."""
    yield "| work | figure | memgroup | peers, and how many times as much memgroup took | reason |"
    yield "| --- | --- | --- | --- | --- |"
    explained = [(comparison, text_of(comparison.key, given) or UNEXPLAINED) for comparison in lost(results)]
    for (work, figure, ours, reason), group in groupby(
        explained, lambda entry: (entry[0].work, entry[0].figure, entry[0].ours, entry[1])
    ):
        others = ", ".join(f"{comparison.peer} {number(comparison.ratio)}" for comparison, _ in group)
        yield f"| {work} | {figure} | {ours} | {others} | {reason} |"
