"""What each design of reverse mapping costs six families of processes: objects and visits, by the model.

    python benches/designs.py              the table
    python benches/designs.py --write      the same into docs/rmap-designs.md, and the plot into docs/img

The figures are the same on every machine.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from memgroup.rmap import Machine, Process

from report.plots import Panel, Values, picture

DESIGNS = ("shared26", "avc_36", "modern", "linux70", "cow_context")
DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = DOCS / "rmap-designs.md", DOCS / "img" / "designs.svg"
HEAD = """\
| family | design | anon_vmas or contexts | chain entries | made in all | visits for a page | most |
| --- | --- | --- | --- | --- | --- | --- |
"""


class Costs(NamedTuple):
    """What a family costs: objects at its end, objects ever made, and visits to unmap its pages."""

    anon_vmas: int
    chains: int
    made: int
    visits: float
    most: int


def filled(process: Process, mappings: int, pages: int) -> list[int]:
    """Map and write so many pages in each of some mappings; return where these start."""
    starts = [process.mmap(pages).start for _ in range(mappings)]
    for start in starts:
        written(process, [start], pages)
    return starts


def written(process: Process, starts: list[int], pages: int) -> None:
    """Write the first pages of mappings."""
    for start in starts:
        for page in range(pages):
            process.write(start + page)


def star(first: Process) -> None:
    """A process with 200 children, each of which writes half of what it has inherited."""
    starts = filled(first, mappings=10, pages=2)
    for child in first.fork(200):
        written(child, starts, 1)


def chain(first: Process) -> None:
    """A line of 100 forks; each process writes half of what it has inherited, and all live."""
    starts = filled(first, mappings=10, pages=2)
    last = first
    for _ in range(100):
        last = last.fork()
        written(last, starts, 1)


def tree(first: Process) -> None:
    """Two children for each process, down to 8 generations; each writes half of what it has inherited."""
    starts = filled(first, mappings=10, pages=2)
    generation = [first]
    for _ in range(8):
        generation = [child for process in generation for child in process.fork(2)]
        for process in generation:
            written(process, starts, 1)


def workers(server: Process, count: int, times: int, work: Callable[[Process], object]) -> None:
    """Fork workers, each of which does some work; replace each of them so many times, the oldest first."""
    running: list[Process] = []
    for _ in range(count * (times + 1)):
        if len(running) == count:
            running.pop(0).exit()
        running.append(server.fork())
        work(running[-1])


def preforking_server(first: Process) -> None:
    """A server with 32 workers that write a tenth of its memory; each worker is replaced 5 times."""
    starts = filled(first, mappings=50, pages=10)

    def work(worker: Process) -> None:
        written(worker, starts, 1)
        filled(worker, mappings=5, pages=4)

    workers(first, 32, 5, work)


def snapshotting_database(first: Process) -> None:
    """A database that forks 20 snapshots in turn, and writes a quarter of its memory during each.

    The last snapshot still runs.
    """
    starts = filled(first, mappings=20, pages=40)
    for number in range(20):
        snapshot = first.fork()
        written(first, starts, 10)
        if number < 19:
            snapshot.exit()


def multiprocessing(first: Process) -> None:
    """CPython's multiprocessing: a resource tracker, and a fork server with 8 workers.

    Each worker is replaced 4 times (maxtasksperchild).
    """
    starts = filled(first, mappings=20, pages=10)
    first.fork()  # the resource tracker
    server = first.fork()
    written(server, starts, 2)

    def work(worker: Process) -> None:
        written(worker, starts, 5)
        filled(worker, mappings=10, pages=4)

    workers(server, 8, 4, work)


FAMILIES: tuple[Callable[[Process], None], ...] = (
    star,
    chain,
    tree,
    preforking_server,
    snapshotting_database,
    multiprocessing,
)


def costs(family: Callable[[Process], None], design: str) -> Costs:
    """Play a family under a design."""
    machine = Machine(design)
    family(machine.spawn())
    counts = machine.counts()
    visits = [machine.unmap_visits(page) for page in machine.pages()]
    return Costs(
        counts["anon_vmas"],
        counts["chains"],
        counts["anon_vmas_total"] + counts["chains_total"],
        sum(visits) / len(visits),
        max(visits),
    )


def compared() -> dict[str, dict[str, Costs]]:
    """Play every family under every design."""
    return {named(family): {design: costs(family, design) for design in DESIGNS} for family in FAMILIES}


def named(family: Callable[[Process], None]) -> str:
    """Return the name of a family as a reader sees it."""
    return family.__name__.replace("_", " ")


def table(found: dict[str, dict[str, Costs]]) -> str:
    """Return a row for each family and design."""
    rows = [
        f"| {family} | `{design}` | {cost.anon_vmas:,} | {cost.chains:,} | {cost.made:,} "
        f"| {cost.visits:.1f} | {cost.most:,} |\n"
        for family, designs in found.items()
        for design, cost in designs.items()
    ]
    return HEAD + "".join(rows)


def plot(found: dict[str, dict[str, Costs]]) -> Iterator[str]:
    """Yield the lines of the plot: for each family its objects, and below them its visits."""
    panels: list[Panel] = []
    for family, designs in found.items():
        objects: Values = [(name, cost.anon_vmas + cost.chains) for name, cost in designs.items()]
        visits = [(name, cost.visits) for name, cost in designs.items()]
        panels += [
            Panel(f"{family}: objects", objects, ""),
            Panel(f"{family}: visits for a page", visits, ""),
        ]
    yield from picture("What the designs cost: the further left the better", panels)


def page_with(rows: str) -> str:
    """Return the page of the docs with another table."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: rows, text)


def main() -> None:
    """Print the table, or write it and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--write", action="store_true", help="write docs/rmap-designs.md and docs/img/designs.svg"
    )
    options = parser.parse_args()
    found = compared()
    if not options.write:
        print(table(found), end="")
        return
    PAGE.write_text(page_with(table(found)), encoding="utf-8")
    PLOT.write_text("\n".join(plot(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
