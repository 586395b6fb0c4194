"""Allocate-only memory groups.

Hand out memory, protect it without a system call, free all of it in one shot::

    import memgroup

    with memgroup.MemGroup() as group:
        block = group.copy(b"some bytes")
        protected = group.protect(block)
"""

from memgroup._gather import Batch, gather
from memgroup._memgroup import (
    ArrowArray,
    FrameReader,
    GroupStats,
    MemBlock,
    MemGroup,
    MemList,
    ReadResult,
    SlotStats,
    WarmMemory,
    __version__,
    disable_fault_report,
    enable_fault_report,
    set_warm_limit,
    warm_memory,
)
from memgroup._pickle import loads_into

__all__ = [
    "ArrowArray",
    "Batch",
    "FrameReader",
    "GroupStats",
    "MemBlock",
    "MemGroup",
    "MemList",
    "ReadResult",
    "SlotStats",
    "WarmMemory",
    "__version__",
    "disable_fault_report",
    "enable_fault_report",
    "gather",
    "loads_into",
    "set_warm_limit",
    "warm_memory",
]
