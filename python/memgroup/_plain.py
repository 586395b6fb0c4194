"""A report as plain text: no colours, no wrapping, the same at any width, for files and pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup._report import Bar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup._report import Column, Report, Table

_BAR_WIDTH = 32


def as_plain(report: Report) -> str:
    """`report` as lines of text."""
    paragraphs = [[report.headline, *report.remarks], *map(_table, report.tables)]
    return "\n\n".join("\n".join(lines) for lines in paragraphs)


def _table(table: Table) -> list[str]:
    if not table.rows:
        return [table.title, *_note(table)]
    titles = tuple(column.title for column in table.columns)
    cells = [*([titles] if any(titles) else []), *(tuple(map(_cell, row)) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [table.title, *(_line(row, table.columns, widths) for row in cells), *_note(table)]


def _note(table: Table) -> Iterator[str]:
    if table.note:
        yield f"  {table.note}"


def _cell(cell: str | Bar) -> str:
    return _bar(cell) if isinstance(cell, Bar) else cell


def _bar(bar: Bar) -> str:
    full, taken, rest = bar.cells(_BAR_WIDTH)
    marked = bar.marked_cells(_BAR_WIDTH)
    return f"[{'=' * marked}{'#' * (full - marked)}{'-' * taken}{' ' * rest}]"


def _line(row: tuple[str, ...], columns: tuple[Column, ...], widths: list[int]) -> str:
    aligned = (
        cell.rjust(width) if column.kind == "number" else cell.ljust(width)
        for cell, column, width in zip(row, columns, widths, strict=True)
    )
    return f"  {'  '.join(aligned)}".rstrip()
