"""A report on a terminal, drawn by rich: colours, and bars and paths fitted to its width."""

from __future__ import annotations

import sys
from itertools import compress
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from memgroup._report import BAD, FAIR, GOOD, Bar

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from memgroup._report import Column, Report, Table


# Columns of a terminal below which tables do without what can be spared.
_NARROW = 72

_STATES = {GOOD: "green", FAIR: "yellow", BAD: "bold red"}

# Columns that a bar takes.
_BAR_LEAST = 4
_BAR_MOST = 40


def show_on_terminal(report: Report) -> None:
    """Draw `report` on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    console.print(Text(report.headline, style="bold"))
    for remark in report.remarks:
        console.print(Text(remark, style="yellow"))
    for table in report.tables:
        console.print()
        console.print(_table(table, narrow=console.width < _NARROW))


def drawn(report: Report) -> RenderableType:
    """`report` for a console of somebody else's. Its remarks are no warnings."""
    return _Drawn(report)


class _Drawn:
    """A report as wide as the console it is drawn on."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._report.headline, style="bold")
        yield from map(Text, self._report.remarks)
        for table in self._report.tables:
            yield _table(table, narrow=options.max_width < _NARROW)


def _table(table: Table, narrow: bool) -> RenderableType:
    parts: list[RenderableType] = [Text(table.title, style="bold cyan")]
    if table.rows:
        parts.append(_indented(_grid(table, narrow)))
    if table.note:
        parts.append(_indented(Text(table.note, style="dim")))
    return Group(*parts)


def _indented(renderable: RenderableType) -> Padding:
    return Padding(renderable, (0, 0, 0, 2))


def _grid(table: Table, narrow: bool) -> RichTable:
    titled = any(column.title for column in table.columns)
    grid = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_header=titled)
    shown = [not (narrow and column.spare) for column in table.columns]
    for column in compress(table.columns, shown):
        _add_column(grid, column)
    for row in table.rows:
        grid.add_row(
            *(_cell(cell, column) for cell, column in compress(zip(row, table.columns, strict=True), shown))
        )
    return grid


def _add_column(grid: RichTable, column: Column) -> None:
    grid.add_column(
        column.title,
        justify="right" if column.kind == "number" else "left",
        no_wrap=column.kind in ("number", "word", "state"),
        overflow="fold",  # a long path is broken rather than cut
    )


def _cell(cell: str | Bar, column: Column) -> RenderableType:
    if isinstance(cell, Bar):
        return _BarView(cell)
    return Text(cell, style=_STATES[cell]) if column.kind == "state" else Text(cell)


class _BarView:
    """A bar as wide as there is room for."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_BAR_LEAST, _BAR_MOST).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, taken, rest = self._bar.cells(min(_BAR_MOST, options.max_width))
        marked = self._bar.marked_cells(min(_BAR_MOST, options.max_width))
        marked_sign, full_sign, taken_sign, rest_sign = "=#-." if options.ascii_only else "▓█▒·"
        yield Text.assemble(
            (marked_sign * marked, "blue"),
            (full_sign * (full - marked), "green"),
            (taken_sign * taken, "yellow"),
            (rest_sign * rest, "dim"),
        )
