"""The elements of a picture: plain data, in pixels. The role of a shape gives its meaning and its look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

FONT = 12.0
LINE = 15.0

BoxRole: TypeAlias = Literal["process", "vma", "anon_vma", "freed", "page", "walked", "list"]
DotRole: TypeAlias = Literal["entry", "found", "vain"]
CellRole: TypeAlias = Literal["mapped", "walked", "swapped", "lost"]
LabelRole: TypeAlias = Literal["title", "caption", "broken"]
LineRole: TypeAlias = Literal[
    "family", "chain", "members", "walk", "entries", "mapping", "walked", "dangling"
]

# The width of the widest common fixed-width font, and a margin.
_ADVANCE = 0.62


def text_width(text: str) -> float:
    """The width of a text."""
    return round(len(text) * FONT * _ADVANCE, 1)


class Area(NamedTuple):
    """The rectangle that a shape occupies."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with lines of text in it, the first of them its name."""

    x: float
    y: float
    width: float
    height: float
    role: BoxRole
    lines: tuple[str, ...] = ()

    @property
    def area(self) -> Area:
        """All of it."""
        return Area(self.x, self.y, self.x + self.width, self.y + self.height)


@dataclass(frozen=True, slots=True)
class Dot:
    """A chain entry, or a visit of the walk, which has a number; ringed for a VMA's own anon_vma."""

    x: float
    y: float
    role: DotRole
    own: bool = False
    number: int | None = None

    @property
    def radius(self) -> float:
        """Of the dot itself."""
        return 5.0 if self.number is None else 10.0

    @property
    def area(self) -> Area:
        """With the ring."""
        reach = self.radius + 4
        return Area(self.x - reach, self.y - reach, self.x + reach, self.y + reach)


@dataclass(frozen=True, slots=True)
class Cell:
    """A page table entry, around a point."""

    x: float
    y: float
    role: CellRole
    size: float = 20.0

    @property
    def area(self) -> Area:
        """All of it."""
        half = self.size / 2
        return Area(self.x - half, self.y - half, self.x + half, self.y + half)


@dataclass(frozen=True, slots=True)
class Label:
    """A text outside of boxes, from a point on its baseline to the right."""

    x: float
    y: float
    text: str
    role: LabelRole

    @property
    def area(self) -> Area:
        """All of it."""
        return Area(self.x, self.y - FONT, self.x + text_width(self.text), self.y + FONT / 4)


@dataclass(frozen=True, slots=True)
class Line:
    """A line with corners, from its owner to its target."""

    points: tuple[tuple[float, float], ...]
    role: LineRole


@dataclass(frozen=True, slots=True)
class Band:
    """The background of the row of a process, behind all other shapes."""

    x: float
    y: float
    width: float
    height: float


Solid: TypeAlias = Box | Dot | Cell | Label
"""What must not overlap."""

Shape: TypeAlias = Band | Line | Solid


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture, its shapes from the back to the front."""

    width: float
    height: float
    summary: str
    shapes: tuple[Shape, ...]
