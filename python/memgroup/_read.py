"""One file into one block."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from memgroup._text import show_size

if TYPE_CHECKING:
    from memgroup import MemBlock, MemGroup

# Never blocks, nor acquires a terminal: a fifo or a device may be where the file was found.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# Bytes past the announced size that one read can notice.
_SPILL = 64 * 1024

# Bytes that are read of a file beyond what it announced, which is nothing for those of /proc: some of them go
# on for longer than any memory lasts, as /proc/self/pagemap does.
_MOST_UNANNOUNCED = 64 * 1024 * 1024


class Reader:
    """Reads whole files, each into a block of its own, and straight so if it is as long as announced.

    Attributes:
        changed: Files that had become longer or shorter than the file system had announced a moment before.
        unsized: Files announced as empty that had content all the same, as those of /proc.
        abandoned: Bytes of the group that were allocated and then given up: what a file that shrank left of
            its block, and the whole block of a file that grew or could not be read to its end.
    """

    def __init__(self, group: MemGroup) -> None:
        """Take the blocks from `group`."""
        self.changed = 0
        self.unsized = 0
        self.abandoned = 0
        self._alloc = group.alloc
        self._copy = group.copy
        # Offered to each read behind the block, and left untouched unless there is more than was announced:
        # so one system call reads a file and finds that this was all of it.
        self._spill = bytearray(_SPILL)

    def read(self, path: str) -> MemBlock:
        """Content of the file at `path`.

        Of a file that grows, what it held when its end was met; of one that shrinks, what was left.

        Raises:
            OSError: It cannot be read, or is a regular file no more; EFBIG if it goes on 64 MiB beyond the
                size that it announced.
            MemoryError: The group has no room for it.
        """
        fd = os.open(path, _FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file any more")
            size = status.st_size
            return self._read_announced(fd, size) if size else self._read_unannounced(fd)
        finally:
            os.close(fd)

    def _read_announced(self, fd: int, size: int) -> MemBlock:
        block = self._alloc(size)
        try:
            got = os.readv(fd, (block, self._spill))
            if got < size:
                got = self._read_on(fd, block, got)
        except OSError:
            self.abandoned += size
            raise
        return block if got == size else self._settle(fd, block, got)

    def _read_on(self, fd: int, block: MemBlock, done: int) -> int:
        """Read until the file ends or the block is full.

        One read gives at most 2 GiB, and less when a signal comes.

        Returns:
            Bytes read, `done` included; those that the block does not hold are in the spill.
        """
        while done < len(block):
            got = os.readv(fd, (block[done:], self._spill))
            if got == 0:
                break
            done += got
        return done

    def _settle(self, fd: int, block: MemBlock, got: int) -> MemBlock:
        """The content of a file of which `got` bytes were read, which is not the length of `block`."""
        if got > len(block):
            self.abandoned += len(block)
            block = self._lengthen(
                block, self._read_rest(fd, got - len(block), "Grew while it was read by more than")
            )
        else:
            self.abandoned += len(block) - got
            block = block[:got]
        self.changed += 1
        return block

    def _lengthen(self, block: MemBlock, rest: bytearray) -> MemBlock:
        longer = self._alloc(len(block) + len(rest))
        longer[: len(block)] = block
        longer[len(block) :] = rest
        return longer

    def _read_unannounced(self, fd: int) -> MemBlock:
        """Content of a file that announced none. A block is taken only once its length is known."""
        got = os.readv(fd, (self._spill,))
        if got == 0:
            return self._alloc(0)
        block = self._copy(self._read_rest(fd, got, "Announces no size and goes on beyond"))
        if os.fstat(fd).st_size == 0:
            self.unsized += 1
        else:
            self.changed += 1
        return block

    def _read_rest(self, fd: int, spilled: int, finding: str) -> bytearray:
        """What is unannounced of a file: the first `spilled` bytes of the spill, and all that follows.

        Raises:
            OSError: It cannot be read; EFBIG, with `finding` and the most bytes as its words, if it goes on.
        """
        rest = self._spill[:spilled]
        while got := os.readv(fd, (self._spill,)):
            rest += memoryview(self._spill)[:got]
            if len(rest) > _MOST_UNANNOUNCED:
                raise OSError(errno.EFBIG, f"{finding} {show_size(_MOST_UNANNOUNCED)}")
        return rest
