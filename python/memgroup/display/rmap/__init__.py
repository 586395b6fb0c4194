"""Pictures of a reverse-mapping machine: what it holds, laid out on a grid, written as SVG.

`state` reads the machine, `shapes` is what a picture is made of, `layout` says where everything goes (`rows`
on the left, `columns` at the top), `legend` what it means, and `svg` draws it. Nothing here decides how pages
are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.display.rmap.drawing import Drawing
from memgroup.display.rmap.layout import lay_out
from memgroup.display.rmap.state import excess, read
from memgroup.display.rmap.svg import write

if TYPE_CHECKING:
    from memgroup.rmap import Machine

__all__ = ["Drawing", "draw", "svg_or_none"]


def draw(machine: Machine, page_id: int | None = None) -> Drawing:
    """What `Machine.draw` gives."""
    return Drawing(write(lay_out(read(machine, page_id))))


def svg_or_none(machine: Machine) -> str | None:
    """What Jupyter shows: nothing but the machine's repr, if it is too large a family."""
    return None if excess(machine.counts(), one_page=False) else draw(machine).svg
