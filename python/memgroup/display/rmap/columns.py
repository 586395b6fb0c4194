"""The top of a picture: a column for each anon_vma, and to the right of them one for each page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memgroup.display.rmap.shapes import LINE, Box, text_width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from memgroup.display.rmap.shapes import BoxRole
    from memgroup.display.rmap.state import AnonVma, Page, State

GAP = 8.0
_PADDING = 6.0
_APART = 34.0

LIST = -1
"""Stands for the anon_vma where a walk goes through none."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The positions of the columns.

    Attributes:
        heads: Boxes of anon_vmas by id; under `LIST`, of the list that a walk follows instead of one.
        pages: Boxes of pages, by id.
        right: The end of the columns.
        height: The height of the boxes.
    """

    heads: dict[int, Box]
    pages: dict[int, Box]
    right: float
    height: float


def middle(box: Box) -> float:
    """The position of the column below a box."""
    return box.x + box.width / 2


def plan_columns(state: State, left: float) -> Callable[[float], Columns]:
    """Lay out the anon_vmas and pages of `state`; their vertical position is set later."""
    heads = {anon_vma.id: _describe(anon_vma) for anon_vma in state.anon_vmas}
    without = _list_name(state)
    texts = ({LIST: without} if without else {}) | heads
    pages = {page.id: _describe_page(page, state) for page in state.pages}
    lines = max((len(text) for text in (*texts.values(), *pages.values())), default=0)
    height = lines * LINE + _PADDING if lines else 0.0
    freed = {anon_vma.id for anon_vma in state.anon_vmas if anon_vma.freed}
    walked = state.walked.id if state.walked else None

    def at(top: float) -> Columns:
        x = left
        boxes: dict[int, Box] = {}
        for id_, text in texts.items():
            width = _width(text)
            role: BoxRole = "list" if id_ == LIST else "freed" if id_ in freed else "anon_vma"
            boxes[id_] = Box(x, top, width, height, role, text)
            x += width + GAP
        if boxes and pages:
            x += _APART - GAP
        page_boxes: dict[int, Box] = {}
        for id_, text in pages.items():
            width = _width(text)
            page_boxes[id_] = Box(x, top, width, height, "walked" if id_ == walked else "page", text)
            x += width + GAP
        return Columns(boxes, page_boxes, x - GAP if boxes or pages else left, height)

    return at


def _width(lines: Sequence[str]) -> float:
    return max(map(text_width, lines)) + 2 * _PADDING


def _list_name(state: State) -> tuple[str, ...]:
    """The list that a walk follows if its page points to no anon_vma."""
    page = state.walked
    if state.walk is None or not state.walk.visits or page is None or page.mapping is not None:
        return ()
    return ("the shared", "mapping's", "VMAs") if page.shared else ("every VMA", "of every", "process")


def _describe(anon_vma: AnonVma) -> tuple[str, ...]:
    name = f"anon_vma {anon_vma.id}"
    if anon_vma.freed:
        return name, "freed"
    return (
        name,
        "root" if anon_vma.parent == anon_vma.id else f"parent {anon_vma.parent}",
        f"children {anon_vma.children}",
        f"active {anon_vma.active}",
    )


def _describe_page(page: Page, state: State) -> tuple[str, ...]:
    name = (f"page {page.id}", f"at {page.at}")
    if page.mapping is not None:
        return (*name, "mapping", f"anon_vma {page.mapping}")
    if page.shared:
        return (*name, "of a shared", "mapping")
    if not page.mapped_by:
        return (*name, "in swap")
    return (*name, "no mapping")
