"""The map of a group's slots: one row for each slot, and sentences about the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memgroup.display.report import Bar, Column, Report, Table
from memgroup.display.text import show_number, show_share, show_size, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup import GroupStats, MemGroup, SlotStats


@dataclass(frozen=True, slots=True)
class Row:
    """One slot, in bytes.

    Attributes:
        index: Its number. In a forked child the slots of its parent follow, so numbers can repeat.
        capacity: Its size.
        protected: The used bytes that `protect` has handed out, each counted once.
        used: The bytes handed out, with the gaps between blocks.
        committed: The bytes accounted for as memory in use.
    """

    index: int
    capacity: int
    protected: int
    used: int
    committed: int

    @property
    def tail(self) -> int:
        """The bytes that are committed and in no block: waste, unless the slot is filled later."""
        return max(self.committed - self.used, 0)


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The slots of a group at one moment.

    Attributes:
        title: The name of the group.
        facts: Sentences about the whole.
        rows: Its slots, smallest first.
    """

    title: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]

    def report(self) -> Report:
        """The map for terminals and as text: a headline, the facts, and a table if there is a slot."""
        return Report(self.title, self.facts, (_table(self.rows),) if self.rows else (), remark_style="")


LEGEND = ("protected", "used", "committed, in no block")
"""What the parts of a bar mean, in their order."""


def slot_map(of: MemGroup | GroupStats) -> SlotMap:
    """The map of a group, or of its statistics. An ended group has only its name and its held bytes."""
    from memgroup import MemGroup

    if not isinstance(of, MemGroup):
        return _map_of("Group", of)
    # A name may contain anything, so it is escaped and shown on one line.
    title = f"Group {show_text(of.name)}"
    try:
        stats = of.stats()
    except ValueError:
        return SlotMap(f"{title}: freed", (), ())
    if of.freed:
        held = f" but for {show_size(stats.held)}" if stats.held else ""
        return SlotMap(f"{title}: freed{held}", (), ())
    limit = "" if of.limit is None else f", at most {show_size(of.limit)}"
    return _map_of(f"{title} ({show_text(of.backing)}{limit})", stats)


def _map_of(title: str, stats: GroupStats) -> SlotMap:
    return SlotMap(title, tuple(_facts(stats)), tuple(map(_row, stats.slots)))


def _facts(stats: GroupStats) -> Iterator[str]:
    views = show_number(stats.exports, "live view")
    yield f"{show_number(stats.blocks, 'block')}, {show_size(stats.requested)}, {views}"
    if stats.held:
        yield f"{show_size(stats.held)} set aside for blocks from before"
    if stats.borrowed:
        yield f"{show_size(stats.borrowed)} of other objects borrowed"
    if not stats.slots:
        return
    rows = [_row(slot) for slot in stats.slots]
    protected, tail = sum(row.protected for row in rows), sum(row.tail for row in rows)
    gaps = max(stats.allocated - stats.requested, 0)
    yield (
        f"{show_size(stats.allocated)} used ({show_size(gaps)} of it gaps), "
        f"{show_size(protected)} or {show_share(protected, stats.allocated)} of it protected"
    )
    yield (
        f"{show_size(stats.committed)} committed, {show_size(tail)} or {show_share(tail, stats.committed)} "
        f"of it in no block; {show_size(stats.mapped)} of address space"
    )


def _row(slot: SlotStats) -> Row:
    return Row(slot.index, slot.capacity, min(slot.protected, slot.allocated), slot.allocated, slot.committed)


def _table(rows: tuple[Row, ...]) -> Table:
    return Table(
        title="Slots",
        columns=(
            Column("slot"),
            Column("capacity"),
            Column("", "bar"),
            Column("used"),
            Column("protected"),
            Column("committed"),
            Column("tail"),
        ),
        rows=tuple(map(_cells, rows)),
        note="bars from the left: protected, used, committed and in no block (the tail), address space only",
    )


def _cells(row: Row) -> tuple[str | Bar, ...]:
    parts = (row.used / row.capacity, row.committed / row.capacity, row.protected / row.capacity)
    return (
        str(row.index),
        show_size(row.capacity),
        Bar(*parts),
        show_size(row.used),
        show_share(row.protected, row.used),
        show_size(row.committed),
        show_size(row.tail),
    )
