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
    """

    what: str
    key: str
    against: str

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
        ours, peer = (median(times) for times in zip(*found.values, strict=True))
        ratio = number(found.ratio)
        ratio = f"**{ratio}**" if found.ratio > 1 else ratio
        return f"| {self.what} | {shown(ours, 's')} | {self.against} | {shown(peer, 's')} | {ratio} |"


ROWS = (
    Row(
        "a million objects of 16 to 512 bytes, each copied from a bytearray, kept and freed: `g.copy`",
        "python/copy-million/both/memgroup-copy/bytearray",
        "`bytearray(data)`",
    ),
    Row("first in a process", "python/copy-million/first both/memgroup-copy/bytearray", "`bytearray(data)`"),
    Row(
        "one buffer spread over a million objects: `alloc_many` and `fill_from`",
        "python/scatter-million/both/memgroup-fill_from/bytearray",
        "a million slices",
    ),
    Row(
        "first in a process",
        "python/scatter-million/first both/memgroup-fill_from/bytearray",
        "a million slices",
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
        "100,000 records, 1.1 GiB, from a cached file: `read_ranges`",
        "python/read-records/time/memgroup-read_ranges/os.pread",
        "a loop of `os.pread`",
    ),
    Row(
        "first in a process",
        "python/read-records/first time/memgroup-read_ranges/os.pread",
        "a loop of `os.pread`",
    ),
    Row(
        "100,000 files of 128 to 4,096 bytes: `read_files`",
        "python/read-files/time/memgroup-read_files/readinto",
        "`open().readinto(bytearray)`",
    ),
    Row(
        "first in a process",
        "python/read-files/first time/memgroup-read_files/readinto",
        "`open().readinto(bytearray)`",
    ),
    Row(
        "`memgroup gather --find` in a tree of 1 GiB, as a process",
        "python/search-tree/time/memgroup/grep",
        "`grep -rF`",
    ),
    Row("", "python/search-tree/time/memgroup/ripgrep", "ripgrep"),
    Row(
        "64 blocks of 1 MiB, filled and freed",
        "python/fill-64MiB/time/memgroup-alloc/bytearray",
        "64 bytearrays",
    ),
    Row("first in a process", "python/fill-64MiB/first time/memgroup-alloc/bytearray", "64 bytearrays"),
    Row(
        "64 MiB that can be shared, filled and given back",
        "python/segment-64MiB/time/memgroup-alloc/shared_memory",
        "`SharedMemory`",
    ),
    Row(
        "Rust: objects of 16 to 143 bytes in fresh memory, each",
        "rust/alloc-cold-16-143/time/memgroup-alloc/bumpalo",
        "bumpalo",
    ),
    Row(
        "Rust: 64 MB in 1,000 objects freed, nothing kept warm",
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
