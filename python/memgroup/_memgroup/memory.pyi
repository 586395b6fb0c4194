"""Figures of memory that the kernel reports."""

from typing import TypedDict, type_check_only

@type_check_only
class CgroupFacts(TypedDict):
    path: str
    version: int
    limit: int | None
    usage: int
    reclaimable: int

@type_check_only
class MemoryFacts(TypedDict):
    total: int | None
    available: int | None
    swap_free: int | None
    commit_limit: int | None
    committed: int | None
    overcommit_mode: int | None
    max_mappings: int | None
    mappings: int | None
    processes_left: int | None
    huge_page_enabled: str | None
    huge_page_shmem_enabled: str | None
    huge_page_size: int | None
    cgroups: list[CgroupFacts]

def memory_facts() -> MemoryFacts:
    """Return the kernel's current figures of memory, in bytes; None for those that it does not report.

    The cgroups are those of this process, its own first. `reclaimable` is the part of `usage` that the kernel
    reclaims before it kills a process.
    """
