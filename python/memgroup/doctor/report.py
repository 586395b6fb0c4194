"""The results of the checks for people, and for programs."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from memgroup._memgroup import __version__
from memgroup.display.report import Column, Report, Table
from memgroup.display.text import show_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from memgroup.doctor.findings import Finding

_SIGNS = {"missing": "MISSING"}


def works(findings: Iterable[Finding]) -> bool:
    """Whether the machine has everything that groups need."""
    return all(finding.state != "missing" for finding in findings)


def as_json(findings: Sequence[Finding]) -> str:
    """`findings` as the text of one JSON object, everything in bytes and counts."""
    facts = {"version": __version__, "works": works(findings), "findings": list(map(_fact, findings))}
    return json.dumps(facts, indent=2)


def _fact(finding: Finding) -> dict[str, object]:
    return {
        "topic": finding.topic,
        "name": finding.name,
        "state": finding.state,
        "value": finding.value,
        "meaning": finding.meaning,
        **finding.facts,
    }


def report(findings: Sequence[Finding]) -> Report:
    """`findings` for people."""
    return Report(_headline(findings), (), tuple(_tables(findings)))


def _headline(findings: Sequence[Finding]) -> str:
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if missing:
        return f"memgroup {__version__} does not work here as it should; missing: {', '.join(missing)}"
    notes = sum(finding.state == "note" for finding in findings)
    return f"memgroup {__version__} works here" + (f"; {show_number(notes, 'note')} below" if notes else "")


def _tables(findings: Sequence[Finding]) -> Iterator[Table]:
    for topic, within in groupby(findings, key=lambda finding: finding.topic):
        yield Table(
            title=topic,
            columns=(Column("", "state"), Column("", "word"), Column("", "word"), Column("", "text")),
            rows=tuple(
                (_SIGNS.get(finding.state, finding.state), finding.name, finding.value, finding.meaning)
                for finding in within
            ),
        )
