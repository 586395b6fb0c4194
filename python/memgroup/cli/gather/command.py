"""The command `memgroup gather`: its arguments. The work is imported when it is known what that is."""

from __future__ import annotations

from memgroup.cli.arguments import SIZE_HELP, argument, count_or_all, positive, refuse
from memgroup.display.text import read_size, show_text

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    _Add = Callable[..., Any]

DESCRIPTION = """
Search every file below some paths, as grep -r does, in bounded memory; or report on their sizes.
"""

DETAILS = rf"""
paths:
  Directories are searched to any depth, files in the order of their names; the current directory without
  PATH, standard input for -. A symlink is followed if it is given as PATH; below a PATH, symlinks, fifos,
  sockets and devices are skipped.

TEXT:
  Taken as it is; each line of it is a TEXT of its own. With --regex, a regular expression of Rust's regex
  crate, matched line by line. Letters are those of the locale's character set.

output:
  path:line:text of each line in which a TEXT occurs, as grep -rn prints it, without path if PATH is one file.
  Lines of binary files, which have a zero byte, and lines that are not in the locale's character set are not
  printed unless -a is given: standard error says that the file matches. --json prints an object in each
  line: path, line, offset, text, matches (pairs of offsets in the line); what is no UTF-8 has its bytes in
  path_base64, text_base64. --out writes path, path_bytes (of a path that is no UTF-8), offset, line (with
  --find), and bytes: of the line, or of the file. A file that is larger than a quarter of --memory takes
  several rows.
{SIZE_HELP}
exit status:
  0    something was found; without --find: everything was read
  1    nothing was found
  2    something could not be read (with -q, only if nothing was found), or bad usage
  130  ended by Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a file or a directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    _add_search(parser.add_argument_group("search").add_argument)
    _add_files(parser.add_argument_group("files and memory").add_argument)
    _add_workers(parser.add_argument_group("workers").add_argument)
    _add_report(parser.add_argument_group("report").add_argument)


def _add_search(add: _Add) -> None:
    add("--find", action="append", metavar="TEXT", help="print the lines with TEXT; repeat it for several")
    add("-i", "--ignore-case", action="store_true", help="ignore the case of letters")
    add("--regex", action="store_true", help="TEXT is a regular expression")
    add("-c", "--count", action="store_true", help="print path:number of lines, of every file")
    add("-l", "--files-with-matches", action="store_true", help="print the paths of files with TEXT")
    add("-q", "--quiet", action="store_true", help="print nothing, and exit at the first line with TEXT")
    add("-n", "--line-number", action="store_true", default=True, help="print line numbers (the default)")
    add("--no-line-number", dest="line_number", action="store_false", help="print path:text")
    add("-a", "--text", action="store_true", help="search binary files as text")
    add(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="print in colour: on a terminal (auto, the default), always or never",
    )


def _add_files(add: _Add) -> None:
    add("--ignore", action="store_true", help="skip .git and the paths that the files .gitignore name")
    add(
        "--memory",
        type=argument(read_size),
        default=256 * 1024 * 1024,
        metavar="SIZE",
        help="the most memory for file contents (default: 256M)",
    )
    add(
        "--threads",
        type=argument(positive),
        default=0,
        metavar="N",
        help="search in N threads (default: as many as there are processors, up to 12)",
    )

    add(
        "--out",
        type=argument(_table_path),
        metavar="FILE",
        help="write a table, a row for each line with TEXT, or for each file without --find, to FILE.parquet "
        "or FILE.arrow (by pyarrow)",
    )


def _add_workers(add: _Add) -> None:
    add(
        "--on",
        type=argument(_workers),
        metavar="WORKERS",
        help="have workers search the files: local (processes of this machine), dask://HOST:PORT (a "
        "scheduler) or ray://HOST:PORT (a client server); they need the files at the same paths",
    )
    add(
        "--batch",
        type=argument(read_size),
        default=32 * 1024 * 1024,
        metavar="SIZE",
        help="the most bytes that a worker gets at once (default: 32M)",
    )


def _workers(text: str) -> str:
    from memgroup.engines.connect import address

    return address(text)


def _table_path(text: str) -> str:
    if text.endswith((".parquet", ".arrow")):
        return text
    raise ValueError(f"give a file that ends in .parquet or .arrow, not {show_text(text)}")


def _add_report(add: _Add) -> None:
    add("--stats", action="store_true", help="report; with --find to standard error, after the lines")
    add(
        "--largest",
        type=argument(count_or_all),
        default=10,
        metavar="N",
        help='list the N largest files, or "all" (default: %(default)s)',
    )
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
        help="the most memory that the group may commit (default: no limit but the machine's)",
    )
    add(
        "--backing",
        default="memfd",
        metavar="WHERE",
        help="the source of memory: memfd, anonymous (cannot be protected), "
        "or a directory for temporary files (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Search, write a table, or report."""
    if options.out is not None:
        try:
            from memgroup.cli.gather import table
        except ModuleNotFoundError as error:
            if error.name != "pyarrow":
                raise
            refuse("gather", "--out needs pyarrow: pip install pyarrow")
        return table.write_files(options) if options.find is None else table.write_matches(options)
    if options.find is None:
        from memgroup.cli.gather.survey import survey

        return survey(options)
    if options.on is not None:
        from memgroup.cli.gather.spread import search_on_workers

        return search_on_workers(options)
    from memgroup.cli.gather.search import search

    return search(options)
