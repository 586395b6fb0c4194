"""Paths of any length: the kernel accepts up to 4,095 bytes, so longer paths are opened in steps."""

from __future__ import annotations

import os

PATH_MAX = 4096  # include/uapi/linux/limits.h; includes the terminator

# The limit for a path relative to a descriptor: `/proc/self/fd/1048576/` has to fit before it.
_STEP = PATH_MAX - 32


def is_long(path: str) -> bool:
    """Whether `path` is too long for the kernel."""
    return 4 * len(path) >= PATH_MAX and len(os.fsencode(path)) >= PATH_MAX


class Reachable:
    """A path to the same file that the kernel accepts, valid within the `with` block."""

    def __init__(self, path: str) -> None:
        """Take a path of any length."""
        self._path = path
        self._directory: int | None = None

    def __enter__(self) -> str:
        """Open the directories on the way, if need be.

        Raises:
            OSError: A directory on the way cannot be opened.
        """
        if not is_long(self._path):
            return self._path
        rest = os.fsencode(self._path)
        try:
            while len(rest) > _STEP:
                cut = rest.rfind(b"/", 1, _STEP)
                outer, self._directory = (
                    self._directory,
                    os.open(rest[:cut], os.O_PATH | os.O_DIRECTORY, dir_fd=self._directory),
                )
                if outer is not None:
                    os.close(outer)
                rest = rest[cut:].lstrip(b"/")
        except OSError:
            self.__exit__()
            raise
        return f"/proc/self/fd/{self._directory}/{os.fsdecode(rest)}"

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None
