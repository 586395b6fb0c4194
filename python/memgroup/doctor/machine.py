"""The limits for groups on this machine: limits of the process, settings of the kernel, available memory."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from memgroup.display.text import show_number, show_size
from memgroup.doctor.cgroup import levels
from memgroup.doctor.findings import OPTIONAL, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup.doctor.findings import State

LIMITS, MEMORY = "Limits", "Memory"

# A process is likely to reach a lower limit.
_LITTLE = 256 << 20
_FEW_MAPPINGS = 10_000
_FEW_FILES = 64


def limits(root: Path = Path("/")) -> Iterator[Finding]:
    """Check the resource limits of this process."""
    for name, bounded, free in (
        (
            "RLIMIT_AS",
            "each slot takes its size of address space twice: too low a limit is a MemoryError (ulimit -v)",
            "slots may take address space freely",
        ),
        (
            "RLIMIT_FSIZE",
            "no slot can be larger, as each is a file: a MemoryError (ulimit -f)",
            "slots may be of any size",
        ),
    ):
        bound = _limit(name)
        state: State = "ok" if bound is None else OPTIONAL
        yield Finding(LIMITS, name, state, _size(bound), free if bound is None else bounded, {"bytes": bound})
    yield _descriptors()
    locked = _limit("RLIMIT_MEMLOCK")
    meaning = "bounds memory that is locked or secret; other groups lock none (ulimit -l)"
    yield Finding(LIMITS, "RLIMIT_MEMLOCK", "ok", _size(locked), meaning, {"bytes": locked})
    yield from _mappings(root)


def _limit(name: str) -> int | None:
    soft, _ = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY else soft


def _size(nbytes: int | None) -> str:
    return "unlimited" if nbytes is None else show_size(nbytes)


def _descriptors() -> Finding:
    bound = _limit("RLIMIT_NOFILE")
    few = bound is not None and bound < _FEW_FILES
    meaning = "a slot holds a descriptor only while it is opened (ulimit -n)"
    shown = "unlimited" if bound is None else show_number(bound)
    return Finding(LIMITS, "RLIMIT_NOFILE", OPTIONAL if few else "ok", shown, meaning, {"count": bound})


def _mappings(root: Path) -> Iterator[Finding]:
    most = _number(root / "proc/sys/vm/max_map_count")
    if most is None:
        return
    taken = _lines(root / "proc/self/maps")
    slots = show_number(max(most - taken, 0) // 5)
    meaning = f"a slot takes up to five, so this process can have some {slots} open (sysctl vm.max_map_count)"
    few = most - taken < _FEW_MAPPINGS
    yield Finding(
        LIMITS,
        "max_map_count",
        OPTIONAL if few else "ok",
        show_number(most),
        meaning,
        {"count": most, "taken": taken},
    )


def memory(root: Path = Path("/")) -> Iterator[Finding]:
    """Check the memory of the machine and its overcommit settings."""
    fields = _fields(root / "proc/meminfo")
    if "MemAvailable" in fields:
        left = fields["MemAvailable"] + fields.get("SwapFree", 0)
        yield Finding(
            MEMORY,
            "available",
            OPTIONAL if left < _LITTLE else "ok",
            show_size(left),
            "what is more than this is a MemoryError before it is touched",
            {"bytes": left, "available": fields["MemAvailable"], "swap": fields.get("SwapFree", 0)},
        )
    for level in levels(root):
        yield _cgroup(level.path, level.version, level.limit, level.usage, level.headroom)
    yield from _overcommit(root, fields)
    yield _huge_pages(root, "shmem_enabled", "memfd", "advise")
    yield _huge_pages(root, "enabled", "anonymous", "madvise")


def _cgroup(path: str, version: int, limit: int | None, usage: int, headroom: int | None) -> Finding:
    facts = {"path": path, "version": version, "limit": limit, "usage": usage, "headroom": headroom}
    if limit is None or headroom is None:
        meaning = f"cgroup v{version} {path} sets no limit"
        return Finding(MEMORY, "cgroup", "ok", "unlimited", meaning, facts)
    meaning = (
        f"left of {show_size(limit)} in cgroup v{version} {path}, caches counted as used: "
        "beyond it the kernel kills rather than refuses"
    )
    state: State = OPTIONAL if headroom < _LITTLE else "ok"
    return Finding(MEMORY, "cgroup", state, show_size(headroom), meaning, facts)


def _overcommit(root: Path, fields: dict[str, int]) -> Iterator[Finding]:
    mode = _number(root / "proc/sys/vm/overcommit_memory")
    if mode is None:
        return
    strict = mode == 2
    meaning = (
        "strict: the kernel promises no more than CommitLimit, and may refuse memory that is available"
        if strict
        else "untouched memory costs address space only"
    )
    facts: dict[str, int] = {"mode": mode}
    if strict:
        facts |= {"limit": fields.get("CommitLimit", 0), "promised": fields.get("Committed_AS", 0)}
    yield Finding(MEMORY, "overcommit", OPTIONAL if strict else "ok", f"mode {mode}", meaning, facts)


def _huge_pages(root: Path, setting: str, of: str, wanted: str) -> Finding:
    name = f"huge pages, {of}"
    directory = root / "sys/kernel/mm/transparent_hugepage"
    try:
        chosen = (directory / setting).read_text().partition("[")[2].partition("]")[0]
    except OSError:
        chosen = ""
    offered = chosen in ("madvise", "advise", "always", "within_size", "force")
    size = _number(directory / "hpage_pmd_size") or 0
    facts = {"setting": chosen or None, "bytes": size}
    if offered and size:
        meaning = f"{of} slots of 16 MiB and more use pages of {show_size(size)}, far cheaper to commit"
        return Finding(MEMORY, name, "ok", chosen, meaning, facts)
    meaning = (
        f"large {of} slots use small pages; for cheaper ones set "
        f"/sys/kernel/mm/transparent_hugepage/{setting} to {wanted}"
    )
    return Finding(MEMORY, name, OPTIONAL, chosen or "none", meaning, facts)


def _fields(file: Path) -> dict[str, int]:
    """Bytes that a file such as /proc/meminfo gives in kB."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0].rstrip(":"): int(pair[1]) * 1024 for pair in pairs if pair[-1] == "kB"}


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _lines(file: Path) -> int:
    try:
        return len(file.read_text().splitlines())
    except OSError:
        return 0
