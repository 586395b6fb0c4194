"""Reports and help on terminals of any width: no cell is truncated, and no number or word is broken."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from memgroup.display.report import Bar, Column, Report, Table
from memgroup.doctor import examine
from memgroup.doctor.report import report as doctor_report
from memgroup.forkcost import compare
from memgroup.forkcost._report import report as forkcost_report
from rich.console import Console

WIDTHS = [40, 60, 80, 120]


def lines(report: Report, width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(report)
    return text.getvalue().splitlines()


def assert_whole(report: Report, width: int) -> None:
    """No line is too long, and every cell but texts, which may be wrapped, is on one line."""
    drawn = lines(report, width)
    assert max(map(len, drawn)) <= width
    text = "\n".join(drawn)
    for table in report.tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row, strict=True):
                if isinstance(cell, str) and column.kind != "text" and not (column.spare and width < 80):
                    assert cell in text


@pytest.mark.parametrize("width", WIDTHS)
def test_doctor_truncates_nothing(width):
    assert_whole(doctor_report(examine()), width)


@pytest.fixture(scope="module")
def measured():
    return compare(1 << 20, ["none", "memfd+dontfork", "anonymous"], rounds=1)


@pytest.mark.parametrize("width", WIDTHS)
def test_forkcost_truncates_nothing(measured, width):
    assert_whole(forkcost_report(measured), width)


def test_rows_that_do_not_fit_are_stacked_with_their_titles():
    table = Table(
        "Files",
        (Column("bytes"), Column("", "bar"), Column("share"), Column("file", "text")),
        (("123,456 B", Bar(1), "12.5 %", "a" * 60), ("1 B", Bar(0), "", "b")),
    )
    assert [line.rstrip() for line in lines(Report("Two", (), (table,)), 40)] == [
        "Two",
        "",
        "Files",
        "  bytes 123,456 B  share 12.5 %",
        "    file",
        "    " + "a" * 36,
        "    " + "a" * 24,
        "  bytes 1 B",
        "    file b",
    ]


def command_help(command: str, width: int) -> str:
    return subprocess.check_output(
        [sys.executable, "-m", "memgroup", command, "--help"],
        env={**os.environ, "COLUMNS": str(width)},
        text=True,
    )


@pytest.mark.parametrize("command", ["gather", "forkcost", "doctor"])
def test_help_breaks_no_word(command):
    words = command_help(command, 200).split()
    for width in WIDTHS:
        text = command_help(command, width)
        assert max(map(len, text.splitlines())) <= width
        assert text.split() == words
