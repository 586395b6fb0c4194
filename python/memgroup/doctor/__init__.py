"""What this machine offers to memory groups, and what that means: the command `memgroup doctor`.

`probes` tries what groups rest on, `machine` reads what limits them, `cgroup` how much each memory cgroup has
left, `interpreter` what this Python brings along; `findings` says what all of them find, and `report` how it
is told. `system` has the system calls that Python does not offer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.doctor.interpreter import interpreter
from memgroup.doctor.machine import limits, memory
from memgroup.doctor.probes import mechanisms

if TYPE_CHECKING:
    from memgroup.doctor.findings import Finding

__all__ = ["examine"]


def examine() -> list[Finding]:
    """Look at everything. Nothing is changed, and what is tried is undone; it takes a few milliseconds."""
    return [*mechanisms(), *limits(), *memory(), *interpreter()]
