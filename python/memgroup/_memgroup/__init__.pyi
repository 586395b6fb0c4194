"""The compiled half of memgroup: one stub for each of its subjects, where at run time it is one module."""

from typing import Final

from memgroup._memgroup.arrow import ArrowArray
from memgroup._memgroup.block import MemBlock
from memgroup._memgroup.cache import WarmMemory, prewarm, set_warm_limit, warm_memory
from memgroup._memgroup.fault import disable_fault_report, enable_fault_report
from memgroup._memgroup.group import MemGroup
from memgroup._memgroup.handles import handle_of, handle_segments, object_of_handle, shared_descriptor
from memgroup._memgroup.io import FrameReader, non_blocking, read_nonblocking, write_nonblocking
from memgroup._memgroup.list import MemList
from memgroup._memgroup.memory import memory_facts
from memgroup._memgroup.parcel import Parcel, ReceivedParcel, recv_parcel
from memgroup._memgroup.pickling import block_from_buffer, gathered, list_of_joined, list_of_pieces, pieces
from memgroup._memgroup.pool import MemPool, PoolStats
from memgroup._memgroup.releases import recv_releases, send_releases
from memgroup._memgroup.rmap import Broken, Machine, Process, Vma
from memgroup._memgroup.search import Pattern, TreeWalk, is_text_utf8, search_files, search_rows
from memgroup._memgroup.stats import GroupStats, SlotStats

__all__ = [
    "ArrowArray",
    "Broken",
    "FrameReader",
    "GroupStats",
    "Machine",
    "MemBlock",
    "MemGroup",
    "MemList",
    "MemPool",
    "Parcel",
    "Pattern",
    "PoolStats",
    "Process",
    "ReceivedParcel",
    "SlotStats",
    "TreeWalk",
    "Vma",
    "WarmMemory",
    "__version__",
    "block_from_buffer",
    "disable_fault_report",
    "enable_fault_report",
    "gathered",
    "handle_of",
    "handle_segments",
    "is_text_utf8",
    "list_of_joined",
    "list_of_pieces",
    "memory_facts",
    "non_blocking",
    "object_of_handle",
    "pieces",
    "prewarm",
    "read_nonblocking",
    "recv_parcel",
    "recv_releases",
    "search_files",
    "search_rows",
    "send_releases",
    "set_warm_limit",
    "shared_descriptor",
    "warm_memory",
    "write_nonblocking",
]

__version__: Final[str]
