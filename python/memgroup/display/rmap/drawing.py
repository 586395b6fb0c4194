"""A finished picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from os import PathLike


@final
class Drawing:
    """A picture of a machine at one moment: SVG text, which Jupyter shows.

    Attributes:
        svg: The text. The same state gives the same text.
    """

    __slots__ = ("svg",)

    svg: str

    def __init__(self, svg: str) -> None:
        """Hold the text of a picture."""
        self.svg = svg

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture to a file.

        Raises:
            OSError: The file cannot be written.
        """
        Path(path).write_text(self.svg, encoding="utf-8")

    def __eq__(self, other: object) -> bool:
        """Whether two pictures look the same."""
        return self.svg == other.svg if isinstance(other, Drawing) else NotImplemented

    def __hash__(self) -> int:
        """A hash that agrees with `==`."""
        return hash(self.svg)

    def __repr__(self) -> str:
        """The size of the picture; the text itself is for files and browsers."""
        return f"<Drawing, {len(self.svg):,} characters of SVG>"

    def _repr_svg_(self) -> str:
        return self.svg
