"""A comparison as a picture: bars for each backing, in panels, laid out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from memgroup._text import show_number, show_seconds, show_size, show_text
from memgroup.forkcost._report import advice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from memgroup.forkcost._measure import Measurement

_WIDTH = 760
_MARGIN = 24
_LABELS = 190  # room for the names of backings
_VALUES = 90  # room behind the longest bar
_LINE = 24
_BAR = 14
_TITLE = 34
_HEAD = 64

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222 }
.head { font-weight: 600; font-size: 15px }
.title { font-weight: 600 }
.advice, .value { fill: #555 }
.bar { fill: #2f6fb0 }
.ground { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #eee } .advice, .value { fill: #bbb } .bar { fill: #6aa9e9 } .ground { fill: #16181c }
}
"""


@dataclass(frozen=True)
class _Panel:
    """One figure of every measurement that has it."""

    title: str
    figure: Callable[[Measurement], float | None]
    show: Callable[[float], str]


_PANELS = (
    _Panel("Fork", lambda one: one.fork, show_seconds),
    _Panel("Exit of the child", lambda one: one.exit, show_seconds),
    _Panel("Page tables of the child", lambda one: one.tables, show_size),
    _Panel("Memory of the child, shared with others in proportion (PSS)", lambda one: one.pss, show_size),
    _Panel(
        "Page faults of reading all", lambda one: one.read_faults, lambda number: show_number(int(number))
    ),
    _Panel(
        "Page faults of then writing all",
        lambda one: one.write_faults,
        lambda number: show_number(int(number)),
    ),
)


def as_svg(measured: Sequence[Measurement]) -> str:
    """`measured` as an SVG document, readable on light and on dark ground."""
    height, parts = _HEAD, list(_heading(measured))
    for panel in _PANELS:
        found = [
            (show_text(one.backing), value) for one in measured if (value := panel.figure(one)) is not None
        ]
        if found:
            parts += _panel(panel, found, height)
            height += _TITLE + _LINE * len(found)
    height += _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" role="img">',
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _heading(measured: Sequence[Measurement]) -> Iterator[str]:
    asked = measured[0].prediction
    yield _text(_MARGIN, 28, f"Forking with {show_size(asked.nbytes)} in a group ({asked.shape})", "head")
    yield _text(_MARGIN, 50, advice(measured).partition(":")[0], "advice")


def _panel(panel: _Panel, found: Sequence[tuple[str, float]], top: int) -> Iterator[str]:
    yield _text(_MARGIN, top + _TITLE - 10, panel.title, "title")
    room = _WIDTH - 2 * _MARGIN - _LABELS - _VALUES
    most = max(value for _, value in found) or 1
    for number, (name, value) in enumerate(found):
        y = top + _TITLE + number * _LINE
        left = _MARGIN + _LABELS
        width = max(room * value / most, 1)
        yield _text(_MARGIN, y + 12, _shortened(name))
        yield f'<rect class="bar" x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
        yield _text(left + width + 8, y + 12, panel.show(value), "value")


def _shortened(name: str) -> str:
    """The end of a name that is too long for its room; of a path, that tells most."""
    return name if len(name) <= 24 else f"…{name[-23:]}"


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y}">{escape(words)}</text>'
