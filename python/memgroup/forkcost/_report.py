"""The comparison for people, and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from memgroup._memgroup import __version__
from memgroup.display.report import Bar, Column, Report, Table
from memgroup.display.text import show_number, show_seconds, show_size, show_text
from memgroup.forkcost._backing import read_backing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from memgroup.forkcost._measure import Measurement

# A ratio closer to 1 than this counts as noise.
_NOISE = 1.3

_SIGN = "×"

_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")


def as_json(measured: Sequence[Measurement]) -> str:
    """`measured` as the text of one JSON object, everything in bytes and seconds."""
    facts = {
        "version": __version__,
        "advice": advice(measured),
        "measurements": [one.as_dict() for one in measured],
    }
    return json.dumps(facts, indent=2)


def report(measured: Sequence[Measurement]) -> Report:
    """`measured` for people."""
    return Report(
        _headline(measured[0]),
        tuple(_remarks(measured)),
        (_forks(measured), _touches(measured), _predictions(measured)),
    )


def advice(measured: Sequence[Measurement]) -> str:
    """One line of advice, from the figures alone."""
    # Do not recommend huge pages that the machine did not give.
    choices = (one for one in measured if _reaches(one) and (one.huge or not read_backing(one.backing).huge))
    by_cost = sorted(choices, key=lambda one: one.fork)
    nothing = next((one for one in measured if read_backing(one.backing).kind == "none"), None)
    if len(by_cost) < 2:
        return (
            _advice_for_one(by_cost[0], nothing)
            if by_cost and nothing
            else "Measure it beside none or another backing to see what it costs."
        )
    cheap = _plainest(one for one in by_cost if one.fork < by_cost[0].fork * _NOISE)
    dear = _plainest(one for one in by_cost if one.fork > by_cost[-1].fork / _NOISE)
    ratio = dear.fork / cheap.fork
    if ratio < _NOISE:
        return "The backing makes no difference to this fork; larger groups or longer chains may show one."
    saved = dear.tables - cheap.tables
    return (
        f"{cheap.backing} makes this fork {_times(ratio)} cheaper than {dear.backing}: "
        f"{show_seconds(cheap.fork)} instead of {show_seconds(dear.fork)}"
        + (f", {show_size(saved)} of page tables less in each child" if saved > 0 else "")
        + (". Parent and child then share what they write." if _shared(cheap) > _shared(dear) else ".")
    )


def _advice_for_one(one: Measurement, nothing: Measurement) -> str:
    ratio = one.fork / nothing.fork
    if ratio < _NOISE:
        return f"Forking with {one.backing} costs no more than forking with nothing."
    remedy = "" if _shared(one) else "; a memfd group has no page tables to copy"
    return f"Forking with {one.backing} costs {_times(ratio)} what it costs with nothing{remedy}."


def _reaches(one: Measurement) -> bool:
    """Whether the child gets the group."""
    return one.read_faults is not None


def _plainest(alike: Iterable[Measurement]) -> Measurement:
    """Among backings of equal cost, the one with the fewest options."""
    return min(alike, key=lambda one: one.backing.count("+"))


def _shared(one: Measurement) -> bool:
    return not read_backing(one.backing).private


def _times(ratio: float) -> str:
    return f"{ratio:.0f} {_SIGN}" if ratio >= 10 else f"{ratio:.1f} {_SIGN}"


def _headline(one: Measurement) -> str:
    asked = one.prediction
    slots = f" in {show_number(asked.mappings, 'slot')}" if asked.mappings > 1 else ""
    family = f"the last fork of {show_number(asked.processes, 'process', 'processes')} ({asked.shape})"
    rounds = show_number(one.rounds, "round")
    return f"{show_size(asked.nbytes)}{slots}, all written, then {family}; medians of {rounds}"


def _remarks(measured: Sequence[Measurement]) -> Iterator[str]:
    yield advice(measured)
    for one in measured:
        if read_backing(one.backing).huge and one.huge < one.prediction.nbytes // 2:
            yield f"{show_text(one.backing)} got {show_size(one.huge)} of huge pages{_why_not(one)}"


def _why_not(one: Measurement) -> str:
    """The kernel's setting, if it is readable and stands in the way."""
    name, none = ("shmem_enabled", "deny") if _shared(one) else ("enabled", "never")
    setting = _SETTINGS / name
    try:
        chosen = setting.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return ""
    refused = f"{setting.name} of transparent_hugepage is {chosen}"
    return f"; {refused}" if chosen == none else "; free memory may be in pieces"


def _forks(measured: Sequence[Measurement]) -> Table:
    most = max(one.fork for one in measured)
    least = next((one.fork for one in measured if read_backing(one.backing).kind == "none"), None)
    return Table(
        title="Forking, and what the child has then",
        columns=(
            Column("backing", "word"),
            Column("fork"),
            *((Column(f"{_SIGN} none"),) if least else ()),
            Column("", "bar"),
            Column("exit"),
            Column("tables"),
            Column("PSS"),
        ),
        rows=tuple(
            (
                show_text(one.backing),
                show_seconds(one.fork),
                *((f"{one.fork / least:,.1f}",) if least else ()),
                Bar(one.fork / most),
                show_seconds(one.exit),
                show_size(one.tables),
                show_size(one.pss),
            )
            for one in measured
        ),
    )


def _touches(measured: Sequence[Measurement]) -> Table:
    return Table(
        title="What a child then pays to touch a byte of every page",
        columns=(
            Column("backing", "word"),
            Column("read all"),
            Column("faults"),
            Column("write all"),
            Column("faults"),
            Column("each"),
        ),
        rows=tuple(_touch_row(one) for one in measured if _reaches(one)),
        note="all minor faults of an interpreter, its own few among them",
    )


def _touch_row(one: Measurement) -> tuple[str, ...]:
    pages = -(-one.prediction.nbytes // 4096)
    return (
        show_text(one.backing),
        _seconds(one.read_time),
        _number(one.read_faults),
        _seconds(one.write_time),
        _number(one.write_faults),
        "" if one.write_time is None else f"{show_seconds(one.write_time / pages)} a page",
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else show_seconds(seconds)


def _number(number: int | None) -> str:
    return "" if number is None else show_number(number)


def _predictions(measured: Sequence[Measurement]) -> Table:
    there = [one.prediction for one in measured if one.prediction.vmas]
    family = measured[0].prediction.processes
    return Table(
        title=f"What the kernel keeps for the group while {show_number(family, 'process', 'processes')} live",
        columns=(
            Column("backing", "word"),
            Column("mappings"),
            Column("anon_vmas"),
            Column("chains"),
            Column("tables"),
            Column("walk"),
        ),
        rows=tuple(
            (
                show_text(one.backing),
                show_number(one.vmas),
                show_number(one.anon_vmas),
                show_number(one.chains),
                show_size(one.table_bytes),
                show_number(one.walks.first),
            )
            for one in there
        ),
        note="foretold; the walk is over the mappings of a page that the first process wrote",
    )
