"""The command `memgroup doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.cli.output import print_report
from memgroup.cli.status import COMPLETE, INCOMPLETE

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """
Say what this machine offers to memory groups, by trying it, and what that means. Nothing is changed.
"""

DETAILS = """
Each line says how it is (ok; note: worth knowing, groups work; MISSING: groups need it), what was
tested, the result, and what that means.

exit status:
  0    everything that groups need is there
  1    something is missing
  2    bad usage, or output that cannot be written
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="report as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Examine this machine, and report."""
    from memgroup.doctor import examine
    from memgroup.doctor.report import as_json, report, works

    findings = examine()
    if options.json:
        print(as_json(findings))
    else:
        print_report(report(findings))
    return COMPLETE if works(findings) else INCOMPLETE
