"""What the machine has for a family, and whether one fits."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from memgroup._text import show_size
from memgroup.forkcost._linux import read_kilobytes
from memgroup.forkcost._objects import PAGE, PAGE_TABLE

if TYPE_CHECKING:
    from memgroup.forkcost._backing import Backing
    from memgroup.forkcost._predict import Prediction

MOST_MEASURED = 10_000
"""Processes of a family beyond which nothing is measured: each is an interpreter."""

# What a process of the family takes for itself: page tables, a stack, and what Python writes to.
_PROCESS = 1024 * 1024

# Of what is available, no more is used. The rest is for others.
_SHARE = 0.8


def check_machine(prediction: Prediction, memory: Backing) -> None:
    """Refuse what the machine has no room for.

    Raises:
        ValueError: There would be more processes than may be.
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
    """The most that measuring takes: the group, a copy of it, page tables, processes."""
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


def available_bytes() -> int:
    """Memory that the machine, and the cgroup of this process, can still give."""
    return min(read_kilobytes("/proc/meminfo", "MemAvailable")["MemAvailable"], _left_in_cgroup("memory"))


def _check_processes(prediction: Prediction) -> None:
    processes = prediction.processes
    bounds = {
        "forkcost itself": MOST_MEASURED,
        "RLIMIT_NPROC (ulimit -u)": _positive(resource.getrlimit(resource.RLIMIT_NPROC)[0]),
        "kernel.pid_max": _read("/proc/sys/kernel/pid_max"),
        "kernel.threads-max": _read("/proc/sys/kernel/threads-max"),
        "the cgroup (pids.max)": _left_in_cgroup("pids"),
    }
    name, most = min(bounds.items(), key=lambda bound: bound[1])
    if processes > most:
        raise ValueError(
            f"{prediction.shape} has {processes:,} processes, and {name} allows {most:,}; measure a smaller "
            "family, or predict this one"
        )


def _left_in_cgroup(controller: str) -> int:
    """What `controller` of the cgroups above this process leaves; very much if none limits it."""
    left = _ENDLESS
    for path in _cgroups():
        most = _read(path / f"{controller}.max")
        if most < _ENDLESS:
            left = min(left, most - _read(path / f"{controller}.current"))
    return max(left, 0)


def _cgroups() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    mine = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    return [one for path in mine for one in (root / path, *(root / path).parents) if one.is_relative_to(root)]


_ENDLESS = 2**63


def _read(path: str | Path) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # "max" is no number
        return _ENDLESS


def _positive(limit: int) -> int:
    return _ENDLESS if limit == resource.RLIM_INFINITY else limit
