"""The command `memgroup forkcost`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.cli.arguments import SIZE_HELP, argument, positive, refuse
from memgroup.cli.output import print_report
from memgroup.cli.status import COMPLETE
from memgroup.display.text import read_size
from memgroup.display.watching import watching

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from memgroup.forkcost import Measurement

DESCRIPTION = """
Measure on this machine what a fork costs a process with a group: a small process writes to all of the group,
forks a family of processes, and measures the last fork.
"""

DETAILS = f"""
WHAT:
  none (no group at all), memfd, anonymous, or a directory; behind it +huge (huge pages) or +dontfork
  (children do not get it). Without --backing: none, memfd, memfd+huge, anonymous, anonymous+huge,
  anonymous+dontfork.

SHAPE:
  star:N (N children of one), chain:N (N generations), tree:DEPTH (two children each) or tree:DEPTH:CHILDREN.
  All stay alive until the last has been forked.
{SIZE_HELP}
exit status:
  0    it was measured
  2    bad usage, more than the machine has room for, or output that cannot be written
  130  ended by Ctrl-C; no process is left behind
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add(
        "size",
        nargs="?",
        type=argument(read_size),
        default=256 << 20,
        metavar="SIZE",
        help="of the group (default: 256M)",
    )
    add(
        "--backing",
        action="append",
        type=argument(_backing),
        metavar="WHAT",
        help="the backing of the group; repeat the option to compare several",
    )
    add(
        "--shape",
        type=argument(_shape),
        default="star:1",
        metavar="SHAPE",
        help="the family of processes (default: %(default)s)",
    )
    add(
        "--mappings",
        type=argument(positive),
        default=1,
        metavar="N",
        help="spread the bytes over N slots (default: %(default)s)",
    )
    add(
        "--rounds",
        type=argument(positive),
        default=7,
        metavar="N",
        help="fork the family N times, for medians (default: %(default)s)",
    )
    add("--json", action="store_true", help="report as one JSON object")


# Its modules are imported only to measure.


def _backing(text: str) -> str:
    from memgroup.forkcost._backing import read_backing

    return read_backing(text).name


def _shape(text: str) -> str:
    from memgroup.forkcost._shape import read_shape

    return read_shape(text).name


def run(options: argparse.Namespace) -> int:
    """Measure, and report."""
    from memgroup.forkcost._report import as_json, report

    measured = _measure(options)
    if options.json:
        print(as_json(measured))
    else:
        print_report(report(measured))
    return COMPLETE


def _measure(options: argparse.Namespace) -> Sequence[Measurement]:
    from memgroup.forkcost import DEFAULT_BACKINGS, compare

    try:
        with watching("rounds") as watch:
            return compare(
                options.size,
                options.backing or DEFAULT_BACKINGS,
                options.shape,
                mappings=options.mappings,
                rounds=options.rounds,
                watch=watch,
            )
    except OSError as error:
        refuse("forkcost", error.strerror or str(error))
    except (ValueError, MemoryError, RuntimeError) as error:
        refuse("forkcost", str(error))
