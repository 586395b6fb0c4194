"""Messages of streams, awaited one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, final

import memgroup._memgroup as core
from memgroup._memgroup import MemBlock, MemGroup, MemList, non_blocking
from memgroup.aio.ready import AT_ONCE, ready

if TYPE_CHECKING:
    from typing import Unpack

    from _typeshed import FileDescriptorLike

    from memgroup.frames import Format

T = TypeVar("T")

EACH = 256
"""What a message counts for besides its bytes."""


class Arrivals:
    """The source of a reader to which others bring the bytes: has none right now when they are taken."""

    def __init__(self) -> None:
        """Begin a stream."""
        self.rest: bytes | memoryview = b""
        self.error: BaseException | None = None
        self.ended = False

    def recv_into(self, buffer: memoryview, /) -> int:
        """Give the reader what has arrived."""
        count = min(len(buffer), len(self.rest))
        if count > 0:
            buffer[:count] = self.rest[:count]
            self.rest = self.rest[count:]
        elif self.error is not None:
            raise self.error
        elif not self.ended:
            raise BlockingIOError
        return count


@final
class FrameReader(AsyncIterator[MemBlock]):
    """Receives length-prefixed messages: a `memgroup.FrameReader` for `async for`.

    `frames` makes it. A cancelled `anext` loses no byte: the next one continues where it stopped.
    """

    def __init__(
        self, reader: core.FrameReader, wait: Callable[[], Awaitable[None]], arrivals: Arrivals | None = None
    ) -> None:
        """Make a reader; `frames` calls this."""
        self._reader = reader
        self._wait = wait
        self._arrivals = arrivals or Arrivals()
        self._left = AT_ONCE
        self._busy = False

    @property
    def partial(self) -> MemBlock | None:
        """The received part of an unfinished message, or None."""
        return self._reader.partial

    @property
    def missing(self) -> int:
        """The number of missing bytes of an unfinished message; 0 if there is no such message."""
        return self._reader.missing

    @property
    def ahead(self) -> bytes:
        """A copy of the bytes that were read from the stream and are in no message yet."""
        return self._reader.ahead + self._arrivals.rest

    def close(self) -> None:
        """Drop an unfinished message, so that it is no longer a view of the group."""
        self._reader.close()

    async def __anext__(self) -> MemBlock:
        """Receive the next message.

        Raises:
            ValueError: A message is larger than the limit, or the group is freed.
            MemoryError: The group has no room for it; the call can be repeated.
            EOFError: The stream ended within a message.
            OSError: What the stream reports.
        """
        return await self._receive(lambda: self._reader._advance(AT_ONCE), lambda block: len(block) + EACH)

    @property
    def pending(self) -> int:
        """How many whole messages an interrupted call has received: the next one returns them first."""
        return self._reader.pending

    async def take(self, count: int) -> MemList:
        """Receive the next messages as one list; fewer only if the stream ends or has a bad length.

        A cancelled call loses no message: the next one returns those that had arrived first.

        Args:
            count: How many.

        Raises:
            ValueError, MemoryError, EOFError, OSError: As for a single message.
        """
        return await self._receive(lambda: self._reader._take(count, AT_ONCE, 0), lambda found: found.nbytes)

    async def until(self, last: bytes | Callable[[MemBlock], object]) -> MemList:
        """Receive the messages up to and including the first one that `last` matches, as a list.

        Args:
            last: The bytes that the last message starts with, or a function of a message.

        Raises:
            ValueError, MemoryError, EOFError, OSError: As for a single message.
        """
        tested = 0

        def is_last(message: MemBlock) -> object:
            nonlocal tested
            found = callable(last) and last(message)
            tested += 1
            return found

        goal = is_last if callable(last) else last

        def receive() -> MemList | None:
            nonlocal tested
            try:
                return self._reader._take(goal, AT_ONCE, tested)
            finally:
                if goal is last:  # bytes, with which all that has arrived was compared
                    tested = self._reader.pending

        return await self._receive(receive, lambda found: found.nbytes)

    async def _receive(self, receive: Callable[[], T | None], cost: Callable[[T], int]) -> T:
        """Receive when there is something to receive, and let other tasks run."""
        if self._busy:
            raise RuntimeError("another task is awaiting a message of this reader: wait for that one")
        self._busy = True
        try:
            while True:
                if self._left <= 0:
                    await asyncio.sleep(0)  # with nothing in hand that a cancellation could lose
                    self._left = AT_ONCE
                try:
                    found = receive()
                except BlockingIOError:
                    await self._wait()
                    self._left = AT_ONCE
                    continue
                except StopIteration:
                    raise StopAsyncIteration from None
                if found is not None:
                    self._left -= cost(found)
                    return found
                self._left = 0
        finally:
            self._busy = False


def frames(
    group: MemGroup,
    source: FileDescriptorLike | asyncio.StreamReader,
    *,
    read_ahead: int = 65536,
    **description: Unpack[Format],
) -> FrameReader:
    """Return the messages of a nonblocking stream, as blocks of a group.

    Args:
        group: The group that receives the messages.
        source: A nonblocking stream socket, or a pipe or another descriptor that the loop can watch. Or a
            `StreamReader` of asyncio: its bytes are copied into the blocks.
        read_ahead: The most bytes to read behind the next message. A secret group reads nothing ahead.
        description: The format of messages, as in the group's `frames`: `prefix`, `length_offset`,
            `delimiter` and so on.

    Raises:
        TypeError: `source` has no descriptor, or an argument is of the wrong type.
        ValueError: The stream blocks or is no byte stream, an argument is out of range, the group is freed,
            or it is secret and the source a `StreamReader`.
        OSError: The descriptor is closed.
    """
    if isinstance(source, asyncio.StreamReader):
        return _frames_of_stream(group, source, read_ahead, description)
    non_blocking(source)
    return FrameReader(
        group.frames(source, read_ahead=read_ahead, **description), lambda: ready(source, "read")
    )


def _frames_of_stream(
    group: MemGroup, stream: asyncio.StreamReader, read_ahead: int, description: Format
) -> FrameReader:
    if group.secret:
        raise ValueError(
            "a StreamReader holds its bytes in memory that is not the group's: pass the socket itself"
        )
    arrivals = Arrivals()
    reader = group.frames(arrivals, read_ahead=read_ahead, **description)

    async def wait() -> None:
        # No more than the reader takes at once: what it leaves is the stream's.
        arrivals.rest = await stream.read(len(reader._offer()))
        arrivals.ended = not arrivals.rest

    return FrameReader(reader, wait, arrivals)
