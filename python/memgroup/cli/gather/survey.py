"""`memgroup gather` without `--find`: gather the files, and report on them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from memgroup import MemGroup
from memgroup.cli.arguments import refuse
from memgroup.cli.gather.job import Job, gather, read_here
from memgroup.cli.gather.json import as_json
from memgroup.cli.gather.report import complaints, report
from memgroup.cli.output import complain, print_report
from memgroup.cli.status import COMPLETE, UNUSABLE
from memgroup.display.text import show_text
from memgroup.display.watching import watching
from memgroup.engines.engine import EngineError
from memgroup.engines.sums import Sums

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from memgroup.cli.gather.job import Outcome, Read
    from memgroup.engines.sums import Share


def survey(options: argparse.Namespace) -> int:
    """Gather, and report."""
    paths = options.paths or ["."]
    _check_paths(paths)
    group = _group(options)
    sums = Sums()
    job = Job(tuple(paths), options.largest, options.memory, options.ignore)
    try:
        with watching("files") as watch:
            outcome = gather(job, group, watch, _reading(options, sums))
    except EngineError as error:
        refuse("gather", str(error))
    _show(outcome, sums.shares, options.json)
    return COMPLETE if outcome.complete else UNUSABLE


def _reading(options: argparse.Namespace, sums: Sums) -> Read:
    """Who reads the files. What each worker has done goes to `sums`."""
    if options.on is None:
        return read_here
    from memgroup.engines.measuring import measured_on_workers

    return partial(measured_on_workers, options.on, options.batch, sums)


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


def _show(outcome: Outcome, shares: Mapping[str, Share], wants_json: bool) -> None:
    """Report in the form that suits the reader, and print errors about missing files."""
    if wants_json:
        print(as_json(outcome, shares))
    else:
        print_report(report(outcome, shares))
    for line in complaints(outcome):
        complain(f"memgroup: {line}")
