"""Lists of blocks through streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, final

from memgroup._memgroup import MemList, non_blocking, read_nonblocking, write_nonblocking
from memgroup.aio.ready import AT_ONCE, ready

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


@final
class Transfer:
    """A transfer of bytes into or out of a list: awaiting it completes it.

    If a cancellation, a timeout or an error stops an await, `nbytes` says how many bytes were moved, and
    awaiting again continues after them. A waiting transfer holds no memory of the group, so the group may be
    freed: continuing then raises ValueError.
    """

    def __init__(
        self,
        blocks: MemList,
        stream: FileDescriptorLike,
        move: Callable[[MemList, FileDescriptorLike, int, int, int], tuple[int, int, int]],
        direction: Literal["read", "write"],
    ) -> None:
        """Make a transfer; `recvmsg_into` and the other functions call this."""
        non_blocking(stream)
        self._blocks = blocks
        self._stream = stream
        self._move = move
        self._direction: Literal["read", "write"] = direction
        self._index = 0
        self._offset = 0
        self._nbytes = 0
        self._busy = False

    @property
    def nbytes(self) -> int:
        """Bytes moved so far."""
        return self._nbytes

    def __await__(self) -> Generator[Any, None, int]:
        """Continue to the end of the list or of the stream; return how many bytes were moved in all."""
        return self.complete().__await__()

    async def complete(self) -> int:
        """Await the transfer in a coroutine, for `asyncio.create_task` and task groups."""
        if self._busy:
            raise RuntimeError("another task is awaiting this transfer: wait for that one")
        self._busy = True
        try:
            left = AT_ONCE
            while self._index < len(self._blocks):
                if left <= 0:
                    await asyncio.sleep(0)  # with nothing in hand that a cancellation could lose
                    left = AT_ONCE
                try:
                    moved = self._move(self._blocks, self._stream, self._index, self._offset, AT_ONCE)
                except BlockingIOError:
                    await ready(self._stream, self._direction)
                    left = AT_ONCE
                    continue
                self._index, self._offset, count = moved
                self._nbytes += count
                left -= count
                if count == 0 and self._index < len(self._blocks):
                    break
            return self._nbytes
        finally:
            self._busy = False


def recvmsg_into(blocks: MemList, sock: FileDescriptorLike) -> Transfer:
    """Scatter what a socket receives into the blocks of a list, in order, until all are full.

    Awaiting the result gives the number of bytes: less than `blocks.nbytes` only if the stream ended.

    Args:
        blocks: The list; it must not be protected.
        sock: A non-blocking stream socket.

    Raises:
        TypeError: The list is protected, or `sock` has no descriptor or is an SSL socket.
        ValueError: The socket blocks or is no stream, or the group is freed.
        OSError: The socket raises it.
    """
    _check_writable(blocks)
    return Transfer(blocks, sock, read_nonblocking, "read")


def sendmsg(blocks: MemList, sock: FileDescriptorLike) -> Transfer:
    """Gather the blocks of a list, in order, into a socket.

    Awaiting the result gives the number of bytes, which is `blocks.nbytes`.

    Args:
        blocks: The list. Bytes that are written to it meanwhile may or may not be sent.
        sock: A non-blocking stream socket.

    Raises:
        TypeError: `sock` has no descriptor or is an SSL socket.
        ValueError: The socket blocks or is no stream, or the group is freed.
        OSError: The socket raises it.
    """
    return Transfer(blocks, sock, write_nonblocking, "write")


def readv(blocks: MemList, source: FileDescriptorLike) -> Transfer:
    """Do what `recvmsg_into` does, from a pipe or another descriptor that the loop can watch.

    Args:
        blocks: The list; it must not be protected.
        source: A non-blocking descriptor (`os.set_blocking(fd, False)`), or an object that has one.

    Raises:
        TypeError: The list is protected, or `source` has no descriptor.
        ValueError: The stream blocks, or the group is freed.
        OSError: What the stream reports.
    """
    _check_writable(blocks)
    return Transfer(blocks, source, read_nonblocking, "read")


def writev(blocks: MemList, target: FileDescriptorLike) -> Transfer:
    """Do what `sendmsg` does, into a pipe or another descriptor that the loop can watch.

    Args:
        blocks: The list. Bytes that are written to it meanwhile may or may not be sent.
        target: A non-blocking descriptor (`os.set_blocking(fd, False)`), or an object that has one.

    Raises:
        TypeError: `target` has no descriptor.
        ValueError: The stream blocks, or the group is freed.
        OSError: What the stream reports.
    """
    return Transfer(blocks, target, write_nonblocking, "write")


def _check_writable(blocks: MemList) -> None:
    if blocks.readonly:
        raise TypeError("this list is protected: the group's unprotect() gives a writable one")
