"""The command line of `memgroup`: the list of commands, and the dispatch from arguments to the work."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from memgroup._memgroup import __version__
from memgroup.cli import doctor, forkcost
from memgroup.cli.gather import command as gather
from memgroup.cli.help import HelpFormatter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_COMMANDS = {"gather": gather, "forkcost": forkcost, "doctor": doctor}


def run(arguments: Sequence[str]) -> int:
    """Run the command of `arguments`; report to stdout, and print errors to stderr.

    Returns:
        COMPLETE or INCOMPLETE.

    Raises:
        SystemExit: `arguments` are unusable, or asked only for help or the version.
        OSError: The report could not be written.
    """
    options = _parser().parse_args(arguments)
    work: Callable[[argparse.Namespace], int] = options.work
    return work(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memgroup", description="Allocate-only memory groups.", formatter_class=HelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"memgroup {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=command.DETAILS,
            formatter_class=HelpFormatter,
        )
        subparser.set_defaults(work=command.run)
        command.add_arguments(subparser)
    return parser
