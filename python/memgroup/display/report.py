"""A report: a headline, remarks and tables. rich draws it, and `str` writes it as plain text without rich."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

State = Literal["ok", "note", "MISSING"]

_STATE_STYLES = {"ok": "green", "note": "yellow", "MISSING": "bold red"}

# Widths in characters.
_BAR_MIN = 4
_BAR_MAX = 40
_PLAIN_BAR = 32
_TEXT_MIN = 28
_GAP = 2
_INDENT = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from 0 to 1 with two parts at its beginning: `full`, and after it up to `taken`.

    The beginning of `full`, up to `marked`, is highlighted.
    """

    full: float
    taken: float = 0.0
    marked: float = 0.0

    def cells(self, width: int) -> tuple[int, int, int]:
        """The numbers of full, taken and remaining cells of `width`; every part above 0 gets a cell."""
        full = max(round(self.full * width), int(self.full > 0))
        taken = max(round(self.taken * width) - full, 0)
        return full, taken, width - full - taken

    def marked_cells(self, width: int) -> int:
        """The number of highlighted full cells; both shares get a cell if they are above 0."""
        full = self.cells(width)[0]
        marked = max(round(self.marked * width), int(self.marked > 0))
        return min(marked, full if self.marked >= self.full else max(full - 1, 1))

    def parts(self, width: int) -> tuple[int, int, int, int]:
        """The numbers of marked, full, taken and remaining cells of `width`."""
        full, taken, rest = self.cells(width)
        marked = self.marked_cells(width)
        return marked, full - marked, taken, rest

    def __str__(self) -> str:
        """The bar as plain text."""
        drawn = "".join(sign * number for sign, number in zip("=#- ", self.parts(_PLAIN_BAR), strict=True))
        return f"[{drawn}]"

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """A bar fills the available width."""
        from rich.measure import Measurement

        return Measurement(_BAR_MIN, _BAR_MAX).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The bar in colours."""
        from rich.text import Text

        signs = zip(
            "=#-." if options.ascii_only else "▓█▒·",
            self.parts(min(_BAR_MAX, options.max_width)),
            ("blue", "green", "yellow", "dim"),
            strict=True,
        )
        yield Text.assemble(*((sign * number, style) for sign, number, style in signs))


Cell = str | Bar


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: The heading.
        kind: Numbers are aligned right; only texts, which may be long, are wrapped; bars fill the remaining
        width; the colour of a state shows its meaning.
        spare: Whether a narrow terminal may omit it.
    """

    title: str
    kind: Literal["number", "word", "text", "bar", "state"] = "number"
    spare: bool = False

    @property
    def justify(self) -> Literal["left", "right"]:
        """The alignment of its cells."""
        return "right" if self.kind == "number" else "left"

    def min_width(self, cells: Iterable[Cell]) -> int:
        """The smallest width that truncates none of its cells."""
        if self.kind == "bar":
            return _BAR_MIN
        width = max(map(len, (self.title, *map(str, cells))))
        return min(width, _TEXT_MIN) if self.kind == "text" else width

    def drawn(self, cell: Cell) -> RenderableType:
        """A cell of the column for rich."""
        return cell if isinstance(cell, Bar) else self._text(cell)

    def titled(self, cell: Cell) -> Text:
        """A cell of the column after its title; nothing if it is empty or a bar."""
        from rich.text import Text

        if isinstance(cell, Bar) or not cell:
            return Text()
        title = Text(f"{self.title} " if self.title else "", style="dim")
        return Text.assemble(title, self._text(cell))

    def _text(self, cell: str) -> Text:
        """The text of a cell, never interpreted as markup."""
        from rich.text import Text

        return Text(cell, style=_STATE_STYLES[cell] if self.kind == "state" else "")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title, with a note below them."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table in colours. A narrow console omits spare columns, a narrower one stacks each row."""
        from rich.padding import Padding
        from rich.text import Text

        yield Text(self.title, style="bold cyan")
        if self.rows:
            yield Padding.indent(self._body(options.max_width - _INDENT), _INDENT)
        if self.note:
            yield Padding.indent(Text(self.note, style="dim"), _INDENT)

    def _body(self, width: int) -> RenderableType:
        for table in (self, self._without([column.spare for column in self.columns])):
            if table._min_width() <= width:
                return table._grid()
        return self._stacked(width)

    def _without(self, left_out: list[bool]) -> Table:
        kept = [not out for out in left_out]
        rows = (tuple(compress(row, kept)) for row in self.rows)
        return Table(self.title, tuple(compress(self.columns, kept)), tuple(rows), self.note)

    def _min_width(self) -> int:
        cells = zip(*self.rows, strict=True)
        widths = [column.min_width(below) for column, below in zip(self.columns, cells, strict=True)]
        return sum(widths) + _GAP * (len(widths) - 1)

    def _grid(self) -> RichTable:
        from rich.table import Table as RichTable

        titled = any(column.title for column in self.columns)
        grid = RichTable(
            box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim", show_header=titled
        )
        for column in self.columns:
            grid.add_column(
                column.title,
                justify=column.justify,
                no_wrap=column.kind not in ("text", "bar"),
                overflow="fold",
            )
        for row in self.rows:
            grid.add_row(*(column.drawn(cell) for column, cell in zip(self.columns, row, strict=True)))
        return grid

    def _stacked(self, width: int) -> RenderableType:
        """Each row as a paragraph, in which every number follows its title."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.text import Text

        paragraphs: list[RenderableType] = []
        for row in self.rows:
            lines = [Text()]
            for column, cell in zip(self.columns, row, strict=True):
                part = column.titled(cell)
                fits = len(lines[-1]) + _GAP + len(part) <= width - _INDENT and column.kind != "text"
                if lines[-1] and part and not fits:
                    lines.append(Text())
                lines[-1] = Text(" " * _GAP).join(filter(None, [lines[-1], part]))
            paragraphs += [lines[0], *(Padding.indent(line, _INDENT) for line in lines[1:])]
        return Group(*paragraphs)

    def __str__(self) -> str:
        """The table as plain text, as wide as it gets."""
        titles = tuple(column.title for column in self.columns)
        cells = [*([titles] if any(titles) else []), *(tuple(map(str, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (self._plain_line(row, widths) for row in cells) if self.rows else ()
        return "\n".join([self.title, *lines, *([f"  {self.note}"] if self.note else [])])

    def _plain_line(self, row: tuple[str, ...], widths: list[int]) -> str:
        aligned = (
            cell.rjust(width) if column.justify == "right" else cell.ljust(width)
            for cell, column, width in zip(row, self.columns, widths, strict=True)
        )
        return f"  {'  '.join(aligned)}".rstrip()


@dataclass(frozen=True, slots=True)
class Report:
    """A report for people: a headline, remarks, and tables.

    rich draws it as wide as the console; `str` gives plain text, the same at any width, for files and pipes.
    """

    headline: str
    remarks: tuple[str, ...]
    tables: tuple[Table, ...]
    remark_style: str = "yellow"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The report in colours."""
        from rich.text import Text

        yield Text(self.headline, style="bold")
        yield from (Text(remark, style=self.remark_style) for remark in self.remarks)
        for table in self.tables:
            yield ""
            yield table

    def __str__(self) -> str:
        """The report as plain text."""
        head = "\n".join((self.headline, *self.remarks))
        return "\n\n".join((head, *map(str, self.tables)))
