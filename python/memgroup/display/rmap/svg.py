"""Shapes as SVG: on their own background, which is dark if the reader's surroundings are dark."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from memgroup.display.rmap.shapes import FONT, LINE, Band, Box, Cell, Dot, Label, Line

if TYPE_CHECKING:
    from memgroup.display.rmap.shapes import BoxRole, CellRole, LabelRole, Layout, LineRole, Shape

_FACES = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"


class _Look(NamedTuple):
    """Fill and stroke of a role, on a white and on a dark background; None paints nothing."""

    fill: tuple[str, str] | None = None
    stroke: tuple[str, str] | None = None
    more: str = ""


_PAPER = ("#ffffff", "#14171b")
_BAND = ("#f3f5f8", "#1c2026")
_INK = ("#1f2328", "#e6e9ed")
_SOFT = ("#57606a", "#a4adb7")
_EDGE = ("#8c959f", "#6b7580")
_RAIL = ("#b4bcc5", "#4a525c")
_TINT = ("#e4ebf4", "#28313c")
_WALK = ("#0a5fcb", "#62adff")
_BAD = ("#c4192b", "#ff8078")
_DASHED = 'stroke-dasharray="5 3"'

_LOOKS = {
    "paper": _Look(_PAPER, ("#d4d9df", "#383f48")),
    "band": _Look(_BAND),
    "ink": _Look(_INK),
    "soft": _Look(_SOFT),
    "bad": _Look(_BAD),
    "process": _Look(_TINT, _EDGE),
    "box": _Look(_PAPER, _EDGE),
    "head": _Look(_TINT, _EDGE),
    "accent": _Look(_PAPER, _WALK, 'stroke-width="2"'),
    "freed": _Look(_PAPER, _BAD, f'stroke-width="2" {_DASHED}'),
    "rail": _Look(None, _RAIL),
    "way": _Look(None, _WALK, 'stroke-width="2"'),
    "astray": _Look(None, _BAD, f'stroke-width="2" {_DASHED}'),
    "dot": _Look(_SOFT),
    "ring": _Look(None, _SOFT, 'stroke-width="1.5"'),
    "visit": _Look(_WALK, _WALK, 'stroke-width="1.5"'),
    "vain": _Look(_PAPER, _WALK, 'stroke-width="1.5"'),
    "on-visit": _Look(_PAPER),
    "on-vain": _Look(_WALK),
    "visit-ring": _Look(None, _WALK, 'stroke-width="1.5"'),
    "entry": _Look(_EDGE, _EDGE),
    "swap": _Look(_PAPER, _EDGE, 'stroke-width="1.5" stroke-dasharray="3 2"'),
    "lost": _Look(_PAPER, _BAD, 'stroke-width="2"'),
    "tip": _Look(_EDGE),
    "way-tip": _Look(_WALK),
    "bad-tip": _Look(_BAD),
}

_BOXES: dict[BoxRole, str] = {
    "process": "process",
    "vma": "box",
    "anon_vma": "head",
    "freed": "freed",
    "page": "box",
    "walked": "accent",
    "list": "accent",
}
_LINES: dict[LineRole, tuple[str, str]] = {
    "family": ("rail", ""),
    "chain": ("rail", ""),
    "members": ("rail", ""),
    "entries": ("rail", ""),
    "walk": ("way", ""),
    "mapping": ("rail", "tip"),
    "walked": ("way", "way-tip"),
    "dangling": ("astray", "bad-tip"),
}
_CELLS: dict[CellRole, str] = {"mapped": "entry", "walked": "visit", "swapped": "swap", "lost": "lost"}
_LABELS: dict[LabelRole, str] = {"title": "ink", "caption": "soft", "broken": "bad"}


def write(layout: Layout) -> str:
    """The text of a picture."""
    width, height = _number(layout.width), _number(layout.height)
    summary = escape(layout.summary)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{_FACES}" font-size="{_number(FONT)}">',
        f"<title>{summary}</title>",
        f"<style>{_dark_style()}</style>",
        _rect(0.5, 0.5, layout.width - 1, layout.height - 1, "paper", 8),
        *(part for shape in layout.shapes for part in _draw(shape)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _dark_style() -> str:
    rules = [
        f".rmap-{name}{{{';'.join(paint)}}}"
        for name, look in _LOOKS.items()
        if (
            paint := [
                f"{what}:{colours[1]}"
                for what, colours in (("fill", look.fill), ("stroke", look.stroke))
                if colours
            ]
        )
    ]
    return f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"


def _draw(shape: Shape) -> list[str]:
    match shape:
        case Band():
            return [_rect(shape.x, shape.y, shape.width, shape.height, "band", 4)]
        case Line():
            return _line(shape)
        case Box():
            return _box(shape)
        case Dot():
            return _dot(shape)
        case Cell():
            return _cell(shape)
        case Label():
            weight = ' font-weight="bold"' if shape.role == "title" else ""
            return [_text(shape.x, shape.y, shape.text, _LABELS[shape.role], weight)]


def _line(line: Line) -> list[str]:
    look, tip = _LINES[line.role]
    path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in line.points)
    parts = [f'<path d="{path}" {_paint(look)}/>']
    if tip:
        x, y = line.points[-1]
        corners = (
            f"M{_number(x - 4)} {_number(y - 7)}L{_number(x + 4)} {_number(y - 7)}L{_number(x)} {_number(y)}Z"
        )
        parts.append(f'<path d="{corners}" {_paint(tip)}/>')
    return parts


def _box(box: Box) -> list[str]:
    parts = [_rect(box.x, box.y, box.width, box.height, _BOXES[box.role], 5)]
    # Heads of columns begin on one line, for any number of lines.
    spare = box.height - len(box.lines) * LINE
    inset = min(spare / 2, 4.0) if box.role in ("anon_vma", "freed", "page", "walked", "list") else spare / 2
    for number, text in enumerate(box.lines):
        y = box.y + inset + FONT - 0.5 + number * LINE
        look = "bad" if box.role == "freed" else "ink" if number == 0 else "soft"
        parts.append(_text(box.x + box.width / 2, y, text, look, ' text-anchor="middle"'))
    return parts


def _dot(dot: Dot) -> list[str]:
    look = {"entry": "dot", "found": "visit", "vain": "vain"}[dot.role]
    parts = [_circle(dot.x, dot.y, dot.radius, look)]
    if dot.own:
        ring = "ring" if dot.number is None else "visit-ring"
        parts.append(_circle(dot.x, dot.y, dot.radius + 3, ring))
    if dot.number is not None:
        look = "on-visit" if dot.role == "found" else "on-vain"
        parts.append(
            _text(dot.x, dot.y + 4, str(dot.number), look, ' text-anchor="middle" font-weight="bold"')
        )
    return parts


def _cell(cell: Cell) -> list[str]:
    left, top, right, bottom = cell.area
    parts = [_rect(left, top, cell.size, cell.size, _CELLS[cell.role], 3)]
    if cell.role == "lost":
        left, top, right, bottom = left + 5, top + 5, right - 5, bottom - 5
        first = f"M{_number(left)} {_number(top)}L{_number(right)} {_number(bottom)}"
        second = f"M{_number(right)} {_number(top)}L{_number(left)} {_number(bottom)}"
        parts.append(f'<path d="{first}{second}" {_paint("lost")}/>')
    return parts


def _rect(x: float, y: float, width: float, height: float, look: str, radius: float) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
    return f'<rect {place} rx="{_number(radius)}" {_paint(look)}/>'


def _circle(x: float, y: float, radius: float, look: str) -> str:
    return f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" {_paint(look)}/>'


def _text(x: float, y: float, text: str, look: str, more: str) -> str:
    return f'<text x="{_number(x)}" y="{_number(y)}"{more} {_paint(look)}>{escape(text)}</text>'


def _paint(name: str) -> str:
    """The light colours as attributes, which the style for dark surroundings overrides."""
    look = _LOOKS[name]
    fill = look.fill[0] if look.fill else "none"
    stroke = f' stroke="{look.stroke[0]}"' if look.stroke else ""
    return f'class={quoteattr(f"rmap-{name}")} fill="{fill}"{stroke}{" " + look.more if look.more else ""}'


def _number(number: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")
