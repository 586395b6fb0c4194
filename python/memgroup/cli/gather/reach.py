"""Paths of any length: the kernel accepts up to 4,095 bytes, so longer paths are opened in steps."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

PATH_MAX = 4096  # include/uapi/linux/limits.h; includes the terminator

# The limit for a path relative to a descriptor: `/proc/self/fd/1048576/` has to fit before it.
_STEP = PATH_MAX - 32


def is_long(path: str) -> bool:
    """Whether `path` is too long for the kernel."""
    return 4 * len(path) >= PATH_MAX and len(os.fsencode(path)) >= PATH_MAX


@contextmanager
def reachable(path: str) -> Generator[str]:
    """A path to the same file that the kernel accepts, valid within the `with` block.

    Raises:
        OSError: A directory on the way cannot be opened.
    """
    if not is_long(path):
        yield path
        return
    rest, directory = os.fsencode(path), None
    try:
        while len(rest) > _STEP:
            cut = rest.rfind(b"/", 1, _STEP)
            outer, directory = directory, os.open(rest[:cut], os.O_PATH | os.O_DIRECTORY, dir_fd=directory)
            if outer is not None:
                os.close(outer)
            rest = rest[cut:].lstrip(b"/")
        yield f"/proc/self/fd/{directory}/{os.fsdecode(rest)}"
    finally:
        if directory is not None:
            os.close(directory)
