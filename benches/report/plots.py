"""The plots: SVG of a few kB, the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median

from report.figures import shown
from report.results import OURS, Results

STYLE = (
    "text{font:12px sans-serif;fill:#1f2328}.h{font-weight:bold}.n{text-anchor:end}"
    "rect{fill:#64748b;height:13px}.o{fill:#c2410c}.f{fill:#b8b8b8}.p{fill:#fcfcfa;height:100%}"
)
"""Ours stand out, floors stand back."""

COLUMN, NAMES, BAR, ROW = 490, 150, 230, 17
"""Pixels: the widths of a column, of the names in it, of the longest bar; the height of a bar and its gap."""

SHORTEST = 0.1
"""The least length of a bar, as a part of the longest; logarithmic bars begin there."""

Bars = list[tuple[str, float]]


@dataclass(frozen=True)
class Panel:
    """One set of bars. Times are logarithmic, so that what is far apart fits beside each other."""

    title: str
    bars: Bars
    unit: str = "s"


@dataclass(frozen=True)
class Plot:
    """A picture of panels.

    Attributes:
        name: Of its file.
        title: What it shows.
        columns: The panels, column by column; those without figures are left out.
    """

    name: str
    title: str
    columns: Callable[[Results], list[list[Panel]]]

    def filled(self, results: Results) -> list[list[Panel]]:
        """Return the columns of panels that have figures."""
        columns = [[panel for panel in column if panel.bars] for column in self.columns(results)]
        return [column for column in columns if column]

    def can_be_drawn(self, results: Results) -> bool:
        """Return whether there is anything to draw."""
        return bool(self.filled(results))


def python_bars(results: Results, work: str, figure: str, divided_by: float = 1) -> Bars:
    """Return the middle figure of every peer of a work."""
    peers = results.python.get(work, {}).get("peers", {})
    values = {name: results.value(work, name, figure) for name in peers}
    return [(name, value / divided_by) for name, value in values.items() if value]


def rust_bars(results: Results, work: str) -> Bars:
    """Return the median time of every peer at a work, ours first."""
    bars: dict[str, float] = {}
    for row in (row for row in results.rust if row["work"] == work):
        bars.setdefault(row["measured"], median(row["measured_ns"]) * 1e-9)
        bars.setdefault(row["against"], median(row["against_ns"]) * 1e-9)
    return sorted(bars.items(), key=lambda bar: not bar[0].startswith(OURS))


def python_columns(results: Results) -> list[list[Panel]]:
    """Return the contents of the plot of Python's side."""

    def panel(title: str, work: str, figure: str) -> Panel:
        return Panel(title, python_bars(results, work, figure))

    return [
        [
            panel("an object of 64 bytes and its death", "alloc-one", "time"),
            panel("1,000 × 100 bytes made, freed, again", "cycle-small", "time"),
            panel("64 MiB filled by 1 MiB, freed, again", "fill-64MiB", "time"),
        ],
        [
            panel("1,000,000 of 16–512 bytes, kept, freed", "keep-million", "both"),
            panel("the same, each with bytes copied into it", "copy-million", "both"),
            panel("the same, scattered from one buffer", "scatter-million", "both"),
        ],
    ]


def rust_columns(results: Results) -> list[list[Panel]]:
    """Return the contents of the plot of Rust's side."""

    def panel(title: str, work: str) -> Panel:
        return Panel(title, rust_bars(results, work))

    return [
        [
            panel("a request of 16–143 bytes, warm memory", "alloc-warm-16-143"),
            panel("16–143 bytes, fresh memory, written", "alloc-cold-16-143"),
            panel("made, 1,000 × 100 bytes written, dropped, again", "cycle-1000-of-100"),
        ],
        [
            panel("a request of 1–4096 bytes, warm memory", "alloc-warm-1-4096"),
            panel("1–4096 bytes, fresh memory, written", "alloc-cold-1-4096"),
            panel("made, 64 × 1 MiB written, dropped, again", "cycle-64-of-1-MiB"),
        ],
    ]


def million_columns(results: Results) -> list[list[Panel]]:
    """Return the time of one of a million objects."""
    million = 1_000_000
    time = python_bars(results, "keep-million", "both", million)
    space = python_bars(results, "memory", "beyond payload")
    shared = [name for name, _ in space if name in dict(time)]
    return [
        [
            Panel(
                "time to make and free one of 1,000,000, logarithmic",
                [(name, dict(time)[name]) for name in shared],
            )
        ],
        [Panel("bytes it takes beyond its 16–512", [(name, dict(space)[name]) for name in shared], "bytes")],
    ]


PLOTS = (
    Plot("python", "From Python: time, logarithmic, the shorter the better", python_columns),
    Plot("rust", "From Rust: time, logarithmic, the shorter the better", rust_columns),
    Plot("million", "A million small objects: what each takes", million_columns),
)


def draw(results: Results, directory: Path) -> None:
    """Draw every plot into a directory, and remove those for which there is nothing to draw."""
    directory.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        path = directory / f"{plot.name}.svg"
        if columns := plot.filled(results):
            path.write_text("\n".join(picture(plot.title, columns)) + "\n")
        else:
            path.unlink(missing_ok=True)


def picture(title: str, columns: list[list[Panel]]) -> Iterator[str]:
    """Yield the lines of a picture: panels below each other, columns beside each other."""
    width = COLUMN * len(columns)
    height = 30 + max(sum(height_of(panel) for panel in column) for column in columns)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    yield f'<style>{STYLE}</style><rect class="p" width="100%"/>'
    yield f'<text class="h" x="10" y="20">{escape(title)}</text>'
    for place, column in enumerate(columns):
        top = 30
        for panel in column:
            yield f'<g transform="translate({place * COLUMN} {top})">'
            yield from drawn(panel)
            yield "</g>"
            top += height_of(panel)
    yield "</svg>"


def height_of(panel: Panel) -> int:
    """Return the pixels that a panel takes."""
    return ROW * (len(panel.bars) + 2)


def drawn(panel: Panel) -> Iterator[str]:
    """Yield the title of a panel, and its bars with their values behind them."""
    yield f'<text class="h" x="10" y="{ROW}">{escape(panel.title)}</text>'
    for row, ((name, value), length) in enumerate(zip(panel.bars, lengths(panel), strict=True), start=1):
        top = ROW * row + 8
        yield (
            f'<text class="n" x="{NAMES}" y="{top + 11}">{escape(name)}</text>'
            f'<rect{class_of(name)} x="{NAMES + 6}" y="{top}" width="{length}"/>'
            f'<text x="{NAMES + 10 + length}" y="{top + 11}">{shown(value, panel.unit)}</text>'
        )


def lengths(panel: Panel) -> list[int]:
    """Return the length of each bar: logarithmic for times, so that what is far apart can be compared."""
    values = [value for _, value in panel.bars]
    most, span = max(values), math.log(max(values) / min(values)) or 1

    def part(value: float) -> float:
        if panel.unit == "s":
            return 1 - (1 - SHORTEST) * math.log(most / value) / span
        return value / most

    return [round(BAR * part(value)) for value in values]


def class_of(name: str) -> str:
    """Return the attribute that gives a bar its colour."""
    if name.startswith(OURS):
        return ' class="o"'
    return ' class="f"' if name.startswith(("bare-", "memset-", "c-arena")) else ""
