"""Allocate-only memory groups.

Allocate memory, protect it without a system call, free all of it in one step::

    import memgroup

    with memgroup.MemGroup() as group:
        block = group.copy(b"some bytes")
        protected = group.protect(block)
"""

from memgroup._files import Batch
from memgroup._gather import gather
from memgroup._memgroup import (
    ArrowArray,
    FrameReader,
    GroupStats,
    MemBlock,
    MemGroup,
    MemList,
    MemPool,
    PoolStats,
    SlotStats,
    WarmMemory,
    __version__,
    disable_fault_report,
    enable_fault_report,
    prewarm,
    recv_releases,
    send_releases,
    set_warm_limit,
    warm_memory,
)
from memgroup._pickle import loads_into
from memgroup._reads import ReadResult

# What type checkers take for true: importing typing would take longer than all of the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from memgroup._processes import job_reducers

__all__ = [
    "ArrowArray",
    "Batch",
    "FrameReader",
    "GroupStats",
    "MemBlock",
    "MemGroup",
    "MemList",
    "MemPool",
    "PoolStats",
    "ReadResult",
    "SlotStats",
    "WarmMemory",
    "__version__",
    "disable_fault_report",
    "enable_fault_report",
    "gather",
    "job_reducers",
    "loads_into",
    "prewarm",
    "recv_releases",
    "send_releases",
    "set_warm_limit",
    "warm_memory",
]


def __getattr__(name: str) -> object:
    """Return `job_reducers`, without importing multiprocessing before it is used."""
    if name == "job_reducers":
        from memgroup._processes import job_reducers

        return job_reducers
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
