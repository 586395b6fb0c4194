"""`memgroup gather --on`: workers search batches of the files; this process prints what they have found."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

from memgroup._memgroup import is_text_utf8
from memgroup.cli.arguments import refuse
from memgroup.cli.gather.search import conclude, row_style, style, syntax
from memgroup.engines.batches import FileBatches, Files
from memgroup.engines.connect import connector
from memgroup.engines.engine import EngineError, spread
from memgroup.engines.ranges import can_split, joined, search_part
from memgroup.engines.searching import Search, rows_of_batch
from memgroup.engines.sums import Sums

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator

    from memgroup.engines.searching import Figures


def search_on_workers(options: argparse.Namespace) -> int:
    """Search and print as without workers; return the exit status."""
    start = perf_counter()
    sums = Sums()
    paths = ["paths"] if _has_paths(options.paths) else []
    search = _search(options, [*style(options), *paths])
    batches = _batches(options, _output(options), splits=can_split(search))
    try:
        with closing(_results(options, search_part, search, batches, sums)) as results:
            for found in joined(search, results, sums):
                _print(found.output, found.errors)
                if options.quiet and sums.lines:
                    break
    except (ValueError, MemoryError, EngineError) as error:
        refuse("gather", str(error))
    for path, reason in batches.problems:
        _print(b"", b"memgroup: %b: %b\n" % (path, reason.encode()))
    sums.problems += len(batches.problems)
    return conclude(options, sums.figures, perf_counter() - start, sums.shares)


def rows_on_workers(
    options: argparse.Namespace, receive: Callable[..., None]
) -> tuple[Figures, list[tuple[bytes, str]]]:
    """Do what `search_rows` does; return what it returns."""
    sums = Sums()
    search = _search(options, row_style(options))
    batches = _batches(options, None)
    problems: list[tuple[bytes, str]] = []
    with closing(_results(options, rows_of_batch, search, batches, sums)) as results:
        for rows in results:
            for columns in rows.columns:
                receive(*columns)
            problems += rows.problems
    return sums.figures, [*problems, *batches.problems]


def _results(
    options: argparse.Namespace,
    work: Callable[[Search, Any], Any],
    search: Search,
    batches: FileBatches,
    sums: Sums,
) -> Generator[Any]:
    """The results of the batches in their order. The figures go to `sums`."""
    # What is wrong with the arguments is said before there is any worker.
    work(search, Files([], []))
    with closing(spread(connector(options.on)(), work, search, batches)) as replies:
        for reply in replies:
            sums.add(reply.worker, reply.seconds, reply.result.figures)
            yield reply.result


def _search(options: argparse.Namespace, style: list[str]) -> Search:
    """The search as it would be on this machine; paths and locale are those of this process."""
    if b"-" in map(os.fsencode, options.paths):
        refuse("gather", "--on cannot search standard input, which workers have not: give files")
    return Search(
        directory=b"/" if _are_absolute(options.paths) else os.fsencode(os.getcwd()),
        patterns=[os.fsencode(text) for text in options.find],
        syntax=[*syntax(options), "utf-8" if is_text_utf8() else "bytes"],
        style=style,
        memory=options.memory,
        threads=options.threads or 1,
    )


def _are_absolute(paths: list[str]) -> bool:
    return bool(paths) and all(map(os.path.isabs, paths))


def _has_paths(paths: list[str]) -> bool:
    """Whether lines begin with the path: as grep -r, not where one file is searched."""
    return len(paths) != 1 or os.path.isdir(paths[0])


def _output(options: argparse.Namespace) -> os.stat_result | None:
    """The file to which lines are printed, if it is one."""
    output = os.fstat(sys.stdout.fileno())
    prints_lines = not (options.count or options.files_with_matches or options.quiet)
    return output if prints_lines and stat.S_ISREG(output.st_mode) else None


def _batches(options: argparse.Namespace, output: os.stat_result | None, splits: bool = False) -> FileBatches:
    paths = [os.fsencode(path) for path in options.paths]
    return FileBatches(paths, options.ignore, options.batch, output, splits)


def _print(output: bytes, errors: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(errors)
    sys.stderr.buffer.flush()
