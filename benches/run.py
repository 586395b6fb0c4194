"""Runs all benchmarks, Rust's and Python's, and writes BENCHMARKS.md and the plots in docs/img.

    pip install ".[bench]" && python benches/run.py     everything: some twelve minutes
    python benches/run.py --quick                       does it all run? The page goes to target/benches
    python benches/run.py --only alloc                  works whose names contain that; printed, too
    python benches/run.py --no-rust                     Python's side only; the page says so
    python benches/run.py --page-only                   the page of the last such run, with today's reasons

What was measured is kept in target/benches. A part that fails or is interrupted is named as such on the page,
and no older figures take its place.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import document, machine, plots, readme
from report.remarks import remarks
from report.results import Results

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "target/benches"
RUN = KEPT / "run.json"
"""The last run of everything; others do not take its place."""

INTERRUPTED = 130


def main() -> int:
    """Do what the command line says; return the exit status."""
    options = arguments()
    KEPT.mkdir(parents=True, exist_ok=True)
    if options.page_only:
        if not RUN.exists():
            print("There is no run to make a page of; run the benchmarks first.", file=sys.stderr)
            return 2
        run = json.loads(RUN.read_text())
    else:
        run = measure(options)
    home = options.output or (KEPT / "page" if run["quick"] or run["only"] else ROOT)
    write(run, home)
    if home == ROOT:
        readme.update(ROOT / "README.md", Results(run))
    status = status_of(run)
    if status == 0 and run["only"] and not run["quick"] and Results(run).is_empty():
        print(f"No work's name contains {run['only']!r}.", file=sys.stderr)
        return 1
    return status


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="just enough of everything to see that it runs")
    parser.add_argument("--only", default="", metavar="PART", help="only works whose names contain this")
    parser.add_argument("--no-rust", action="store_true", help="without cargo bench")
    parser.add_argument("--no-python", action="store_true", help="without the Python suite")
    parser.add_argument(
        "--page-only", action="store_true", help="measure nothing, write the last run's page again"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where BENCHMARKS.md and docs/img go")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the requested parts, and keep their measurements."""
    run: dict[str, Any] = {
        "quick": options.quick,
        "only": options.only,
        "commit": machine.commit(ROOT),
        "stale": not options.no_python and machine.is_stale(ROOT),
        "machine": machine.machine(),
        "versions": machine.versions(ROOT),
        "began": now(),
        "parts": {"rust": part("not run"), "python": part("not run")},
    }
    for side, wanted, work in (
        ("rust", not options.no_rust, rust),
        ("python", not options.no_python, python),
    ):
        if not wanted:
            run["parts"][side] = part(f"left out (--no-{side})")
            continue
        run["parts"][side] = work(options)
        if run["parts"][side]["status"] == "interrupted":
            break
    run["ended"] = now()
    kept = KEPT / "part.json" if run["quick"] or run["only"] else RUN
    kept.write_text(json.dumps(run, indent=1))
    return run


def part(status: str, results: Any = None) -> dict[str, Any]:
    """Return how one side went and what it measured."""
    return {"status": status, "results": results}


def rust(options: argparse.Namespace) -> dict[str, Any]:
    """Run cargo bench."""
    rows = KEPT / "rust.json"
    command = ["cargo", "bench", "--bench", "rust", "--", *([options.only] if options.only else [])]
    if options.quick:
        command.append("--test")
    return finished(command, rows, {"MEMGROUP_BENCH_ROWS": str(rows)})


def python(options: argparse.Namespace) -> dict[str, Any]:
    """Run the Python suite."""
    results = KEPT / "python.json"
    suite = str(ROOT / "benches/python/suite.py")
    command = [sys.executable, suite, "--json", str(results), "--pyperf", str(KEPT / "pyperf.json")]
    if options.only:
        command += ["--only", options.only]
    if options.quick:
        command.append("--quick")
    return finished(command, results, {})


def finished(command: list[str], results: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run a command to its end; return how that was and what it left in `results`."""
    results.unlink(missing_ok=True)
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)
    except OSError as error:
        return part(f"failed, {command[0]} cannot be run: {error.strerror}")
    try:
        code = process.wait()
        status = "complete" if code == 0 else f"failed, exit status {code}"
        if code == INTERRUPTED:
            status = "interrupted"
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reaches it too
        status = "interrupted"
    measured = json.loads(results.read_text()) if results.exists() else None
    return part(status, measured)


def write(run: dict[str, Any], home: Path) -> None:
    """Write the page and the plots of a run below `home`."""
    home.mkdir(parents=True, exist_ok=True)
    page = document.page(run, ROOT, remarks(ROOT / "benches/reasons.toml"))
    (home / "BENCHMARKS.md").write_text(page)
    plots.draw(Results(run), home / "docs/img")
    if run["only"]:
        print(page)
    print(f"wrote {os.path.relpath(home / 'BENCHMARKS.md')}", file=sys.stderr)


def status_of(run: dict[str, Any]) -> int:
    """Return the exit status: whether all that was wanted was measured."""
    states = [part["status"] for part in run["parts"].values()]
    if "interrupted" in states:
        return INTERRUPTED
    return 0 if all(state == "complete" or state.startswith("left out") for state in states) else 1


def now() -> str:
    """Return the time, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


if __name__ == "__main__":
    sys.exit(main())
