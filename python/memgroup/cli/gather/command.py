"""The command `memgroup gather`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from memgroup import MemGroup
from memgroup.cli.arguments import SIZE_HELP, argument, count_or_all, refuse
from memgroup.cli.gather.inspect import Search
from memgroup.cli.gather.job import Job, gather
from memgroup.cli.gather.json import as_json
from memgroup.cli.gather.report import complaints, report
from memgroup.cli.output import print_report
from memgroup.cli.status import COMPLETE, INCOMPLETE
from memgroup.display.text import read_pattern, read_size, show_text
from memgroup.display.watching import watching

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

    from memgroup.cli.gather.job import Outcome

    _Add = Callable[..., Any]

HELP = "gather files into one group, protect, inspect and free them"

DESCRIPTION = """
Gather every file below some paths into one memory group, protect and inspect them, free them all in one shot.
"""

DETAILS = rf"""
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
{SIZE_HELP}
N:
  A number or "all". Totals are complete, however few are listed.

exit status:
  0    everything was gathered
  1    some files could not be read, or there was no memory for them
  2    bad usage, a PATH that does not exist, or output that cannot be written
  130  ended by Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file or a directory")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    _add_inspection(parser.add_argument_group("inspection").add_argument)
    _add_memory(parser.add_argument_group("memory").add_argument)


def _add_inspection(add: _Add) -> None:
    add(
        "--find",
        type=argument(read_pattern),
        metavar="BYTES",
        help="find these bytes, rather than tell the sizes of the files",
    )
    add(
        "--max-files",
        type=argument(count_or_all),
        default=50,
        metavar="N",
        help="of the files with matches list the first N (default: %(default)s)",
    )
    add(
        "--max-matches",
        type=argument(count_or_all),
        default=10,
        metavar="N",
        help="of the matches in a file list the first N (default: %(default)s)",
    )
    add(
        "--largest",
        type=argument(count_or_all),
        default=10,
        metavar="N",
        help="list the N largest files (default: %(default)s)",
    )


def _add_memory(add: _Add) -> None:
    add(
        "--base",
        type=argument(read_size),
        default=64 * 1024,
        metavar="SIZE",
        help="size of the group's first slot, rounded up to whole pages; each further slot has twice the "
        "size (default: 64K)",
    )
    add(
        "--limit",
        type=argument(read_size),
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


def run(options: argparse.Namespace) -> int:
    """Gather, and report."""
    _check_paths(options.paths)
    group = _group(options)
    with watching("files") as watch:
        outcome = gather(_job(options), group, watch)
    _show(outcome, options.json)
    return COMPLETE if outcome.complete else INCOMPLETE


def _check_paths(paths: Sequence[str]) -> None:
    """Refuse a path that does not exist, before any work is done: it is probably a typing error."""
    for path in paths:
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            shown = show_text(path) or "''"  # an empty string would be invisible
            refuse("gather", f"{shown}: {error.strerror}")
        except OSError:
            continue  # it may exist; the job will report its error


def _group(options: argparse.Namespace) -> MemGroup:
    try:
        return MemGroup(options.base, options.limit, options.backing, "gather")
    except FileNotFoundError:
        shown = show_text(options.backing)
        refuse("gather", f"--backing must be memfd, anonymous or a directory that exists, not {shown}")
    except NotADirectoryError:
        refuse("gather", f"--backing {show_text(options.backing)} is not a directory")
    except OSError as error:
        refuse("gather", error.strerror or str(error))
    except (ValueError, MemoryError) as error:
        refuse("gather", str(error))


def _job(options: argparse.Namespace) -> Job:
    if options.find is None:
        return Job(tuple(options.paths), options.largest)
    return Job(tuple(options.paths), Search(options.find, options.max_files, options.max_matches))


def _show(outcome: Outcome, wants_json: bool) -> None:
    """Report in the form that suits the reader, and print errors about missing files."""
    if wants_json:
        print(as_json(outcome))
    else:
        print_report(report(outcome))
    for line in complaints(outcome):
        print(f"memgroup: {line}", file=sys.stderr)
