"""`memgroup gather --on`: workers search batches of the files; this process prints what they have found."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING

from memgroup._memgroup import is_text_utf8
from memgroup.cli.arguments import refuse
from memgroup.cli.gather.search import status, style, syntax
from memgroup.engines.batches import FileBatches, Files
from memgroup.engines.connect import connector
from memgroup.engines.engine import EngineError, spread
from memgroup.engines.searching import Search, search_batch
from memgroup.engines.sums import Sums

if TYPE_CHECKING:
    import argparse


def search_on_workers(options: argparse.Namespace) -> int:
    """Search and print as without workers; return the exit status."""
    start = perf_counter()
    sums = Sums()
    search = _search(options)
    batches = _batches(options)
    try:
        # What is wrong with the arguments is said before there is any worker.
        search_batch(search, Files([], []))
        with closing(spread(connector(options.on)(), search_batch, search, batches)) as replies:
            for reply in replies:
                _print(reply.result.output, reply.result.errors)
                sums.add(reply.worker, reply.seconds, reply.result.figures)
                if options.quiet and sums.lines:
                    break
    except (ValueError, MemoryError, EngineError) as error:
        refuse("gather", str(error))
    for path, reason in batches.problems:
        _print(b"", b"memgroup: %b: %b\n" % (path, reason.encode()))
    sums.problems += len(batches.problems)
    if options.stats:
        from memgroup.cli.gather.report import searched
        from memgroup.cli.output import print_report

        print_report(searched(*sums.figures, perf_counter() - start, sums.shares), sys.stderr)
    return status(options, sums.figures)


def _search(options: argparse.Namespace) -> Search:
    """The search as it would be on this machine; paths and locale are those of this process."""
    if b"-" in map(os.fsencode, options.paths):
        refuse("gather", "--on cannot search standard input, which workers have not: give files")
    return Search(
        directory=b"/" if _are_absolute(options.paths) else os.fsencode(os.getcwd()),
        patterns=[os.fsencode(text) for text in options.find],
        syntax=[*syntax(options), "utf-8" if is_text_utf8() else "bytes"],
        style=[*style(options), *(["paths"] if _has_paths(options.paths) else [])],
        memory=options.memory,
        threads=options.threads or 1,
    )


def _are_absolute(paths: list[str]) -> bool:
    return bool(paths) and all(map(os.path.isabs, paths))


def _has_paths(paths: list[str]) -> bool:
    """Whether lines begin with the path: as grep -r, not where one file is searched."""
    return len(paths) != 1 or os.path.isdir(paths[0])


def _batches(options: argparse.Namespace) -> FileBatches:
    output = os.fstat(sys.stdout.fileno())
    prints_lines = not (options.count or options.files_with_matches or options.quiet)
    return FileBatches(
        [os.fsencode(path) for path in options.paths],
        options.ignore,
        options.batch,
        output if prints_lines and stat.S_ISREG(output.st_mode) else None,
    )


def _print(output: bytes, errors: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(errors)
    sys.stderr.buffer.flush()
