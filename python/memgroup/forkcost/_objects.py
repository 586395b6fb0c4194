"""The kernel's objects for mappings, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SLABS = Path("/sys/kernel/slab")

# x86-64, Linux 6.18, without debugging options. Only root may read the sizes of the running kernel.
_DOCUMENTED = {"vm_area_struct": 192, "anon_vma": 96, "anon_vma_chain": 64}
_DOCUMENTED_SOURCE = "Linux 6.18 on x86-64"

PAGE_TABLE = 4096
"""Bytes of one page table, of whatever level."""

PAGE = 4096
"""Bytes of a page."""

ENTRIES = 512
"""Entries of a page table."""


@dataclass(frozen=True, slots=True)
class KernelObject:
    """A kind of object.

    Attributes:
        name: Its name in the kernel.
        nbytes: Its size.
        source: The source of that number.
    """

    name: str
    nbytes: int
    source: str


def kernel_objects(slabs: Path = _SLABS) -> tuple[KernelObject, ...]:
    """The kinds that a mapping needs, with the sizes of this kernel if they are readable."""
    return tuple(_object(slabs, name, documented) for name, documented in _DOCUMENTED.items())


def _object(slabs: Path, name: str, documented: int) -> KernelObject:
    told = slabs / name / "object_size"
    try:
        return KernelObject(name, int(told.read_text()), str(told))
    except (OSError, ValueError):
        return KernelObject(name, documented, _DOCUMENTED_SOURCE)
