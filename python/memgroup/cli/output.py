"""Printing reports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memgroup.display.report import Report


def print_report(report: Report) -> None:
    """Print a report in the form that suits the reader: drawn on a terminal, otherwise as plain text."""
    if not sys.stdout.isatty():
        print(report)
        return
    from rich.console import Console

    Console(file=sys.stdout, highlight=False).print(report)
