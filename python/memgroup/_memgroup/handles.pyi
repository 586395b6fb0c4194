"""Handles, by which `memgroup._processes` sends objects of shared groups."""

from collections.abc import Callable
from typing import Any

from memgroup._memgroup.group import MemGroup

def handle_of(obj: object) -> bytes | None:
    """Return the handle of an object of a shared group, or None for any other object."""

def handle_segments(handle: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the numbers of the memory that a handle names, and of memory that its sender has freed.

    Raises:
        ValueError: It is no handle.
    """

def object_of_handle(group: MemGroup, handle: bytes, fetch: Callable[[tuple[bytes, ...]], list[int]]) -> Any:
    """Return the object of a handle, borrowed by `group`.

    Args:
        group: The group that borrows it.
        handle: What `handle_of` returned in another process.
        fetch: Called with the numbers of memory that this process does not have; returns its descriptors,
            which are closed here.

    Raises:
        ValueError: The handle is refused.
        OSError: There are too many open files.
    """

def shared_descriptor(number: bytes) -> int | None:
    """Return a new descriptor of memory for which this process has made a handle.

    None if it has made none, or has freed the memory.

    Raises:
        OSError: There are too many open files.
    """
