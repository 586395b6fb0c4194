"""The plots: SVG, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from report.figures import number, shown, unit_for
from report.results import OURS, Results

OUR_COLOUR, FLOOR_COLOUR, OTHER_COLOUR = "#c2410c", "#b8b8b8", "#64748b"
PAPER, INK = "#fcfcfa", "#1f2328"
ROW = 0.24
"""Height of a bar with its surroundings, in inches."""

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
    """Return the middle time of everybody at a work, ours first."""
    bars: dict[str, float] = {}
    for row in (row for row in results.rust if row["work"] == work):
        bars.setdefault(row["measured"], median(row["measured_ns"]) * 1e-9)
        bars.setdefault(row["against"], median(row["against_ns"]) * 1e-9)
    return sorted(bars.items(), key=lambda bar: not bar[0].startswith(OURS))


def python_columns(results: Results) -> list[list[Panel]]:
    """Return what the plot of Python's side shows."""

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
    """Return what the plot of Rust's side shows."""

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
    """Return what an object of a million takes."""
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


def draw(results: Results, directory: Path, kind: str = "svg") -> None:
    """Draw every plot into a directory, and remove those for which there is nothing to draw."""
    import matplotlib as mpl

    directory.mkdir(parents=True, exist_ok=True)
    settings: Any = {"svg.hashsalt": "memgroup", "font.family": "DejaVu Sans", "font.size": 9}
    for plot in PLOTS:
        path = directory / f"{plot.name}.{kind}"
        columns = plot.filled(results)
        if not columns:
            path.unlink(missing_ok=True)
            continue
        with mpl.rc_context(settings):
            figure = figure_of(plot.title, columns)
            figure.savefig(path, facecolor=PAPER, metadata={"Date": None} if kind == "svg" else None)


def figure_of(title: str, columns: list[list[Panel]]) -> Any:
    """Return the figure: panels below each other, columns beside each other."""
    from matplotlib.figure import Figure

    height = max(sum(len(panel.bars) * ROW + 0.65 for panel in column) for column in columns) + 0.45
    figure = Figure(figsize=(10.5, height), layout="constrained")
    figure.suptitle(title, color=INK, fontsize=11, fontweight="bold")
    for column, part in zip(columns, figure.subfigures(1, len(columns), squeeze=False)[0], strict=True):
        part.set_facecolor(PAPER)
        ratios = [len(panel.bars) + 1.5 for panel in column]
        every = part.subplots(len(column), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})
        for panel, axes in zip(column, every[:, 0], strict=True):
            draw_panel(axes, panel)
    return figure


def draw_panel(axes: Any, panel: Panel) -> None:
    """Draw bars with their values behind them."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = [name for name, _ in panel.bars]
    values = [value for _, value in panel.bars]
    axes.barh(range(len(values)), values, color=[colour_of(name) for name in names], height=0.72)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    # Room for the shortest bar, and for what is written behind the longest.
    if panel.unit == "s":
        axes.set_xscale("log")
        span = max(values) / min(values)
        axes.set_xlim(min(values) / 2.5, max(values) * (span * 2.5) ** 0.28)
    else:
        axes.set_xlim(0, max(values) * 1.2)
    axes.set_title(panel.title, loc="left", color=INK, fontsize=9.5)
    for place, value in enumerate(values):
        axes.annotate(
            words(value, panel.unit),
            (value, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: on_axis(value, panel.unit)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=INK, alpha=0.12)
    axes.set_axisbelow(True)
    axes.set_facecolor(PAPER)
    axes.tick_params(which="both", colors=INK, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def colour_of(name: str) -> str:
    """Return the colour: ours stand out, floors stand back."""
    if name.startswith(OURS):
        return OUR_COLOUR
    return FLOOR_COLOUR if name.startswith(("bare-", "memset-", "c-arena")) else OTHER_COLOUR


def words(value: float, unit: str) -> str:
    """Return a value as it is written behind a bar."""
    return shown(value, unit) if unit == "s" else number(value)


def on_axis(value: float, unit: str) -> str:
    """Return a value as it is written below the bars."""
    factor, name = unit_for(value * 1.001) if unit == "s" else (1.0, "")
    return f"{value * factor:,.9g} {name}".strip()
