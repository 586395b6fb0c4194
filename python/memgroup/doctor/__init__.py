"""Checks of what this machine offers to memory groups: the command `memgroup doctor`.

`probes` tries the mechanisms of groups, `machine` shows the limits, `interpreter` the properties of this
Python. `findings` has the type of their results, and `report` prints them. `kernel` has the system calls that
Python does not offer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup._memgroup import memory_facts
from memgroup.doctor.interpreter import interpreter
from memgroup.doctor.machine import limits, memory
from memgroup.doctor.probes import mechanisms

if TYPE_CHECKING:
    from memgroup.doctor.findings import Finding

__all__ = ["examine"]


def examine() -> list[Finding]:
    """Run all checks, which take a few milliseconds. They undo their effects and change nothing."""
    facts = memory_facts()
    return [*mechanisms(), *limits(facts), *memory(facts), *interpreter()]
