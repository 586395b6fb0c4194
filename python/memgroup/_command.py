"""The command line of `memgroup`: its options, and the way from there to a report."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from contextlib import contextmanager, suppress
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
    from io import FileIO
    from typing import Any, NoReturn

    from memgroup._gather import Outcome, Watch
    from memgroup._report import Report
    from memgroup.forkcost import Measurement

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


_ABOUT_DOCTOR = """
Say what this machine offers to memory groups, by trying it, and what that means. Nothing is changed.
"""

_DOCTOR_DETAILS = """
Each line says how it is (ok; note: worth knowing, groups work; MISSING: groups need it), what was
looked at, what was found, and what that means.

exit status:
  0    everything that groups need is there
  1    something is missing
  2    bad usage, or output that cannot be written
"""

_ABOUT_FORKCOST = """
Measure on this machine what a fork costs a process with a group: once it is written to, a family of processes
is forked from a small process of its own, and the last fork is looked at.
"""

_FORKCOST_DETAILS = """
WHAT:
  none (no group at all), memfd, anonymous, or a directory; behind it +huge (huge
  pages) or +dontfork (children do not get it). Without --backing: none, memfd,
  memfd+huge, anonymous, anonymous+huge, anonymous+dontfork.

SHAPE:
  star:N (N children of one), chain:N (N generations), tree:DEPTH (two children
  each) or tree:DEPTH:CHILDREN. All stay alive until the last has been forked.

SIZE:
  Bytes, or with a suffix: K, M, G, T (or KiB, ...) are powers of 1024,
  KB, MB, ... are powers of 1000.

exit status:
  0    it was measured
  2    bad usage, more than the machine has room for, or output that cannot be written
  130  ended by Ctrl-C; no process is left behind
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
    work: Callable[[argparse.Namespace], int] = options.work
    return work(options)


def _gather(options: argparse.Namespace) -> int:
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
    _add_forkcost(
        commands.add_parser(
            "forkcost",
            help="measure what a fork costs with a group of each backing",
            description=_ABOUT_FORKCOST,
            epilog=_FORKCOST_DETAILS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_doctor(
        commands.add_parser(
            "doctor",
            help="say what this machine offers to groups, and what that means",
            description=_ABOUT_DOCTOR,
            epilog=_DOCTOR_DETAILS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(work=_doctor)
    parser.add_argument("--json", action="store_true", help="report as one JSON object")


def _doctor(options: argparse.Namespace) -> int:
    from memgroup._doctor import examine
    from memgroup._doctor.report import as_json, report, works

    findings = examine()
    if options.json:
        print(as_json(findings))
    else:
        _print_report(report(findings))
    return COMPLETE if works(findings) else INCOMPLETE


def _add_gather(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(work=_gather)
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


def _add_forkcost(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(work=_forkcost)
    add = parser.add_argument
    size = _argument(read_size)
    add("size", nargs="?", type=size, default=256 << 20, metavar="SIZE", help="of the group (default: 256M)")
    add(
        "--backing",
        action="append",
        type=_argument(_read_backing),
        metavar="WHAT",
        help="what the group is made of; give it again to compare",
    )
    add(
        "--shape",
        type=_argument(_read_shape),
        default="star:1",
        metavar="SHAPE",
        help="the family of processes (default: %(default)s)",
    )
    add(
        "--mappings",
        type=_argument(_read_positive),
        default=1,
        metavar="N",
        help="spread the bytes over N slots (default: %(default)s)",
    )
    add(
        "--rounds",
        type=_argument(_read_positive),
        default=7,
        metavar="N",
        help="fork the family N times, for medians (default: %(default)s)",
    )
    add("--json", action="store_true", help="report as one JSON object")
    add("--svg", metavar="FILE", help="draw the figures into FILE as well")


def _read_backing(text: str) -> str:
    from memgroup.forkcost._backing import read_backing

    return read_backing(text).name


def _read_shape(text: str) -> str:
    from memgroup.forkcost._shape import read_shape

    return read_shape(text).name


def _read_positive(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text):
        return int(text)
    raise ValueError(f"give a number from 1 on, not {show_text(text)}")


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


def _refuse(reason: str, command: str = "gather") -> NoReturn:
    """End before any work is done. No usage is shown: the arguments were understood."""
    print(f"memgroup {command}: {reason}", file=sys.stderr)
    raise SystemExit(UNUSABLE)


def _show_argument(text: str) -> str:
    """`text` as an error names it; nothing at all would be overlooked."""
    return show_text(text) or "''"


def _job(options: argparse.Namespace) -> Job:
    if options.find is None:
        return Job(tuple(options.paths), options.largest)
    return Job(tuple(options.paths), Search(options.find, options.max_files, options.max_matches))


def _forkcost(options: argparse.Namespace) -> int:
    from memgroup.forkcost._report import as_json as forkcost_as_json
    from memgroup.forkcost._report import report as forkcost_report

    with _picture(options.svg) as picture:
        measured = _measure(options)
        if options.json:
            print(forkcost_as_json(measured))
        else:
            _print_report(forkcost_report(measured))
        if picture:
            _draw(measured, options.svg, picture)
    return COMPLETE


def _measure(options: argparse.Namespace) -> Sequence[Measurement]:
    from memgroup.forkcost import DEFAULT_BACKINGS, compare

    try:
        with _watching("rounds") as watch:
            return compare(
                options.size,
                options.backing or DEFAULT_BACKINGS,
                options.shape,
                mappings=options.mappings,
                rounds=options.rounds,
                watch=watch,
            )
    except OSError as error:
        _refuse(error.strerror or str(error), "forkcost")
    except (ValueError, MemoryError, RuntimeError) as error:
        _refuse(str(error), "forkcost")


@contextmanager
def _picture(path: str | None) -> Generator[FileIO | None]:
    """The file to draw into, opened before any work is done; a new one is removed if nothing comes of it."""
    if path is None:
        yield None
        return
    is_new = not os.path.lexists(path)
    try:
        file = open(path, "ab", buffering=0)  # noqa: SIM115  (closed below; what is there is kept until then)
    except OSError as error:
        _refuse(f"cannot write {_show_argument(path)}: {error.strerror}", "forkcost")
    with file:
        try:
            yield file
        except BaseException:
            if is_new:
                with suppress(OSError):
                    os.unlink(path)
            raise


def _draw(measured: Sequence[Measurement], path: str, file: FileIO) -> None:
    from memgroup.forkcost._svg import as_svg

    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        picture = memoryview(as_svg(measured).encode())
        while picture:
            picture = picture[file.write(picture) :]
    except OSError as error:
        _refuse(f"cannot write {_show_argument(path)}: {error.strerror}", "forkcost")


@contextmanager
def _watching(noun: str = "files") -> Generator[Watch]:
    """Show progress where somebody can see it; `noun` is what it counts."""
    if not sys.stderr.isatty():
        yield _look_away
        return
    from memgroup._progress import LiveProgress

    bar = LiveProgress(noun)
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
    else:
        _print_report(report(outcome))
    for line in complaints(outcome):
        print(f"memgroup: {line}", file=sys.stderr)


def _print_report(said: Report) -> None:
    if sys.stdout.isatty():
        from memgroup._terminal import show_on_terminal

        show_on_terminal(said)
    else:
        print(as_plain(said))
