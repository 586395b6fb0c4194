"""The outcome for people: a headline, remarks and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.cli.gather.shortage import remedy, show_reason
from memgroup.display.report import Bar, Column, Report, Table
from memgroup.display.text import show_number, show_rate, show_seconds, show_share, show_size, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from memgroup import GroupStats, SlotStats
    from memgroup.cli.gather.inspect import Sizes
    from memgroup.cli.gather.job import Outcome
    from memgroup.engines.sums import Share

# A longer list of unreadable files would push everything else off the screen.
_MOST_COMPLAINTS = 20


def report(outcome: Outcome, shares: Mapping[str, Share] | None = None) -> Report:
    """`outcome`, and what each worker did if there were any, for people."""
    tables = (*_tables(outcome), *_workers(shares))
    return Report(_headline(outcome), tuple(_remarks(outcome)), tables)


def searched(
    files: int,
    nbytes: int,
    lines: int,
    matching: int,
    problems: int,
    seconds: float,
    shares: Mapping[str, Share] | None = None,
) -> Report:
    """The figures of a search, and what each worker did if there were any, for people."""
    headline = f"Searched {show_number(files, 'file')}, {show_size(nbytes)}"
    found = f"Found {show_number(lines, 'line')} in {show_number(matching, 'file')}"
    remarks = [f"{show_number(problems, 'file')} could not be read"] if problems else []
    tables = [_steps({"search": seconds}, files, {"search": nbytes})]
    return Report(headline, (found, *remarks), (*tables, *_workers(shares)))


def _workers(shares: Mapping[str, Share] | None) -> Iterator[Table]:
    if not shares:
        return
    yield Table(
        title="Workers",
        columns=(
            Column("worker", "text"),
            Column("batches"),
            Column("files"),
            Column("bytes"),
            Column("time"),
        ),
        rows=tuple(
            (
                show_text(worker),
                show_number(share.batches),
                show_number(share.files),
                show_size(share.nbytes),
                show_seconds(share.seconds),
            )
            for worker, share in sorted(shares.items())
        ),
    )


def complaints(outcome: Outcome) -> Iterator[str]:
    """The reasons why `outcome` is incomplete, as lines, with the first of the unreadable files."""
    for unreadable in outcome.unreadable[:_MOST_COMPLAINTS]:
        yield f"cannot read {show_text(unreadable.path)}: {unreadable.reason}"
    more = len(outcome.unreadable) - _MOST_COMPLAINTS
    if more > 0:
        yield f"cannot read {show_number(more, 'more file')}; --json lists them all"
    if outcome.shortage:
        begin = "memory ended at" if outcome.shortage.left > 1 else "no memory for"
        yield f"{begin} {show_text(outcome.shortage.path)}: {show_reason(outcome.shortage)}"
        yield (
            f"gathered {show_number(outcome.files, 'file')}, {show_size(outcome.nbytes)}; "
            f"left out {show_number(outcome.shortage.left)}. "
            f"{remedy(outcome.shortage, outcome.limit, outcome.backing)}"
        )


def _headline(outcome: Outcome) -> str:
    files = show_number(outcome.files, "file")
    slots = show_number(len(outcome.stats.slots), "slot")
    batches = f" in {show_number(outcome.batches, 'batch', 'batches')}" if outcome.batches > 1 else ""
    return f"Gathered {files}, {show_size(outcome.nbytes)}, into one group of {slots}{batches}"


def _remarks(outcome: Outcome) -> Iterator[str]:
    if outcome.skipped:
        kinds = (show_number(number, kind) for kind, number in sorted(outcome.skipped.items()))
        yield f"Skipped {', '.join(kinds)}"
    if outcome.changed:
        yield f"{show_number(outcome.changed, 'file')} changed size between being found and being read"
    if outcome.unsized:
        yield f"{show_number(outcome.unsized, 'file')} announced no size, yet had content"
    if outcome.unreadable:
        yield f"{show_number(len(outcome.unreadable), 'file')} could not be read"
    if outcome.shortage:
        yield f"{show_number(outcome.shortage.left, 'file')} left out: no memory"


def _tables(outcome: Outcome) -> Iterator[Table]:
    if outcome.files:
        yield _sizes_table(outcome.sizes)
    if outcome.sizes.largest:
        yield _largest_table(outcome.sizes)
    if outcome.stats.slots:
        yield _slots_table(outcome)
    yield _steps_table(outcome)


def _sizes_table(sizes: Sizes) -> Table:
    most = max(group.files for group in sizes.distribution)
    return Table(
        title="Sizes",
        columns=(Column("from"), Column("below"), Column("files"), Column("bytes"), Column("", "bar")),
        rows=tuple(
            (show_size(low), show_size(high), show_number(files), show_size(nbytes), Bar(files / most))
            for low, high, files, nbytes in sizes.distribution
        ),
        note=f"mean {show_size(sizes.mean)}, median {show_size(sizes.median)}, "
        f"nine of ten at most {show_size(sizes.p90)}",
    )


def _largest_table(sizes: Sizes) -> Table:
    return Table(
        title="Largest",
        columns=(Column("bytes"), Column("share"), Column("file", "text")),
        rows=tuple(
            (show_size(nbytes), show_share(nbytes, sizes.nbytes), show_text(path))
            for path, nbytes in sizes.largest
        ),
    )


def _slots_table(outcome: Outcome) -> Table:
    stats = outcome.stats
    return Table(
        title="Slots: filled what is allocated, shaded what is only committed",
        columns=(
            Column("slot"),
            Column("capacity"),
            Column("", "bar"),
            Column("full"),
            Column("allocated"),
            Column("committed"),
            Column("unused"),
        ),
        rows=tuple(map(_slot_row, stats.slots)),
        note=_slots_note(outcome),
    )


def _slot_row(slot: SlotStats) -> tuple[str | Bar, ...]:
    return (
        str(slot.index),
        show_size(slot.capacity),
        Bar(slot.allocated / slot.capacity, slot.committed / slot.capacity),
        show_share(slot.allocated, slot.capacity),
        show_size(slot.allocated),
        show_size(slot.committed),
        show_size(_unused(slot)),
    )


def _slots_note(outcome: Outcome) -> str:
    stats = outcome.stats
    gaps = stats.allocated - stats.requested
    unused = _unused(stats)
    waste = unused + outcome.abandoned
    kinds = (
        f"{show_size(unused)} in no block, {show_size(outcome.abandoned)} given up as files changed or failed"
    )
    return (
        f"{show_size(stats.allocated)} allocated, {show_size(gaps)} of it gaps for alignment; "
        f"{show_size(stats.committed)} committed ({outcome.backing}), "
        f"{show_size(waste)} or {show_share(waste, stats.committed)} of it waste: "
        f"{kinds if outcome.abandoned else 'in no block'}; "
        f"{show_size(stats.mapped)} of address space"
    )


def _unused(stats: SlotStats | GroupStats) -> int:
    """Committed bytes that are in no block."""
    return max(stats.committed - stats.allocated, 0)


def _steps_table(outcome: Outcome) -> Table:
    note = "" if "protect" in outcome.seconds else "no protect: an anonymous group has no read-only mirror"
    return _steps(outcome.seconds, outcome.files, {"read": outcome.nbytes}, note)


def _steps(seconds: Mapping[str, float], files: int, nbytes: Mapping[str, int], note: str = "") -> Table:
    """The time of each step, and the rates; `nbytes` are those that a step moves or reads."""
    return Table(
        title="Steps",
        columns=(
            Column("step", "word"),
            Column("time"),
            Column("per file"),
            Column("files"),
            Column("bytes"),
        ),
        rows=tuple(_step_row(step, time, files, nbytes.get(step)) for step, time in seconds.items()),
        note=note,
    )


def _step_row(step: str, seconds: float, files: int, nbytes: int | None) -> tuple[str, ...]:
    """One step; with rates only if there was work to do."""
    return (
        step,
        show_seconds(seconds),
        show_seconds(seconds / files) if files else "",
        show_rate(files / seconds) if files else "",
        f"{show_size(nbytes / seconds)}/s" if nbytes else "",
    )
