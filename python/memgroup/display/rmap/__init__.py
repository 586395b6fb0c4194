"""Pictures of a reverse-mapping machine: its state, laid out on a grid, written as SVG.

`state` reads the machine, `shapes` has the elements of a picture, `layout` places them (`rows` on the left,
`columns` at the top), `legend` explains them, and `svg` draws them. The model, not this package, decides how
pages are found.
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
    """The result of `Machine.draw`."""
    return Drawing(write(lay_out(read(machine, page_id))))


def svg_or_none(machine: Machine) -> str | None:
    """The picture for Jupyter, or None for a family that is too large; Jupyter then shows the repr."""
    return None if excess(machine.counts(), one_page=False) else draw(machine).svg
