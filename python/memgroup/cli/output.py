"""Printing reports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from memgroup.display.report import Report


def print_report(report: Report, file: TextIO | None = None) -> None:
    """Print a report in the form that suits the reader: drawn on a terminal, otherwise as plain text."""
    stream = sys.stdout if file is None else file
    if not stream.isatty():
        print(report, file=stream)
        return
    from rich.console import Console

    Console(file=stream, highlight=False).print(report)
