"""The command line of `memgroup`: its options, and the way from there to a report."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from memgroup import MemGroup
from memgroup._cli import COMPLETE, INCOMPLETE, UNUSABLE
from memgroup._gather import Job, gather
from memgroup._inspect import Search
from memgroup._json import as_json
from memgroup._memgroup import __version__
from memgroup._plain import as_plain
from memgroup._report import complaints, report
from memgroup._text import read_pattern, read_size, show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any, NoReturn

    from memgroup._gather import Outcome, Watch

    _Add = Callable[..., Any]

_ABOUT = """
Gather every file below some paths into one memory group, protect and inspect them,
free them all in one shot.
"""

_DETAILS = r"""
paths:
  Directories are searched to any depth. A symlink is followed if it is given
  as PATH; below a PATH, symlinks, fifos, sockets and devices are skipped.
  A file is gathered once, however many PATHs lead to it. Of one that announces
  no size, as those of /proc, up to 64 MiB are read; if it goes on, it counts
  as a file that cannot be read.

BYTES:
  Text, taken as UTF-8. \xNN stands for any byte, \n, \r, \t for line feed,
  carriage return and tab, \\ for a backslash. Matches do not overlap. File
  names are shown in the same way, other unprintable bytes as \xNN.

SIZE:
  Bytes, or with a suffix: K, M, G, T (or KiB, ...) are powers of 1024,
  KB, MB, ... are powers of 1000.

N:
  A number or "all". Totals are complete, however few are listed.

exit status:
  0    everything was gathered
  1    some files could not be read, or memory ended before the last
  2    bad usage, a PATH that does not exist, or output that cannot be written
  130  ended by Ctrl-C
"""


def run(arguments: Sequence[str]) -> int:
    """Do what `arguments` ask for; report to stdout, complain to stderr.

    Returns:
        COMPLETE or INCOMPLETE.

    Raises:
        SystemExit: `arguments` are unusable, or asked only for help or the version.
        OSError: The report could not be written.
    """
    options = _parser().parse_args(arguments)
    _check_paths(options.paths)
    group = _group(options)
    with _watching() as watch:
        outcome = gather(_job(options), group, watch)
    _show(outcome, options.json)
    return COMPLETE if outcome.complete else INCOMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="memgroup", description="Allocate-only memory groups.")
    parser.add_argument("--version", action="version", version=f"memgroup {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_gather(
        commands.add_parser(
            "gather",
            help="gather files into one group, protect, inspect and free them",
            description=_ABOUT,
            epilog=_DETAILS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_gather(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file or a directory")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    _add_inspection(parser.add_argument_group("inspection").add_argument)
    _add_memory(parser.add_argument_group("memory").add_argument)


def _add_inspection(add: _Add) -> None:
    add(
        "--find",
        type=_argument(read_pattern),
        metavar="BYTES",
        help="find these bytes, rather than tell the sizes of the files",
    )
    add(
        "--max-files",
        type=_argument(_read_number),
        default=50,
        metavar="N",
        help="of the files with matches list the first N (default: %(default)s)",
    )
    add(
        "--max-matches",
        type=_argument(_read_number),
        default=10,
        metavar="N",
        help="of the matches in a file list the first N (default: %(default)s)",
    )
    add(
        "--largest",
        type=_argument(_read_number),
        default=10,
        metavar="N",
        help="list the N largest files (default: %(default)s)",
    )


def _add_memory(add: _Add) -> None:
    add(
        "--base",
        type=_argument(read_size),
        default=64 * 1024,
        metavar="SIZE",
        help="size of the group's first slot, rounded up to whole pages; each further slot has twice the "
        "size (default: 64K)",
    )
    add(
        "--limit",
        type=_argument(read_size),
        metavar="SIZE",
        help="the most memory that the group may commit (default: what the machine has)",
    )
    add(
        "--backing",
        default="memfd",
        metavar="WHERE",
        help="where memory comes from: memfd, anonymous (nothing can be protected), "
        "or a directory for temporary files (default: %(default)s)",
    )


def _argument(read: Callable[[str], object]) -> Callable[[str], object]:
    """`read` for argparse, with the words of its ValueError, which argparse would replace by its own."""

    def convert(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _read_number(text: str) -> int:
    if text == "all":
        return sys.maxsize
    if text.isascii() and text.isdecimal():
        return int(text)
    raise ValueError(f"give a number from 0 on, or all; not {show_text(text)}")


def _check_paths(paths: Sequence[str]) -> None:
    """Refuse a path where there is nothing, before any work is done: it is a slip of the pen."""
    for path in paths:
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            _refuse(f"{_show_argument(path)}: {error.strerror}")
        except OSError:
            continue  # it may be there; the job will say what is wrong with it


def _group(options: argparse.Namespace) -> MemGroup:
    try:
        return MemGroup(options.base, options.limit, options.backing, "gather")
    except FileNotFoundError:
        shown = show_text(options.backing)
        _refuse(f"--backing must be memfd, anonymous or a directory that exists, not {shown}")
    except NotADirectoryError:
        _refuse(f"--backing {show_text(options.backing)} is not a directory")
    except OSError as error:
        _refuse(error.strerror or str(error))
    except (ValueError, MemoryError) as error:
        _refuse(str(error))


def _refuse(reason: str) -> NoReturn:
    """End before any work is done. No usage is shown: the arguments were understood."""
    print(f"memgroup gather: {reason}", file=sys.stderr)
    raise SystemExit(UNUSABLE)


def _show_argument(text: str) -> str:
    """`text` as an error names it; nothing at all would be overlooked."""
    return show_text(text) or "''"


def _job(options: argparse.Namespace) -> Job:
    if options.find is None:
        return Job(tuple(options.paths), options.largest)
    return Job(tuple(options.paths), Search(options.find, options.max_files, options.max_matches))


@contextmanager
def _watching() -> Generator[Watch]:
    """Show progress where somebody can see it."""
    if not sys.stderr.isatty():
        yield _look_away
        return
    from memgroup._progress import LiveProgress

    bar = LiveProgress()
    try:
        yield bar
    finally:
        bar.close()


def _look_away(step: str, done: Callable[[], int], total: int | None) -> None:
    """Watch nothing."""


def _show(outcome: Outcome, wants_json: bool) -> None:
    """Report in the form that suits the reader, and complain about what is missing."""
    if wants_json:
        print(as_json(outcome))
    elif sys.stdout.isatty():
        from memgroup._terminal import show_on_terminal

        show_on_terminal(report(outcome))
    else:
        print(as_plain(report(outcome)))
    for line in complaints(outcome):
        print(f"memgroup: {line}", file=sys.stderr)
