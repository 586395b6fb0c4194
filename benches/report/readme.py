"""The README's own table: a few rows of the run, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from report.figures import number, shown
from report.results import Comparison, Results

BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


@dataclass(frozen=True)
class Row:
    """One comparison that the README shows.

    Attributes:
        what: What was done, in words; empty where the row above says it.
        key: What `Comparison.key` says of it: side/work/figure/ours/peer.
        against: Whom against, in words.
        parts: How many equal parts the figure is of, each of which is shown.
    """

    what: str
    key: str
    against: str
    parts: int = 1

    def find(self, results: Results) -> Comparison | None:
        """Return the comparison, if it was measured."""
        side, work, figure, ours, peer = self.key.split("/")
        return (
            results.in_rust(work, ours, peer)
            if side == "rust"
            else results.compared(work, figure, ours, peer)
        )

    def line(self, results: Results) -> str:
        """Return the row as Markdown: what took longer with us stands out."""
        found = self.find(results)
        if found is None:
            return f"| {self.what} | not measured | {self.against} | – | – |"
        ours, peer = (median(times) / self.parts for times in zip(*found.values, strict=True))
        ratio = number(found.ratio)
        ratio = f"**{ratio}**" if found.ratio > 1 else ratio
        return f"| {self.what} | {shown(ours, 's')} | {self.against} | {shown(peer, 's')} | {ratio} |"


MILLION = 1_000_000
ROWS = (
    Row(
        "Python: `g.alloc(64)` and its death",
        "python/alloc-one/time/memgroup-warm/bytearray",
        "`bytearray(64)`",
    ),
    Row("", "python/alloc-one/time/memgroup-warm/np.empty", "`np.empty(64)`"),
    Row("", "python/alloc-one/time/memgroup-warm/c-arena", "a bump arena in C, written by hand"),
    Row("the same with fresh pages", "python/alloc-one/time/memgroup-fresh/bytearray", "`bytearray(64)`"),
    Row(
        "a million of 16 to 512 bytes, kept and freed, each",
        "python/keep-million/both/memgroup-alloc/bytearray",
        "`bytearray`",
        MILLION,
    ),
    Row(
        "the same by `alloc_many`, each",
        "python/keep-million/both/memgroup-alloc_many/bytearray",
        "`bytearray`",
        MILLION,
    ),
    Row(
        "the same by `alloc_many`, first in a process",
        "python/keep-million/first both/memgroup-alloc_many/bytearray",
        "`bytearray`",
        MILLION,
    ),
    Row(
        "a group of 1,000 × 100 bytes, made and freed",
        "python/cycle-small/time/memgroup-alloc/bytearray",
        "1,000 bytearrays",
    ),
    Row(
        "the same by `alloc_many`",
        "python/cycle-small/time/memgroup-alloc_many/bytearray",
        "1,000 bytearrays",
    ),
    Row(
        "a million lines read, split, searched, selected, as an Arrow column, freed",
        "python/whole-job/time/memgroup-borrow/mmap-re",
        "`mmap` + `re.finditer`",
    ),
    Row("", "python/whole-job/time/memgroup-borrow/pyarrow", "pyarrow"),
    Row("", "python/whole-job/time/memgroup-borrow/polars", "polars"),
    Row("", "python/whole-job/time/memgroup-borrow/bytes", "`bytes.splitlines` and a loop"),
    Row(
        "`memgroup gather --find` in a tree of 1 GiB, as a process",
        "python/search-tree/time/memgroup/grep",
        "`grep -rF`",
    ),
    Row("", "python/search-tree/time/memgroup/ripgrep", "ripgrep"),
    Row(
        "64 MiB in blocks of 1 MiB, filled and freed",
        "python/fill-64MiB/time/memgroup-alloc/memset-whole",
        "`memset` of a warm buffer",
    ),
    Row("", "python/fill-64MiB/time/memgroup-alloc/bytearray", "64 bytearrays"),
    Row("the same with fresh pages", "python/fill-64MiB/time/memgroup-fresh/bytearray", "64 bytearrays"),
    Row(
        "Rust: shared group, 16 to 143 bytes",
        "rust/alloc-warm-16-143/time/memgroup-alloc_layout/bare-fetch_add",
        "a bare atomic `fetch_add`",
    ),
    Row("", "rust/alloc-warm-16-143/time/memgroup-alloc_layout/blink-sync", "blink-alloc's sync arena"),
    Row("", "rust/alloc-warm-16-143/time/memgroup-alloc/mimalloc", "mimalloc"),
    Row("owner handle, 16 to 143 bytes", "rust/alloc-warm-16-143/time/memgroup-local/bumpalo", "bumpalo"),
    Row(
        "with fresh pages, every byte written",
        "rust/alloc-cold-16-143/time/memgroup-alloc/bumpalo",
        "bumpalo",
    ),
    Row(
        "protect and unprotect",
        "rust/protect-unprotect/time/memgroup/mprotect-pair",
        "a pair of `mprotect` calls",
    ),
    Row(
        "free 64 MB in 1,000 objects, nothing kept warm",
        "rust/free-64-MB/time/memgroup-of-1000/box-kept-of-1000",
        "boxes that malloc keeps",
    ),
)


def update(readme: Path, results: Results) -> None:
    """Put this run's rows between the marks in the README."""
    before, rest = readme.read_text().split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(before + BEGIN + "\n".join(lines(results)) + "\n" + END + after)


def lines(results: Results) -> Iterator[str]:
    """Yield the table line by line."""
    yield "| work | memgroup | against | | ratio |"
    yield "| --- | ---: | --- | ---: | ---: |"
    yield from (row.line(results) for row in ROWS)
