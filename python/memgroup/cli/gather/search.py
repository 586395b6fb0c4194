"""`memgroup gather --find`: what the arguments mean to the compiled search, which does everything else."""

from __future__ import annotations

import os
import signal
import sys
from time import perf_counter

from memgroup._memgroup import search_files
from memgroup.cli.arguments import refuse
from memgroup.cli.status import FOUND, NOT_FOUND, UNUSABLE

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from memgroup.engines.searching import Figures
    from memgroup.engines.sums import Share


def search(options: argparse.Namespace) -> int:
    """Search and print; return the exit status, which is grep's."""
    # The search hears no signal, and leaves nothing behind that the kernel would not clean up.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    start = perf_counter()
    try:
        figures = search_files(
            [os.fsencode(path) for path in options.paths],
            [os.fsencode(text) for text in options.find],
            [*syntax(options)],
            [*style(options)],
            options.memory,
            options.threads,
            sys.stdout.fileno(),
        )
    except (ValueError, MemoryError) as error:
        refuse("gather", str(error))
    return conclude(options, figures, perf_counter() - start)


def conclude(
    options: argparse.Namespace, figures: Figures, seconds: float, shares: Mapping[str, Share] | None = None
) -> int:
    """Print the figures of a search if they are wanted; return the exit status."""
    if options.stats:
        from memgroup.cli.gather.report import searched
        from memgroup.cli.output import print_report

        print_report(searched(*figures, seconds, shares), sys.stderr)
    _, _, matches, _, problems = figures
    if problems and not (matches and options.quiet):
        return UNUSABLE
    return FOUND if matches else NOT_FOUND


def syntax(options: argparse.Namespace) -> Iterator[str]:
    """How the texts are to be understood."""
    if options.regex:
        yield "regex"
    if options.ignore_case:
        yield "ignore-case"


def style(options: argparse.Namespace) -> Iterator[str]:
    """What is to be printed."""
    if options.quiet:
        yield "quiet"
    elif options.files_with_matches:
        yield "files"
    elif options.count:
        yield "counts"
    if options.json:
        yield "json"
    if _is_coloured(options.color):
        yield "colour"
    if options.line_number:
        yield "numbers"
    if options.text:
        yield "text"
    if options.ignore:
        yield "ignore"


def row_style(options: argparse.Namespace) -> list[str]:
    """The same of a search for rows of a table."""
    return [name for name in ("text", "ignore") if getattr(options, name)]


def _is_coloured(when: str) -> bool:
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
