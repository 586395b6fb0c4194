"""The meaning of the signs that are in a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.display.rmap.shapes import Box, Cell, Dot, Label, text_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from memgroup.display.rmap.shapes import Shape

_LINE = 30.0
_SIGN = 34.0
_GAP = 26.0


def plan_legend(
    shapes: Iterable[Shape], has_chains: bool, left: float, top: float, right: float
) -> tuple[list[Shape], float]:
    """The legend below `top`, and its end."""
    used = {key for shape in shapes for key in _keys(shape)}
    laid: list[Shape] = []
    x, y = left, top + _LINE / 2
    for key, (sign, text) in _entries(has_chains).items():
        if key not in used:
            continue
        width = _SIGN + text_width(text)
        if x > left and x + width > right:
            x, y = left, y + _LINE
        laid.append(sign(x + _SIGN / 2 - 4, y))
        laid.append(Label(x + _SIGN, y + 4, text, "caption"))
        x += width + _GAP
    return laid, y + _LINE / 2 if laid else top


def widest(has_chains: bool) -> float:
    """The minimum width of a legend."""
    return max(_SIGN + text_width(text) for _, text in _entries(has_chains).values())


def _keys(shape: Shape) -> tuple[str, ...]:
    match shape:
        case Dot(role="entry", own=True):
            return ("entry", "own")
        case Dot(role=role, own=own):
            return (role, "own") if own else (role,)
        case Cell(role=role):
            return (role,)
        case Box(role="freed"):
            return ("freed",)
        case _:
            return ()


def _entries(has_chains: bool) -> dict[str, tuple[Callable[[float, float], Shape], str]]:
    linked = "chain entry" if has_chains else "VMA in the anon_vma's list"
    return {
        "entry": (lambda x, y: Dot(x, y, "entry"), linked),
        "own": (lambda x, y: Dot(x, y, "entry", own=True), "ringed: the VMA's own anon_vma"),
        "found": (lambda x, y: Dot(x, y, "found", number=1), "visit of the walk, in order: maps the page"),
        "vain": (lambda x, y: Dot(x, y, "vain", number=2), "visit in vain: does not map it"),
        "mapped": (lambda x, y: Cell(x, y, "mapped"), "page table entry"),
        "walked": (lambda x, y: Cell(x, y, "walked"), "page table entry of the walk's page"),
        "swapped": (lambda x, y: Cell(x, y, "swapped"), "page table entry: in swap"),
        "lost": (lambda x, y: Cell(x, y, "lost"), "maps the page, and its walk does not find it"),
        "freed": (lambda x, y: Box(x - 11, y - 8, 22, 16, "freed"), "freed: the page's mapping dangles"),
    }
