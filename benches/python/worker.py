"""One peer at one work, in a separate process, so that it does not get the heap of other peers.

The suite starts it and reads what it prints: JSON, either {"unavailable": reason} or
{"first": figures, "later": [figures]}.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from model import Scale, UnavailableError
from timing import make_resident
from works import WORKS


def main(work_name: str, peer_name: str, pace: str) -> None:
    """Measure and print."""
    work = next(work for work in WORKS if work.name == work_name)
    peer = next(peer for peer in work.peers if peer.name == peer_name)
    scale = Scale(quick=pace == "quick")
    stay_on_one_cpu()
    found: dict[str, Any]
    try:
        measure = peer.prepare(scale)
    except UnavailableError as error:
        found = {"unavailable": str(error)}
    else:
        make_resident(work.resident)
        first = measure()
        found = {
            "first": first,
            "later": [measure() for _ in range(min(work.values, 1) if scale.quick else work.values)],
        }
    json.dump(found, sys.stdout)


def stay_on_one_cpu() -> None:
    """Bind this process to the last CPU, because the first serves more interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main(*sys.argv[1:])
