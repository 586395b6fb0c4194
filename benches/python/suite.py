"""Measures Python's side: every work by each of its peers, by turns.

In each pass every peer of a work gets a process of its own, one after the other: A B C, A B C, …, so that a
slow minute of the machine hits all of them alike. A pass's figure is the median of the process's
measurements, without the first.

It writes JSON; `benches/run.py` runs it and makes tables of that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compiled
from model import Peer, Work
from optional import YARDSTICK
from works import WORKS

PASSES = 5
"""Odd, so that there is a middle one."""

WORKER = Path(__file__).with_name("worker.py")
TIMEOUT = 120
"""Seconds that one process may take; the longest takes some ten."""

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

Results = dict[str, Any]
"""For each work what the tables need: title, units and peers, each with `passes` or why there are none."""


def run(directory: Path, only: str = "", quick: bool = False) -> Iterator[Results]:
    """Measure every work whose name contains `only`; yield the results so far after each.

    Args:
        directory: Where what is compiled goes.
        only: Part of the names of what is to be measured.
        quick: Whether to do just enough to see that everything runs.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MEMGROUP"))},
        YARDSTICK: compiled.compile_yardstick(directory),
    }
    results: Results = {}
    for work in (work for work in WORKS if only in work.name):
        print(f"{work.name}: {work.title}", file=sys.stderr, flush=True)
        results[work.name] = measured(work, 1 if quick else work.passes or PASSES, quick, environment)
        yield results


def measured(work: Work, passes: int, quick: bool, environment: dict[str, str]) -> dict[str, Any]:
    """Measure one work."""
    peers: dict[str, dict[str, Any]] = {peer.name: {"code": peer.code, "passes": []} for peer in work.peers}
    for _ in range(passes):
        for peer in work.peers:
            entry = peers[peer.name]
            if "unavailable" in entry or "failed" in entry:
                continue
            found = in_a_process(work, peer, quick, environment)
            if "first" in found:
                entry["passes"].append(found)
            else:
                entry.update(found)
    return {
        "title": work.title,
        "per": work.per,
        "units": work.units,
        "shows_first": work.first,
        "nbytes": work.nbytes,
        "peers": peers,
    }


def in_a_process(work: Work, peer: Peer, quick: bool, environment: dict[str, str]) -> dict[str, Any]:
    """Return what the worker prints, or {"failed": why}."""
    command = [sys.executable, "-s", str(WORKER), work.name, peer.name, "quick" if quick else "full"]
    try:
        worker = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {TIMEOUT} s"}
    if worker.returncode != 0:
        print(worker.stderr, file=sys.stderr)
        last = worker.stderr.strip().splitlines()[-1:]
        return {"failed": " ".join([f"exit status {worker.returncode}", *last])}
    return json.loads(worker.stdout)


def failures(results: Results) -> list[str]:
    """Return what failed, in words."""
    return [
        f"{work}, {name}: {peer['failed']}"
        for work, entry in results.items()
        for name, peer in entry["peers"].items()
        if "failed" in peer
    ]


def dump_for_pyperf(results: Results, path: Path) -> None:
    """Write the times as pyperf's JSON: a benchmark of each work, peer and figure, a run of each process."""
    import pyperf

    benchmarks = []
    machine = dict(pyperf.Run([1.0]).get_metadata())
    for work, entry in results.items():
        for name, peer in entry["peers"].items():
            for figure in (figure for figure, unit in entry["units"].items() if unit == "s"):
                metadata = {**machine, "name": f"{work}/{name}/{figure}"}
                runs = [
                    # A difference of two times can come out below nothing, which pyperf does not take.
                    pyperf.Run(values, metadata=metadata, collect_metadata=False)
                    for found in peer["passes"]
                    if (values := [value for figures in found["later"] if (value := figures[figure]) > 0])
                ]
                if runs:
                    benchmarks.append(pyperf.Benchmark(runs))
    path.unlink(missing_ok=True)
    if benchmarks:
        pyperf.BenchmarkSuite(benchmarks).dump(str(path))


def main() -> int:
    """Measure as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="PART", help="only works whose names contain this")
    parser.add_argument("--quick", action="store_true", help="a hundredth of everything, once: does it run?")
    parser.add_argument(
        "--json", type=Path, required=True, metavar="FILE", help="where everything measured goes"
    )
    parser.add_argument("--pyperf", type=Path, metavar="FILE", help="write the times as pyperf's JSON")
    options = parser.parse_args()
    results: Results = {}
    interrupted = False
    try:
        for results in run(compiled.COMPILED, options.only, options.quick):
            options.json.write_text(json.dumps(results))
    except KeyboardInterrupt:
        interrupted = True  # the works before are complete
    if options.pyperf is not None:
        dump_for_pyperf(results, options.pyperf)
    for failure in failures(results):
        print(f"failed: {failure}", file=sys.stderr)
    if interrupted:
        return INTERRUPTED
    return 1 if failures(results) else 0


if __name__ == "__main__":
    sys.exit(main())
