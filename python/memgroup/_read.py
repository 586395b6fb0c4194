"""One file into one block."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memgroup import MemBlock, MemGroup

# Never blocks, nor acquires a terminal: a fifo or a device may be where the file was found.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# Bytes past the announced size that one read can notice.
_SPILL = 64 * 1024

# How often a file that keeps growing is read again. Without an announced size the room grows fourfold each
# time, so this is also what bounds such a file: 64 KiB * 4**8 = 4 GiB.
_RETRIES = 8


class Reader:
    """Reads whole files, each straight into a block of its own.

    Attributes:
        changed: Files that had become longer or shorter than the file system had announced a moment before.
        unsized: Files announced as empty that had content all the same, as those of /proc.
    """

    def __init__(self, group: MemGroup) -> None:
        """Take the blocks from `group`."""
        self.changed = 0
        self.unsized = 0
        self._alloc = group.alloc
        # Offered to each read behind the block, and left untouched unless there is more than was announced:
        # so one system call reads a file and finds that this was all of it.
        self._spill = bytearray(_SPILL)

    def read(self, path: str) -> MemBlock:
        """Content of the file at `path`.

        Of a file that keeps growing, what it held at one moment; of one that shrinks, what was left.

        Raises:
            OSError: It cannot be read, or is a regular file no more.
            MemoryError: The group has no room for it.
        """
        fd = os.open(path, _FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file any more")
            size = status.st_size
            block = self._alloc(size)
            got = os.readv(fd, (block, self._spill))
            return block if got == size else self._settle(fd, block, got)
        finally:
            os.close(fd)

    def _settle(self, fd: int, block: MemBlock, got: int) -> MemBlock:
        """Finish a file whose first read did not give what was announced, the length of `block`."""
        announced = len(block)
        got = self._read_on(fd, block, got)
        for _ in range(_RETRIES):
            if got <= len(block):
                break
            block = self._alloc(_larger(fd, got))
            os.lseek(fd, 0, os.SEEK_SET)
            got = self._read_on(fd, block, 0)
        if got < len(block):
            block = block[:got]
        if len(block) != announced:
            self._count(fd, announced)
        return block

    def _read_on(self, fd: int, block: MemBlock, done: int) -> int:
        """Read until the file ends or the block is full.

        One read gives at most 2 GiB, and less when a signal comes.

        Returns:
            Bytes read, `done` included; more than the block holds if the file goes on behind it.
        """
        while done < len(block):
            got = os.readv(fd, (block[done:], self._spill))
            if got == 0:
                break
            done += got
        return done

    def _count(self, fd: int, announced: int) -> None:
        if announced == 0 and os.fstat(fd).st_size == 0:
            self.unsized += 1
        else:
            self.changed += 1


def _larger(fd: int, got: int) -> int:
    """Bytes to make room for, of a file that gave more than was announced."""
    size = os.fstat(fd).st_size
    return size if size >= got else 4 * got
