"""Receiving and sending through asyncio: lists of blocks, and length-prefixed messages.

The event loop only says when a stream is ready; the kernel moves the bytes straight into or out of the
blocks. After a cancellation, a timeout or an error, the next await continues where the last one stopped::

    from memgroup import aio

    async for block in aio.frames(group, sock):
        ...

Streams are nonblocking sockets, and pipes and other descriptors that the loop can watch. One task at a time
may wait for one direction of a stream, and no other code (a transport, `loop.sock_recv`) may have the loop
watch it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, final
from weakref import WeakKeyDictionary

from memgroup._memgroup import (
    MemBlock,
    MemGroup,
    MemList,
    non_blocking,
    read_nonblocking,
    write_nonblocking,
)

if TYPE_CHECKING:
    from typing import Unpack

    from _typeshed import FileDescriptorLike

    from memgroup.frames import Format

    _Waiter = tuple[asyncio.Future[None], FileDescriptorLike]

__all__ = ["FrameReader", "Transfer", "frames", "readv", "recvmsg_into", "sendmsg", "writev"]

AT_ONCE = 1024 * 1024
"""About how many bytes a task moves before others get their turn."""

EACH = 256
"""What a message counts for besides its bytes."""


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
                    await _ready(self._stream, self._direction)
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
        OSError: What the socket reports.
    """
    _check_writable(blocks)
    return Transfer(blocks, sock, read_nonblocking, "read")


def sendmsg(blocks: MemList, sock: FileDescriptorLike) -> Transfer:
    """Gather the blocks of a list, in order, into a socket.

    Awaiting the result gives the number of bytes, which is `blocks.nbytes`.

    Args:
        blocks: The list. What is written to it meanwhile may or may not be sent.
        sock: A non-blocking stream socket.

    Raises:
        TypeError: `sock` has no descriptor or is an SSL socket.
        ValueError: The socket blocks or is no stream, or the group is freed.
        OSError: What the socket reports.
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
        blocks: The list. What is written to it meanwhile may or may not be sent.
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


@final
class FrameReader(AsyncIterator[MemBlock]):
    """Receives length-prefixed messages: a `memgroup.FrameReader` for `async for`.

    `frames` makes it. A cancelled `anext` loses no byte: the next one continues where it stopped.
    """

    def __init__(
        self, group: MemGroup, source: FileDescriptorLike, read_ahead: int, description: Format
    ) -> None:
        """Make a reader; `frames` calls this."""
        non_blocking(source)
        self._frames = group.frames(source, read_ahead=read_ahead, **description)
        self._source = source
        self._left = AT_ONCE
        self._busy = False

    @property
    def partial(self) -> MemBlock | None:
        """The received part of an unfinished message, or None."""
        return self._frames.partial

    @property
    def missing(self) -> int:
        """The number of missing bytes of an unfinished message; 0 if there is no such message."""
        return self._frames.missing

    @property
    def ahead(self) -> bytes:
        """A copy of the bytes that were read from the stream and are in no message yet."""
        return self._frames.ahead

    def close(self) -> None:
        """Give up an unfinished message, so that it is no longer a view of the group."""
        self._frames.close()

    async def __anext__(self) -> MemBlock:
        """Receive the next message.

        Raises:
            ValueError: A message is larger than the limit, or the group is freed.
            MemoryError: The group has no room for it; the call can be repeated.
            EOFError: The stream ended within a message.
            OSError: What the stream reports.
        """
        if self._busy:
            raise RuntimeError("another task is awaiting a message of this reader: wait for that one")
        self._busy = True
        try:
            while True:
                if self._left <= 0:
                    await asyncio.sleep(0)  # with nothing in hand that a cancellation could lose
                    self._left = AT_ONCE
                try:
                    block = self._frames._advance(AT_ONCE)
                except BlockingIOError:
                    await _ready(self._source, "read")
                    self._left = AT_ONCE
                    continue
                except StopIteration:
                    raise StopAsyncIteration from None
                if block is not None:
                    self._left -= len(block) + EACH
                    return block
                self._left = 0
        finally:
            self._busy = False


def frames(
    group: MemGroup,
    source: FileDescriptorLike,
    *,
    read_ahead: int = 65536,
    **description: Unpack[Format],
) -> FrameReader:
    """Return the messages of a nonblocking stream, as blocks of a group.

    Args:
        group: The group that receives the messages.
        source: A nonblocking stream socket, or a pipe or another descriptor that the loop can watch.
        read_ahead: The most bytes to read behind the message that is wanted. A secret group reads nothing
            ahead.
        description: How messages are told apart, as in the group's `frames`: `prefix`, `length_offset`,
            `delimiter` and so on.

    Raises:
        TypeError: `source` has no descriptor, or an argument is of the wrong type.
        ValueError: The stream blocks or is one of messages, an argument is out of range, or the group is
            freed.
        OSError: The descriptor is closed.
    """
    return FrameReader(group, source, read_ahead, description)


_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], _Waiter]] = WeakKeyDictionary()
"""Who waits for what: a loop has one callback for each direction of a descriptor, the latest."""


async def _ready(stream: FileDescriptorLike, direction: Literal["read", "write"]) -> None:
    """Wait until a stream is ready to be read from or written to."""
    loop = asyncio.get_running_loop()
    descriptor = non_blocking(stream)
    waiting, what = _waiting.setdefault(loop, {}), (direction, descriptor)
    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if direction == "read"
        else (loop.add_writer, loop.remove_writer)
    )
    if what in waiting:
        if not _is_closed(waiting[what][1]):
            raise RuntimeError(
                f"another task is waiting to {direction} on descriptor {descriptor}: wait for that one"
            )
        remove(descriptor)  # of the closed one: for the loop it is still registered
    future = loop.create_future()
    add(descriptor, _wake, future)
    waiting[what] = future, stream
    try:
        await future
    finally:
        # The stream may have been closed meanwhile, and its number may belong to another stream, which waits
        # in its place, or to the loop itself, which raises an error.
        if waiting[what][0] is future:
            del waiting[what]
            with contextlib.suppress(RuntimeError):
                remove(descriptor)


def _is_closed(stream: FileDescriptorLike) -> bool:
    """Return whether a stream object has closed its descriptor. A bare number cannot tell."""
    if isinstance(stream, int):
        return False
    try:
        return stream.fileno() < 0
    except ValueError:  # what files say
        return True


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
