"""The outcome for programs: one JSON object, everything in bytes and seconds.

A file is an object with the key `path`. If its name is no valid text, `path` has U+FFFD for undecodable
bytes, and `path_hex` has all the bytes of the name.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from memgroup._memgroup import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from memgroup.cli.gather.inspect import Sizes
    from memgroup.cli.gather.job import Outcome
    from memgroup.engines.sums import Share

Facts = dict[str, Any]


def as_json(outcome: Outcome, shares: Mapping[str, Share] | None = None) -> str:
    """`outcome`, and what each worker did if there were any, as the text of one JSON object."""
    workers = {"workers": _workers(shares)} if shares else {}
    return json.dumps(_outcome(outcome) | workers, indent=2)


def _outcome(outcome: Outcome) -> Facts:
    return {
        "version": __version__,
        "paths": [_path(path) for path in outcome.paths],
        "complete": outcome.complete,
        "files": outcome.files,
        "bytes": outcome.nbytes,
        "batches": outcome.batches,
        "changed": outcome.changed,
        "unsized": outcome.unsized,
        "skipped": outcome.skipped,
        "unreadable": _unreadable(outcome),
        "shortage": _shortage(outcome),
        "seconds": outcome.seconds,
        "rates": _rates(outcome),
        "sizes": _sizes(outcome.sizes),
        "group": _group(outcome),
    }


def _workers(shares: Mapping[str, Share]) -> list[Facts]:
    return [
        {
            "worker": worker,
            "batches": share.batches,
            "files": share.files,
            "bytes": share.nbytes,
            "seconds": share.seconds,
        }
        for worker, share in sorted(shares.items())
    ]


def _path(path: str) -> Facts:
    """The path as an object, to be merged with the other data about the file."""
    raw = os.fsencode(path)
    text = raw.decode("utf-8", "replace")
    return {"path": text} if text.encode() == raw else {"path": text, "path_hex": raw.hex()}


def _unreadable(outcome: Outcome) -> Facts:
    files = [{**_path(path), "reason": reason} for path, reason in outcome.unreadable]
    return {"count": len(files), "files": files}


def _shortage(outcome: Outcome) -> Facts | None:
    if outcome.shortage is None:
        return None
    shortage = outcome.shortage
    return {**_path(shortage.path), "left": shortage.left, "reason": shortage.reason}


def _rates(outcome: Outcome) -> Facts:
    seconds = outcome.seconds["read"]
    return {"files_per_second": outcome.files / seconds, "bytes_per_second": outcome.nbytes / seconds}


def _sizes(sizes: Sizes) -> Facts:
    return {
        "mean": sizes.mean,
        "median": sizes.median,
        "p90": sizes.p90,
        "distribution": [
            {"from": low, "below": high, "files": files, "bytes": nbytes}
            for low, high, files, nbytes in sizes.distribution
        ],
        "largest": [{**_path(path), "bytes": nbytes} for path, nbytes in sizes.largest],
    }


def _group(outcome: Outcome) -> Facts:
    return {
        "backing": outcome.backing,
        "base": outcome.base,
        "limit": outcome.limit,
        "abandoned": outcome.abandoned,
        **outcome.stats.as_dict(),
    }
