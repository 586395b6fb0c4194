"""The limits for groups on this machine: limits of the process, settings of the kernel, available memory."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

from memgroup import MemGroup
from memgroup.display.text import show_number, show_size
from memgroup.doctor.findings import OPTIONAL, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup._memgroup.memory import CgroupFacts, MemoryFacts
    from memgroup.doctor.findings import State

LIMITS, MEMORY = "Limits", "Memory"

# A process is likely to reach a lower limit.
_LITTLE = 256 << 20
_FEW_MAPPINGS = 10_000
_FEW_FILES = 64


def limits(facts: MemoryFacts) -> Iterator[Finding]:
    """Check the resource limits of this process."""
    for name, bounded, free in (
        (
            "RLIMIT_AS",
            "each slot takes twice its size of address space; beyond the limit is a MemoryError (ulimit -v)",
            "slots may take any amount of address space",
        ),
        (
            "RLIMIT_FSIZE",
            "each slot is a file, so a larger one is a MemoryError (ulimit -f)",
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
    yield from _mappings(facts)


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


def _mappings(facts: MemoryFacts) -> Iterator[Finding]:
    most, taken = facts["max_mappings"], facts["mappings"]
    if most is None or taken is None:
        return
    slots = show_number(max(most - taken, 0) // 5)
    meaning = f"a slot takes up to five, so a process can have some {slots} slots (sysctl vm.max_map_count)"
    few = most - taken < _FEW_MAPPINGS
    yield Finding(
        LIMITS,
        "max_map_count",
        OPTIONAL if few else "ok",
        show_number(most),
        meaning,
        {"count": most, "taken": taken},
    )


def memory(facts: MemoryFacts) -> Iterator[Finding]:
    """Check the memory of the machine and its overcommit settings."""
    available, swap = facts["available"], facts["swap_free"] or 0
    if available is not None:
        left = available + swap
        yield Finding(
            MEMORY,
            "available",
            OPTIONAL if left < _LITTLE else "ok",
            show_size(left),
            "a request for more is a MemoryError",
            {"bytes": left, "available": available, "swap": swap},
        )
    for level in facts["cgroups"]:
        yield _cgroup(level)
    yield from _overcommit(facts)
    size = facts["huge_page_size"] or 0
    yield _huge_pages(facts["huge_page_shmem_enabled"], size, "shmem_enabled", "memfd", "deny", "never")
    yield _huge_pages(facts["huge_page_enabled"], size, "enabled", "anonymous", "never", "madvise")


def _cgroup(level: CgroupFacts) -> Finding:
    path, version, limit, usage = level["path"], level["version"], level["limit"], level["usage"]
    headroom = None if limit is None else max(limit - usage, 0)
    facts = {"path": path, "version": version, "limit": limit, "usage": usage, "headroom": headroom}
    if limit is None or headroom is None:
        meaning = f"cgroup v{version} {path} sets no limit"
        return Finding(MEMORY, "cgroup", "ok", "unlimited", meaning, facts)
    meaning = (
        f"left of {show_size(limit)} in cgroup v{version} {path}, where caches count as used: "
        "beyond it the kernel kills rather than refuses"
    )
    state: State = OPTIONAL if headroom < _LITTLE else "ok"
    return Finding(MEMORY, "cgroup", state, show_size(headroom), meaning, facts)


def _overcommit(facts: MemoryFacts) -> Iterator[Finding]:
    mode = facts["overcommit_mode"]
    if mode is None:
        return
    strict = mode == 2
    found: dict[str, int] = {"mode": mode}
    if not strict:
        meaning = "untouched memory costs address space only"
        yield Finding(MEMORY, "overcommit", "ok", f"mode {mode}", meaning, found)
        return
    limit, promised = facts["commit_limit"] or 0, facts["committed"] or 0
    found |= {"limit": limit, "promised": promised}
    meaning = (
        f"strict: {show_size(max(limit - promised, 0))} of CommitLimit are left, beyond it is a MemoryError; "
        "a memfd group fills a block with pages at once, touched or not "
        "(sysctl vm.overcommit_memory, vm.overcommit_ratio)"
    )
    yield Finding(MEMORY, "overcommit", OPTIONAL, f"mode {mode}", meaning, found)


def _huge_pages(chosen: str | None, size: int, setting: str, of: str, none: str, wanted: str) -> Finding:
    name = f"huge pages, {of}"
    facts = {"setting": chosen, "bytes": size}
    if os.environ.get("MEMGROUP_HUGE_PAGES") == "0":
        meaning = f"large {of} slots use small pages: MEMGROUP_HUGE_PAGES=0 is set"
        return Finding(MEMORY, name, OPTIONAL, chosen or "none", meaning, facts)
    if chosen and chosen != none and size:
        obstacle = _huge_page_obstacle(of, size)
        tried = f"a trial got none: {obstacle}" if obstacle else "stats().huge says how much"
        meaning = f"large {of} slots use pages of {show_size(size)}, which cost far less; {tried}"
        return Finding(MEMORY, name, "ok", chosen, meaning, facts | {"obstacle": obstacle})
    meaning = (
        f"large {of} slots use small pages; for cheaper ones set "
        f"/sys/kernel/mm/transparent_hugepage/{setting} to {wanted}"
    )
    return Finding(MEMORY, name, OPTIONAL, chosen or "none", meaning, facts)


def _huge_page_obstacle(backing: str, size: int) -> str | None:
    """Try to get a huge page, and return why there was none."""
    with MemGroup(size, backing=backing) as group:
        group.alloc(size)
        stats = group.stats()
    return None if stats.huge else stats.huge_obstacle
