"""The goals, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from report.figures import number, shown, to_three_figures
from report.results import FIRST, Comparison, Results

MILLION = 1_000_000
DESIGNS = ("shared26", "avc_rc1", "avc_34", "avc_36", "degree319", "modern", "linux70")
WARM = ("alloc-warm-16-143", "alloc-warm-1-4096")


@dataclass(frozen=True)
class Check:
    """One figure that is compared with a bound.

    Attributes:
        what: The description of the figure.
        see: Finds it; None if the run has not measured it.
        least: The least it may be, or None.
        most: The most it may be, or None.
        unit: "", "s" or "bytes".
    """

    what: str
    see: Callable[[Results], float | None]
    least: float | None = None
    most: float | None = None
    unit: str = ""

    def line(self, results: Results) -> str:
        """Return what the table says: what, bound, seen, verdict."""
        bound = " and ".join(self.bounds()) or "–"
        seen = self.see(results)
        if seen is None:
            return f"{self.what} | {bound} | – | not measured"
        return f"{self.what} | {bound} | {self.text(seen)} | {self.verdict(seen)}"

    def bounds(self) -> Iterator[str]:
        """Yield the bounds in words."""
        if self.least is not None:
            yield f"≥ {self.text(self.least)}"
        if self.most is not None:
            yield f"≤ {self.text(self.most)}"

    def text(self, value: float) -> str:
        """Return a value of the figure as it is shown."""
        if self.unit == "bytes":
            return f"{number(value)} bytes"
        return shown(value, self.unit) if self.unit else number(value)

    def verdict(self, seen: float) -> str:
        """Return whether it is within the bounds, as it is shown; nothing where there are none."""
        if self.least is None and self.most is None:
            return ""
        seen = to_three_figures(seen)
        met = (self.least is None or seen >= self.least) and (self.most is None or seen <= self.most)
        return "met" if met else "**not met**"


@dataclass(frozen=True)
class Goal:
    """A goal that was set before the measurement, and its bounds."""

    work: str
    checks: tuple[Check, ...]


def ratio_of(comparison: Comparison | None) -> float | None:
    """Return the ratio, if there is one."""
    return None if comparison is None else comparison.ratio


def inverse_of(comparison: Comparison | None) -> float | None:
    """Return how many times faster ours is, if there is a ratio."""
    return None if comparison is None else 1 / comparison.ratio


def rust(
    work: str, measured: str, against: str, least: float | None = None, most: float | None = None
) -> Check:
    """Hold a ratio of Rust's side against a bound."""
    return Check(
        f"{work}: {measured} ÷ {against}",
        lambda results: ratio_of(results.in_rust(work, measured, against)),
        least,
        most,
    )


def rust_time(work: str, measured: str, against: str, most: float) -> Check:
    """Hold a time of Rust's side against a bound, in seconds."""

    def see(results: Results) -> float | None:
        found = results.in_rust(work, measured, against)
        return None if found is None else median(ours for ours, _ in found.values)

    return Check(f"{work}: {measured}", see, most=most, unit="s")


def rust_faster(work: str, measured: str, against: str, least: float) -> Check:
    """Hold the inverse of a ratio of Rust's side against a bound."""
    return Check(
        f"{work}: {against} ÷ {measured}",
        lambda results: inverse_of(results.in_rust(work, measured, against)),
        least=least,
    )


def python(work: str, figure: str, ours: str, peer: str, most: float | None = None, note: str = "") -> Check:
    """Hold a ratio of Python's side against a bound."""
    what = f"{work}, {figure}: {ours} ÷ {peer}{note}"
    return Check(what, lambda results: ratio_of(results.compared(work, figure, ours, peer)), most=most)


def faster(work: str, figure: str, ours: str, peer: str, least: float) -> Check:
    """Compare the inverse of a ratio with a bound: how many times faster ours is."""
    return Check(
        f"{work}, {figure}: {peer} ÷ {ours}",
        lambda results: inverse_of(results.compared(work, figure, ours, peer)),
        least=least,
    )


def value(work: str, peer: str, figure: str, most: float, unit: str = "", parts: int = 1) -> Check:
    """Hold a figure itself against a bound, divided among so many parts."""

    def see(results: Results) -> float | None:
        found = results.value(work, peer, figure)
        return None if found is None else found / parts

    each = " per object" if parts > 1 else ""
    return Check(f"{work}: {peer}, {figure}{each}", see, most=most, unit=unit)


GOALS = (
    Goal(
        "Rust, owner handle, dynamic layout: time ≤ 1.0 × bumpalo",
        tuple(rust(work, "memgroup-local", "bumpalo", most=1.0) for work in WARM),
    ),
    Goal(
        "Rust, shared, one thread: ≤ 1.1 × a bare atomic add; ≤ 0.7 × blink-alloc's sync arena",
        tuple(
            rust(work, measured, against, most=most)
            for work in WARM
            for against, most in (("bare-fetch_add", 1.1), ("blink-sync", 0.7))
            for measured in ("memgroup-alloc", "memgroup-alloc_layout")
        ),
    ),
    Goal(
        "Rust, two threads, owner handles: ≥ 1.8 × the throughput of one thread",
        # The same requests, shared by two.
        (rust_faster("two-threads", "memgroup-local-by-2", "memgroup-local-by-1", least=1.8),),
    ),
    Goal(
        "Rust, one block protected and unprotected: ≤ 3 ns",
        (rust_time("protect-unprotect", "memgroup", "mprotect-pair", most=3e-9),),
    ),
    Goal(
        "Rust, 64 MB freed: a million objects take 0.8 to 1.2 × what a thousand take",
        (rust("free-64-MB", "memgroup-of-1000000", "memgroup-of-1000", least=0.8, most=1.2),),
    ),
    Goal(
        "Python `g.alloc(64)` and its death: ≤ 0.6 × `bytearray(64)`, stretch 0.4",
        (
            python("alloc-one", "time", "memgroup-warm", "bytearray", most=0.6),
            python("alloc-one", "time", "memgroup-warm", "bytearray", most=0.4, note=" (stretch)"),
            python("alloc-one", "time", "memgroup-fresh", "bytearray", note=" (shown, no goal)"),
            python("alloc-one", "time", "memgroup-warm", "c-arena", note=" (shown, no goal)"),
        ),
    ),
    Goal(
        "Python, 1,000,000 × alloc of 16–512 bytes kept in a list, then freed: ≥ 5 × faster than bytearray",
        (
            faster("keep-million", "both", "memgroup-alloc", "bytearray", least=5),
            faster("keep-million", FIRST + "both", "memgroup-alloc", "bytearray", least=5),
        ),
    ),
    Goal(
        "Python, the same by `alloc_many` + `free()`: ≥ 50 × faster than bytearray, ≤ 5 ns per object",
        (
            faster("keep-million", "both", "memgroup-alloc_many", "bytearray", least=50),
            faster("keep-million", FIRST + "both", "memgroup-alloc_many", "bytearray", least=50),
            value("keep-million", "memgroup-alloc_many", "both", 5e-9, "s", MILLION),
            value("keep-million", "memgroup-alloc_many", FIRST + "both", 5e-9, "s", MILLION),
        ),
    ),
    Goal(
        "1,000,000 lines read, split, searched, selected, as an Arrow column, freed: ≤ 0.6 × the best peer",
        tuple(
            python("whole-job", "time", "memgroup-borrow", peer, most=0.6)
            for peer in ("bytes", "mmap-re", "pyarrow", "polars", "pandas")
        ),
    ),
    Goal(
        "`memgroup gather --find`, a tree of 1 GiB: ≤ 1.0 × `grep -rF`, ≤ 1.5 × ripgrep; peak ≤ 316 MiB",
        (
            python("search-tree", "time", "memgroup", "grep", most=1.0),
            python("search-tree", "time", "memgroup", "grep-numbers", most=1.0),
            python("search-tree", "time", "memgroup", "ripgrep", most=1.5),
            python("search-tree", "time", "memgroup-1-thread", "ripgrep-1-thread", most=1.5),
            python("count-tree", "time", "memgroup", "grep", most=1.0),
            value("search-tree", "memgroup", "peak", (256 + 60) << 20, "bytes"),
        ),
    ),
    Goal(
        "group made, 1,000 × 100 bytes, freed, again and again: ≥ 3 × faster than 1,000 bytearrays; no page"
        " fault after the first rounds",
        (
            faster("cycle-small", "time", "memgroup-alloc", "bytearray", least=3),
            faster("cycle-small", "time", "memgroup-alloc_many", "bytearray", least=3),
            value("cycle-small", "memgroup-alloc", "faults", 0),
            value("cycle-small", "memgroup-alloc_many", "faults", 0),
        ),
    ),
    Goal(
        "64 MiB filled in blocks of 1 MiB, freed, again and again: ≥ 0.9 of warm memset bandwidth",
        (
            faster("fill-64MiB", "time", "memgroup-alloc", "memset-whole", least=0.9),
            faster("fill-64MiB", "time", "memgroup-alloc", "memset-in-pieces", least=0.9),
            rust_faster("cycle-64-of-1-MiB", "memgroup-warm", "memset", least=0.9),
        ),
    ),
    Goal(
        "memory per object: handle ≤ 64 bytes, in a list ≤ 16 bytes, waste ≤ 8 bytes on average at 16-byte"
        " alignment",
        (
            value("memory", "memgroup-alloc", "handle", 64, "bytes"),
            value("memory", "memgroup-alloc_many", "columns", 16, "bytes"),
            value("memory", "memgroup-alloc", "alignment", 8, "bytes"),
        ),
    ),
    Goal(
        "`import memgroup`: ≤ 15 ms more than the bare interpreter",
        (value("import", "memgroup", "extra", 0.015, "s"),),
    ),
    Goal(
        "100,000 records of a file of 1 GiB by `read_ranges`: ≥ 5 × faster than a loop of `os.pread`,"
        " ≥ 0.85 of the same calls made from C into one buffer",
        (
            faster("read-records", "time", "memgroup-read_ranges", "os.pread", least=5),
            faster("read-records", "time", "memgroup-read_ranges", "c-preadv", least=0.85),
        ),
    ),
    Goal(
        "100,000 small files by `read_files`: no slower than a loop of `open().readinto(bytearray)`",
        (faster("read-files", "time", "memgroup-read_files", "readinto", least=1),),
    ),
    Goal(
        "`sendmsg` of 10,000 blocks: ≥ 3 × faster than joining and sending",
        (
            faster("send-blocks", "time", "memgroup-sendmsg", "memgroup-join", least=3),
            faster("send-blocks", "time", "memgroup-sendmsg", "bytes-join", least=3),
            faster("send-large-blocks", "time", "memgroup-sendmsg", "memgroup-join", least=3),
            faster("send-large-blocks", "time", "memgroup-sendmsg", "bytes-join", least=3),
        ),
    ),
    Goal(
        "1,000,000 messages of 100 bytes by `reader.take`: ≥ 3 × faster than `readexactly`, ≥ 1.5 × than a"
        " loop of `recv_into`, ≥ 0.8 of tokio-util's speed",
        (
            faster("frames-million", "time", "memgroup-take", "asyncio", least=3),
            faster("frames-million", "time", "memgroup-take", "recv-buffer", least=1.5),
            faster("frames-million", "time", "memgroup-take", "tokio-util", least=0.8),
        ),
    ),
    Goal(
        "reverse-mapping model, histories of small families: ≥ 5 million operations a second on one core",
        tuple(rust_time("rmap-history", design, "scan24", most=1 / (5 * MILLION)) for design in DESIGNS),
    ),
    Goal(
        "a list of 1,000,000 records as a column of pyarrow, of polars: ≤ 30 ms, no byte copied",
        (
            value("column-million", "memgroup-pyarrow", "time", 0.03, "s"),
            value("column-million", "memgroup-polars", "time", 0.03, "s"),
        ),
    ),
    Goal(
        "`g.empty(n)` ≤ 1.1 × `np.empty(n)` for 8 to 4,096 elements",
        tuple(
            python(f"array-{size}", "time", "memgroup-empty", "np.empty", most=1.1)
            for size in (8, 64, 512, 4096)
        ),
    ),
    Goal(
        "a numpy array of 64 MiB made, filled and dropped, again and again: ≥ 2 × faster than `np.empty`",
        (
            faster("array-64MiB", "time", "memgroup-group", "np.empty", least=2),
            faster("array-64MiB", "time", "memgroup-reset", "np.empty", least=2),
        ),
    ),
)


def table(results: Results) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| goal | figure | bound | seen | |"
    yield "| --- | --- | ---: | ---: | --- |"
    for goal in GOALS:
        for number_of_check, check in enumerate(goal.checks):
            yield f"| {goal.work if number_of_check == 0 else ''} | {check.line(results)} |"
