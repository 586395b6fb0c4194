"""A report: a headline, remarks and tables. rich draws it, and `plain` writes it as text without rich."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from memgroup.display.wrap import terminal_columns, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


@dataclass(frozen=True, slots=True)
class Prose:
    """A text that `wrap` wraps."""

    text: str
    style: str = ""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From the longest word to the whole text."""
        from rich.measure import Measurement
        from rich.text import Text

        return Measurement.get(console, options, Text(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The text, never interpreted as markup. A word that is too long is folded."""
        from rich.text import Text

        yield Text("\n".join(wrap(self.text, options.max_width)), style=self.style, overflow="fold")


Cell = str | Bar


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: The heading.
        kind: Numbers are aligned right; only texts, which may be long, are wrapped; bars fill the remaining
        width; the colour of a state shows its meaning.
    """

    title: str
    kind: Literal["number", "word", "text", "bar", "state"] = "number"

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
        if isinstance(cell, Bar):
            return cell
        return Prose(cell) if self.kind == "text" else self._text(cell)

    def alone(self, cell: Cell) -> Bar | Prose | None:
        """A cell of the column for a line of its own; None if it can share a line with others."""
        if isinstance(cell, Bar):
            return cell
        return Prose(f"{self.title} {cell}".strip()) if cell and self.kind == "text" else None

    def titled(self, cell: str) -> Text:
        """A cell of the column after its title; nothing if it is empty."""
        from rich.text import Text

        if not cell:
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
        """The table in colours. If it is too wide for the console, each row becomes a paragraph."""
        from rich.padding import Padding

        yield Prose(self.title, "bold cyan")
        if self.rows:
            fits = self._min_width() <= options.max_width - _INDENT
            yield Padding.indent(self._grid() if fits else Stack(self), _INDENT)
        if self.note:
            yield Padding.indent(Prose(self.note, "dim"), _INDENT)

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

    def plain(self) -> str:
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
class Stack:
    """The rows of a table as paragraphs, in which every number follows its title."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The rows in colours."""
        from rich.padding import Padding

        for row in self.table.rows:
            first, *more = self._lines(row, options.max_width - _INDENT)
            yield first
            yield from (Padding.indent(line, _INDENT) for line in more)

    def _lines(self, row: tuple[Cell, ...], width: int) -> Iterator[RenderableType]:
        """The lines of a row. Texts have lines of their own, and bars, so that all are equally long."""
        from rich.text import Text

        line = Text()
        for column, cell in zip(self.table.columns, row, strict=True):
            alone = column.alone(cell)
            part = Text() if alone else column.titled(str(cell))
            if line and (alone or len(line) + _GAP + len(part) > width):
                yield line
                line = Text()
            if alone:
                yield alone
            line = Text(" " * _GAP).join(filter(None, [line, part]))
        if line:
            yield line


@dataclass(frozen=True, slots=True)
class Report:
    """A report for people: a headline, remarks, and tables.

    rich draws it as wide as the console; `plain` gives text for files and pipes, the same at any width; `str`
    gives that text too, or a drawing without colours if stdout is a terminal on which the text does not fit.
    """

    headline: str
    remarks: tuple[str, ...]
    tables: tuple[Table, ...]
    remark_style: str = "yellow"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The report in colours."""
        yield Prose(self.headline, "bold")
        yield from (Prose(remark, self.remark_style) for remark in self.remarks)
        for table in self.tables:
            yield ""
            yield table

    def plain(self) -> str:
        """The report as plain text."""
        head = "\n".join((self.headline, *self.remarks))
        return "\n\n".join((head, *(table.plain() for table in self.tables)))

    def __str__(self) -> str:
        """The report for `print`."""
        text, columns = self.plain(), terminal_columns(sys.stdout)
        if columns is None or max(map(len, text.splitlines())) <= columns:
            return text
        from rich.console import Console

        console = Console(color_system=None, highlight=False)
        with console.capture() as drawn:
            console.print(self)
        return drawn.get().rstrip("\n")
