"""The files below some paths in batches by size."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from memgroup._memgroup import TreeWalk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# To open a file takes as long as to search so many bytes.
_FILE_BYTES = 16 * 1024


class Files(NamedTuple):
    """Some files: their paths, and whether each was named itself and not found below a directory."""

    paths: list[bytes]
    are_given: list[bool]


class Range(NamedTuple):
    """A range of a file: its path, whether it was named itself, and whether the file ends in the range."""

    path: bytes
    is_given: bool
    start: int
    end: int
    is_last: bool


class FileBatches:
    """An iterable of `Files`, in the order of the walk; and of the ranges of large files, if these are split.

    Attributes:
        problems: The paths that were left out so far, and the reasons.
    """

    def __init__(
        self,
        roots: Sequence[bytes],
        ignore: bool,
        nbytes: int,
        output: os.stat_result | None,
        splits: bool = False,
    ) -> None:
        """Walk from some paths. Leave out the file `output`, to which the results go."""
        self._walk = TreeWalk(list(roots), ignore)
        self._given = frozenset(roots)
        self._nbytes = nbytes
        self._output = output
        self._splits = splits
        self.problems: list[tuple[bytes, str]] = []

    def __iter__(self) -> Iterator[Files | Range]:
        """Walk."""
        batch, filled = Files([], []), 0
        for path in (path for some in self._walk for path in some):
            size = self._size(path)
            if size is None:
                self.problems.append((path, "input file is also the output"))
                continue
            if batch.paths and filled + size > self._nbytes:
                yield batch
                batch, filled = Files([], []), 0
            if self._splits and size > self._nbytes + _FILE_BYTES and _begins_with_text(path):
                yield from self._ranges(path, size - _FILE_BYTES)
                continue
            batch.paths.append(path)
            batch.are_given.append(path in self._given)
            filled += size
        self.problems += [(path, os.strerror(code)) for path, code in self._walk.unreadable]
        if batch.paths:
            yield batch

    def _size(self, path: bytes) -> int | None:
        """How much work a file is; None if it is the output."""
        try:
            status = os.stat(path)
        except OSError:
            return _FILE_BYTES  # reading it will tell what is wrong
        if self._output is not None and os.path.samestat(status, self._output):
            return None
        return _FILE_BYTES + status.st_size

    def _ranges(self, path: bytes, size: int) -> Iterator[Range]:
        for start in range(0, size, self._nbytes):
            end = min(start + self._nbytes, size)
            yield Range(path, path in self._given, start, end, end == size)


def _begins_with_text(path: bytes) -> bool:
    """Whether a file can be read here, and has no zero byte in its first bytes: one that has is not split."""
    try:
        with open(path, "rb") as file:
            return b"\0" not in file.read(_FILE_BYTES)
    except OSError:
        return False
