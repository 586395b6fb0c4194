"""The plots: dots on logarithmic axes, SVG of a few kB, the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median

from report.figures import shown, unit_for
from report.results import OURS, Results

WIDTH, NAMES, AXIS, ROW = 720, 200, 420, 20
"""Pixels: the widths of a picture, of the names and of the axis in it; the height of a row."""

LEGEND = (
    ("memgroup", "memgroup"),
    ("other", "others"),
    ("floor", "floors: C or the processor alone"),
)
"""The roles of dots, and what they mean."""

FLOORS = ("bare-", "memset", "c-arena")

STYLE = (
    "text{font:13px sans-serif;fill:#1f2328}.h{font-weight:bold}.n{text-anchor:end}"
    ".t{text-anchor:middle;fill:#57606a}.v{paint-order:stroke;stroke:#fcfcfa;stroke-width:4}"
    ".paper{fill:#fcfcfa}.g{stroke:#d4d9df}.memgroup{fill:#c2410c}"
    ".other{fill:#fcfcfa;stroke:#334155;stroke-width:2}.floor{fill:#8c959f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9ed}.t{fill:#a4adb7}.v{stroke:#14171b}"
    ".paper{fill:#14171b}.g{stroke:#383f48}.memgroup{fill:#fb923c}"
    ".other{fill:#14171b;stroke:#cbd5e1}.floor{fill:#6b7580}}"
)
"""For light and dark surroundings. Roles differ in shape too: full, hollow, and a diamond."""

Values = list[tuple[str, float]]


@dataclass(frozen=True)
class Panel:
    """One set of values on a logarithmic axis, on which what is far apart fits beside each other."""

    title: str
    values: Values
    unit: str = "s"


@dataclass(frozen=True)
class Plot:
    """A picture of panels.

    Attributes:
        name: Of its file.
        title: What it shows.
        panels: The panels, from the top; those without figures are left out.
    """

    name: str
    title: str
    panels: Callable[[Results], list[Panel]]

    def filled(self, results: Results) -> list[Panel]:
        """Return the panels that have figures."""
        return [panel for panel in self.panels(results) if panel.values]

    def can_be_drawn(self, results: Results) -> bool:
        """Return whether there is anything to draw."""
        return bool(self.filled(results))


def names(results: Results) -> Iterator[str]:
    """Yield the names of the peers in the plots."""
    for plot in PLOTS:
        for panel in plot.filled(results):
            yield from (name for name, _ in panel.values)


def python_values(results: Results, work: str, figure: str, divided_by: float = 1) -> Values:
    """Return the middle figure of every peer of a work."""
    peers = results.python.get(work, {}).get("peers", {})
    values = {name: results.value(work, name, figure) for name in peers}
    return [(name, value / divided_by) for name, value in values.items() if value]


def rust_values(results: Results, work: str) -> Values:
    """Return the median time of every peer at a work, ours first."""
    values: dict[str, float] = {}
    for row in (row for row in results.rust if row["work"] == work):
        values.setdefault(row["measured"], median(row["measured_ns"]) * 1e-9)
        values.setdefault(row["against"], median(row["against_ns"]) * 1e-9)
    return sorted(values.items(), key=lambda item: not item[0].startswith(OURS))


def python_panels(results: Results) -> list[Panel]:
    """Return the contents of the plot of Python's side."""

    def panel(title: str, work: str, figure: str) -> Panel:
        return Panel(title, python_values(results, work, figure))

    return [
        panel("an object of 64 bytes and its death", "alloc-one", "time"),
        panel("1,000 × 100 bytes made, freed, again", "cycle-small", "time"),
        panel("64 MiB filled by 1 MiB, freed, again", "fill-64MiB", "time"),
        panel("1,000,000 of 16–512 bytes, kept, freed", "keep-million", "both"),
        panel("the same, each with bytes copied into it", "copy-million", "both"),
        panel("the same, scattered from one buffer", "scatter-million", "both"),
    ]


def rust_panels(results: Results) -> list[Panel]:
    """Return the contents of the plot of Rust's side."""

    def panel(title: str, work: str) -> Panel:
        return Panel(title, rust_values(results, work))

    return [
        panel("a request of 16–143 bytes, warm memory", "alloc-warm-16-143"),
        panel("16–143 bytes, fresh memory, written", "alloc-cold-16-143"),
        panel("made, 1,000 × 100 bytes written, dropped, again", "cycle-1000-of-100"),
        panel("a request of 1–4096 bytes, warm memory", "alloc-warm-1-4096"),
        panel("1–4096 bytes, fresh memory, written", "alloc-cold-1-4096"),
        panel("made, 64 × 1 MiB written, dropped, again", "cycle-64-of-1-MiB"),
    ]


def million_panels(results: Results) -> list[Panel]:
    """Return the time of one of a million objects."""
    million = 1_000_000
    time = python_values(results, "keep-million", "both", million)
    space = python_values(results, "memory", "beyond payload")
    shared = [name for name, _ in space if name in dict(time)]
    return [
        Panel("time to make and free one of 1,000,000", [(name, dict(time)[name]) for name in shared]),
        Panel("bytes it takes beyond its 16–512", [(name, dict(space)[name]) for name in shared], "bytes"),
    ]


PLOTS = (
    Plot("million", "A million small objects: what each takes", million_panels),
    Plot("python", "From Python: time, the further left the better", python_panels),
    Plot("rust", "From Rust: time, the further left the better", rust_panels),
)


def draw(results: Results, directory: Path) -> None:
    """Draw every plot into a directory, and remove those for which there is nothing to draw."""
    directory.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        path = directory / f"{plot.name}.svg"
        if panels := plot.filled(results):
            path.write_text("\n".join(picture(plot.title, panels)) + "\n")
        else:
            path.unlink(missing_ok=True)


def picture(title: str, panels: list[Panel]) -> Iterator[str]:
    """Yield the lines of a picture: its title, a legend of its roles if there are several, and its panels."""
    roles = {role_of(name) for panel in panels for name, _ in panel.values}
    top = (3 if len(roles) > 1 else 2) * ROW
    height = top + sum(map(height_of, panels))
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    yield f'<style>{STYLE}</style><rect class="paper" width="{WIDTH}" height="{height}"/>'
    yield f'<text class="h" x="10" y="20">{escape(title)}</text>'
    x = 16
    for role, meaning in LEGEND if len(roles) > 1 else ():
        yield f'{dot(role, x, 40)}<text x="{x + 10}" y="44">{escape(meaning)}</text>'
        x += 44 + 8 * len(meaning)
    for panel in panels:
        yield f'<g transform="translate(0 {top})">'
        yield from drawn(panel)
        yield "</g>"
        top += height_of(panel)
    yield "</svg>"


def height_of(panel: Panel) -> int:
    """Return the pixels that a panel takes: with its title, the numbers of its axis, and a gap."""
    return ROW * (len(panel.values) + 3)


def drawn(panel: Panel) -> Iterator[str]:
    """Yield the title of a panel, its axis, and its dots with their values behind them."""
    low, high = decades(panel)
    bottom = ROW * (len(panel.values) + 1) + 8
    yield f'<text class="h" x="10" y="{ROW}">{escape(panel.title)}</text>'
    for power in range(low, high + 1):
        x = place(10.0**power, low, high)
        yield f'<path class="g" d="M{x} {ROW + 8}V{bottom}"/>'
        yield f'<text class="t" x="{x}" y="{bottom + 14}">{tick(power, panel.unit)}</text>'
    for row, (name, value) in enumerate(panel.values, start=1):
        x, y = place(value, low, high), ROW * row + 18
        yield (
            f'<text class="n" x="{NAMES}" y="{y + 4}">{escape(name)}</text>'
            f'<path class="g" d="M{NAMES + 10} {y}H{NAMES + 10 + AXIS}"/>{dot(role_of(name), x, y)}'
            f'<text class="v" x="{x + 10}" y="{y + 4}">{shown(value, panel.unit)}</text>'
        )


def decades(panel: Panel) -> tuple[int, int]:
    """Return the powers of ten at the ends of the axis, which all values lie between."""
    values = [value for _, value in panel.values]
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)


def place(value: float, low: int, high: int) -> int:
    """Return where on the axis a value lies."""
    return NAMES + 10 + round(AXIS * (math.log10(value) - low) / (high - low))


def tick(power: int, unit: str) -> str:
    """Return the number at a power of ten."""
    if unit != "s":
        return f"{10**power:,}"
    factor, name = unit_for(10.0**power)
    return f"{10.0**power * factor:.3g} {name}"


def dot(role: str, x: int, y: int) -> str:
    """Return a dot of a role."""
    if role == "floor":
        return f'<path class="floor" d="M{x - 6} {y}l6 -6 6 6 -6 6z"/>'
    return f'<circle class="{role}" cx="{x}" cy="{y}" r="5"/>'


def role_of(name: str) -> str:
    """Return the role of a peer."""
    if name.startswith(OURS):
        return "memgroup"
    return "floor" if name.startswith(FLOORS) else "other"
