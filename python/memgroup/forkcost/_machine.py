"""The resources of the machine for a family, and whether a family fits."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from memgroup._memgroup import memory_facts
from memgroup.display.text import show_size
from memgroup.forkcost._objects import PAGE, PAGE_TABLE

if TYPE_CHECKING:
    from memgroup._memgroup.memory import MemoryFacts
    from memgroup.forkcost._backing import Backing
    from memgroup.forkcost._predict import Prediction

MOST_MEASURED = 10_000
"""Processes of a family beyond which nothing is measured: each is an interpreter."""

# The memory of one process of the family: page tables, a stack, and the pages that Python writes.
_PROCESS = 1024 * 1024

# The share of the available memory that a family may use. The rest is for other processes.
_SHARE = 0.8


def check_machine(prediction: Prediction, memory: Backing) -> None:
    """Refuse a family that the machine has no room for.

    Raises:
        ValueError: There would be too many processes.
        MemoryError: It would take more memory than is available.
    """
    _check_processes(prediction)
    needed, available = needed_bytes(prediction, memory), available_bytes()
    if needed > available * _SHARE:
        raise MemoryError(
            f"{prediction.shape} with {show_size(prediction.nbytes)} of {prediction.backing} takes up to "
            f"{show_size(needed)}, and {show_size(available)} are available, of which {_SHARE:.0%} are used "
            "at most; measure a smaller size or a smaller family"
        )


def needed_bytes(prediction: Prediction, memory: Backing) -> int:
    """The maximum memory that measuring takes: the group, a copy of it, page tables, processes."""
    nbytes = prediction.nbytes * (memory.kind != "none")
    copy = nbytes * (memory.private and not memory.dontfork)
    tables = 2 * (nbytes // PAGE // (PAGE_TABLE // 8) + 1) * PAGE_TABLE
    return (
        nbytes
        + copy
        + tables
        + prediction.table_bytes
        + prediction.object_bytes
        + prediction.processes * _PROCESS
    )


def available_bytes(facts: MemoryFacts | None = None) -> int:
    """Memory that the machine, and the cgroups of this process, can still give."""
    facts = facts or memory_facts()
    left = [
        level["limit"] - level["usage"] + level["reclaimable"]
        for level in facts["cgroups"]
        if level["limit"] is not None
    ]
    return max(min([facts["available"] or 0, *left]), 0)


def _check_processes(prediction: Prediction) -> None:
    processes, left = prediction.processes, memory_facts()["processes_left"]
    bounds = {
        "forkcost itself": MOST_MEASURED,
        "RLIMIT_NPROC (ulimit -u)": _users_limit(),
        "kernel.pid_max": _read("/proc/sys/kernel/pid_max"),
        "kernel.threads-max": _read("/proc/sys/kernel/threads-max"),
        "the cgroup (pids.max)": _ENDLESS if left is None else left,
    }
    name, most = min(bounds.items(), key=lambda bound: bound[1])
    if processes > most:
        raise ValueError(
            f"{prediction.shape} has {processes:,} processes, and {name} allows {most:,}; measure a smaller "
            "family, or predict this one"
        )


# More than any machine has.
_ENDLESS = 2**62


def _users_limit() -> int:
    """How many processes this user may have; the kernel does not apply the limit to its own root."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    is_first_namespace = Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]
    return _ENDLESS if limit == resource.RLIM_INFINITY or (is_first_namespace and os.getuid() == 0) else limit


def _read(path: str) -> int:
    try:
        return min(int(Path(path).read_text()), _ENDLESS)
    except (OSError, ValueError):
        return _ENDLESS
