"""The map of a group's slots as one element of HTML: no script, no style sheet, nothing fetched.

Text has the colour of the surrounding page, and the drawn parts are distinct on white and on black, so the
same element suits light and dark pages.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from memgroup.display.slots import LEGEND
from memgroup.display.text import show_share, show_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup.display.slots import Row, SlotMap

# Distinct by lightness too, each with a contrast of at least 3:1 against white and against #111.
_PROTECTED = "#2f7fdb"
_USED = "#2e9e58"
_TAIL = "repeating-linear-gradient(135deg,#b97a14 0 3px,transparent 3px 6px)"
_FILLS = (_PROTECTED, _USED, _TAIL)

_EDGE = "rgba(128,128,128,.55)"
_FONT = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45"
_NUMBER = "padding:2px 0 2px 14px;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_HEAD = f"{_NUMBER};font-weight:normal;opacity:.7"
_BAR = f"display:flex;height:14px;border:1px solid {_EDGE};border-radius:3px;overflow:hidden;min-width:120px"

_COLUMNS = ("slot", "capacity", "", "used", "protected", "committed", "tail")


def write(slots: SlotMap) -> str:
    """The element."""
    parts = [f'<div style="font-weight:600">{escape(slots.title)}</div>']
    parts += [f'<div style="opacity:.8">{escape(fact)}</div>' for fact in slots.facts]
    if slots.rows:
        parts += [_table(slots), _legend()]
    return f'<div style="{_FONT};max-width:760px;padding:4px 0">{"".join(parts)}</div>'


def _table(slots: SlotMap) -> str:
    heads = "".join(f'<th scope="col" style="{_HEAD}">{title}</th>' for title in _COLUMNS)
    rows = "".join(f'<tr style="background:none">{"".join(_cells(row))}</tr>' for row in slots.rows)
    return (
        '<table style="font:inherit;color:inherit;border-collapse:collapse;width:100%;margin:6px 0 4px;'
        'border:none;table-layout:auto">'
        f'<thead style="border:none"><tr style="background:none">{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _cells(row: Row) -> Iterator[str]:
    yield f'<td style="{_NUMBER};padding-left:0">{row.index}</td>'
    yield _number(show_size(row.capacity))
    yield f'<td style="padding:2px 0 2px 14px;width:42%">{_bar(row)}</td>'
    yield _number(show_size(row.used))
    yield _number(show_share(row.protected, row.used))
    yield _number(show_size(row.committed))
    yield _number(show_size(row.tail))


def _number(text: str) -> str:
    return f'<td style="{_NUMBER}">{text}</td>'


def _bar(row: Row) -> str:
    sizes = (row.protected, row.used - row.protected, row.tail)
    parts = "".join(
        f'<span style="flex:none;width:{100 * size / row.capacity:.2f}%;min-width:2px;background:{fill}" '
        f'title="{meaning}: {show_size(size)}"></span>'
        for size, fill, meaning in zip(sizes, _FILLS, LEGEND, strict=True)
        if size
    )
    return f'<div role="img" aria-label="{_said(row)}" style="{_BAR}">{parts}</div>'


def _said(row: Row) -> str:
    return (
        f"{show_share(row.used, row.capacity)} used, {show_share(row.protected, row.capacity)} protected, "
        f"{show_share(row.committed, row.capacity)} committed"
    )


def _legend() -> str:
    keys = [*zip(LEGEND, _FILLS, strict=True), ("address space only", "none")]
    signs = "".join(
        f'<span style="margin-right:16px;white-space:nowrap"><span style="display:inline-block;width:12px;'
        f'height:10px;border:1px solid {_EDGE};border-radius:2px;margin-right:5px;background:{fill}"></span>'
        f"{meaning}</span>"
        for meaning, fill in keys
    )
    return f'<div style="font-size:12px;opacity:.85">{signs}</div>'
