"""BENCHMARKS.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from report import goals, losses, peers
from report.figures import shown, with_range
from report.plots import PLOTS, names
from report.remarks import Remark, remarks
from report.results import FIRST, OURS, Comparison, Results

SIDES = {"rust": "`cargo bench`", "python": "The Python suite"}

INTERNAL = ("windows-", "rmap-")
"""How the names of works begin that compare settings or designs."""


def page(run: dict[str, Any], root: Path, given: list[Remark]) -> str:
    """Return the page about a run."""
    return "\n".join(lines(run, Results(run), root, given)) + "\n"


def lines(run: dict[str, Any], results: Results, root: Path, given: list[Remark]) -> Iterator[str]:
    """Yield the page line by line."""
    yield "# Benchmarks"
    yield ""
    yield from warnings(run, results)
    yield "How long does it take to allocate, fill, search, hand on and free memory, with memgroup and with"
    yield "what you use now?"
    yield "In every table a ratio below 1 means that memgroup takes less."
    yield f"Commit {run['commit']}, measured {run['began']} to {run['ended']} (UTC)."
    yield ""
    for plot in PLOTS:
        if plot.can_be_drawn(results):
            yield f"![{plot.title}](docs/img/{plot.name}.svg)"
            yield ""
    yield "## Who is compared"
    yield ""
    yield "The peers in the plots. The sections below show their code, and say which comparisons are unfair,"
    yield "and to whom."
    yield ""
    yield from peers.table(names(results), remarks(root / "benches/peers.toml"))
    yield ""
    yield "## The rows we lose"
    yield ""
    yield "Every row in which memgroup took more time or memory than a peer. Floors are peers, too."
    yield ""
    yield from losses.table(results, given)
    yield ""
    yield "## Python"
    yield ""
    yield from python(results)
    yield (root / "benches/python/footnotes.md").read_text()
    yield "## Rust"
    yield ""
    yield from rust(row for row in results.rust if not is_internal(row))
    yield (root / "benches/rust/footnotes.md").read_text()
    yield "## How it was measured"
    yield ""
    yield (root / "benches/method.md").read_text()
    yield "## Machine and versions"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for name, fact in {**run["machine"], **run["versions"]}.items():
        yield f"| {name} | {fact} |"
    yield ""
    yield "## Internals"
    yield ""
    yield "For people who change memgroup: the bounds that a change must keep, and comparisons of settings"
    yield "and designs."
    yield ""
    yield "### Goals"
    yield ""
    yield from goals.table(results)
    yield ""
    yield from rust(filter(is_internal, results.rust))


def warnings(run: dict[str, Any], results: Results) -> Iterator[str]:
    """Yield the notes that come first: the missing parts, and the reasons."""
    said = []
    if run["quick"]:
        said.append("A quick run, which only tests that everything works. **Do not use these figures.**")
    if run["only"]:
        said.append(f"Only works with “{run['only']}” in their names were measured.")
    if run["stale"]:
        said.append(
            "**The memgroup that Python imports was installed before src/ was last changed:** the figures of"
            ' Python\'s side are those of older code. `pip install ".[bench]"` brings it up to date.'
        )
    for side, part in run["parts"].items():
        if part["status"] != "complete":
            said.append(f"**{SIDES[side]}: {part['status']}.** What it did not measure is missing below.")
    for work, entry in results.python.items():
        for name, peer in entry["peers"].items():
            if "failed" in peer:
                said.append(f"**{work}, {name}: failed: {peer['failed']}.**")
    for words in said:
        yield f"> {words}"
        yield ">" if words is not said[-1] else ""


def python(results: Results) -> Iterator[str]:
    """Yield a table for each work of Python's side."""
    for work, entry in results.python.items():
        yield f"### {work}"
        yield ""
        yield f"{entry['title'][0].upper()}{entry['title'][1:]}."
        yield ""
        yield from table(results, work, entry)
        yield ""


def table(results: Results, work: str, entry: dict[str, Any]) -> Iterator[str]:
    """Yield the table of one work: peers, figures, and the ratios of ours to the others."""
    main, *others = entry["units"]
    ours = [name for name, peer in entry["peers"].items() if name.startswith(OURS) and peer["passes"]]
    first = [FIRST + main] if entry["shows_first"] else []
    heads = ["", "", f"{main} per {entry['per']}", *first, *others]
    if entry["nbytes"]:
        heads.append("GiB/s")
    yield f"| {' | '.join([*heads, *(f'{name} ÷ it' for name in ours)])} |"
    yield f"| --- | --- |{' ---: |' * (len(heads) - 2 + len(ours))}"
    for name, peer in entry["peers"].items():
        code = f"`{peer['code']}`"
        yield f"| {' | '.join([name, code, *cells(results, work, name, peer, ours, entry)])} |"


def cells(
    results: Results, work: str, name: str, peer: dict[str, Any], ours: list[str], entry: dict[str, Any]
) -> Iterator[str]:
    """Yield one peer's cells."""
    main, *others = entry["units"]
    values = results.values(work, name, main)
    if not values:
        yield peer.get("unavailable") or "failed"
    else:
        yield with_range(values, entry["units"][main])
    for figure in [*([FIRST + main] if entry["shows_first"] else []), *others]:
        value = results.value(work, name, figure)
        yield "" if value is None else shown(value, entry["units"][figure.removeprefix(FIRST)])
    if entry["nbytes"]:
        value = results.value(work, name, main)
        yield "" if value is None else shown(entry["nbytes"] / value / (1 << 30), "count")
    for our in ours:
        compared = None if name.startswith(OURS) else results.compared(work, main, our, name)
        yield "" if compared is None else with_range(compared.ratios, "")


def is_internal(row: dict[str, Any]) -> bool:
    """Return whether a row of Rust's side compares settings or designs, not allocators."""
    return row["work"].startswith(INTERNAL)


def rust(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the tables of rows of Rust's side, works apart."""
    works: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        works.setdefault(row["work"], []).append(row)
    if not works:
        yield "Nothing was measured."
        yield ""
    for work, group in works.items():
        yield f"### {work}"
        yield ""
        yield "| measured | time | against | time | ratio |"
        yield "| --- | ---: | --- | ---: | ---: |"
        yield from map(rust_line, group)
        yield ""


def rust_line(row: dict[str, Any]) -> str:
    """Return one row of Rust's side."""
    measured = [value * 1e-9 for value in row["measured_ns"]]
    against = [value * 1e-9 for value in row["against_ns"]]
    values = tuple(zip(measured, against, strict=True))
    ratios = Comparison("rust", row["work"], "time", row["measured"], row["against"], values).ratios
    times = [with_range(measured, "s"), row["against"], with_range(against, "s"), with_range(ratios, "")]
    return f"| {' | '.join([row['measured'], *times])} |"
