"""Printing reports and errors."""

from __future__ import annotations

import sys

from memgroup.display.wrap import fit_terminal

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from memgroup.display.report import Report


def print_report(report: Report, file: TextIO | None = None) -> None:
    """Print a report in the form that suits the reader: drawn on a terminal, otherwise as plain text."""
    stream = sys.stdout if file is None else file
    if not stream.isatty():
        print(report.plain(), file=stream)
        return
    from rich.console import Console

    Console(file=stream, highlight=False).print(report)


def complain(words: str) -> None:
    """Print an error, wrapped if stderr is a terminal."""
    print(fit_terminal(words, sys.stderr), file=sys.stderr)
