"""The command line of `memgroup`: the list of commands, and the dispatch from arguments to the work."""

from __future__ import annotations

from importlib import import_module

from memgroup._memgroup import __version__
from memgroup.cli.help import Parser

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

# The module of each command, imported only if it is the one that runs, and the help for it.
_COMMANDS = {
    "gather": ("memgroup.cli.gather.command", "search files as grep does, or report on their sizes"),
    "forkcost": ("memgroup.cli.forkcost", "measure what a fork costs with a group of each backing"),
    "doctor": ("memgroup.cli.doctor", "say what this machine offers to groups, and what that means"),
}


def run(arguments: Sequence[str]) -> int:
    """Run the command of `arguments`; report to stdout, and print errors to stderr.

    Returns:
        The exit status of the command.

    Raises:
        SystemExit: `arguments` are unusable, or asked only for help or the version.
        OSError: The report could not be written.
    """
    if not arguments:
        arguments = ["--help"]
    options = _parser(arguments[0]).parse_args(arguments)
    work: Callable[[argparse.Namespace], int] = options.work
    return work(options)


def _parser(chosen: str) -> argparse.ArgumentParser:
    """The parser, with the arguments of the command `chosen`."""
    parser = Parser(
        prog="memgroup",
        description="Allocate-only memory groups.",
        epilog="memgroup COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"memgroup {__version__}")
    # With `prog`, argparse need not lay out a usage to find it, which takes longer than all else here.
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="memgroup")
    for name, (module, summary) in _COMMANDS.items():
        subparser = commands.add_parser(name, help=summary)
        if name == chosen:
            command = import_module(module)
            subparser.description, subparser.epilog = command.DESCRIPTION, command.DETAILS
            subparser.set_defaults(work=command.run)
            command.add_arguments(subparser)
    return parser
