"""Messages of streams, and non-blocking reads and writes."""

from collections.abc import Callable, Iterator
from typing import Self, SupportsIndex, final

from _typeshed import FileDescriptorLike
from memgroup._memgroup.block import MemBlock
from memgroup._memgroup.list import MemList

@final
class FrameReader(Iterator[MemBlock]):
    """Receives length-prefixed messages from a stream, each as a block of a group: an iterator of blocks.

    A group's `frames` makes it. After any exception the next call continues where the last one stopped: the
    reader keeps the bytes of an unfinished message. An unfinished message counts as a view of the group. Only
    one thread at a time can receive; `free()` in another thread does not wait for it.
    """

    @property
    def partial(self) -> MemBlock | None:
        """The part of an unfinished message that has arrived: a block that shares its bytes.

        None if there is no such message.
        """
    @property
    def missing(self) -> int:
        """How many bytes of an unfinished message have not arrived; 0 if there is no such message."""
    @property
    def ahead(self) -> bytes:
        """A copy of the bytes that were read from the stream and are in no message yet."""
    @property
    def pending(self) -> int:
        """How many whole messages an interrupted call has received: the next one returns them first."""
    def take(self, count: SupportsIndex) -> MemList:
        """Return the next messages as a list, from one call and without an object for each.

        The list has fewer only if the stream ends or has a bad length; the next call raises the error. After
        any other exception the reader keeps the messages that have arrived, and the next call continues.

        Args:
            count: How many.

        Raises:
            BlockingIOError: A non-blocking stream has no more bytes now.
            TimeoutError: The socket's timeout has passed.
            MemoryError: The group has no room. `take(reader.pending)` returns the messages that it had room
                for.
            EOFError: The stream ended within the next message.
            ValueError: The next message is too large or has a bad length, or the group is freed.
        """
    def until(self, last: bytes | Callable[[MemBlock], object]) -> MemList:
        """Return the messages up to and including the first one that `last` matches, as a list.

        If the stream ends or has a bad length before, the list has the messages until then.

        Args:
            last: The bytes that the last message starts with (faster, as it makes no blocks), or a function
                that is called with each message as a block and returns true for the last.

        Raises:
            BlockingIOError, TimeoutError, MemoryError, EOFError, ValueError: As `take`.
        """
    def close(self) -> None:
        """Drop the bytes of unfinished messages, which then are no view of the group. The stream stays open.

        Later calls that receive raise ValueError.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> MemBlock:
        """Receive the next message.

        Raises:
            ValueError: A message is larger than the limit, a length is too small, the group is freed, or the
                reader is closed.
            MemoryError: The group has no room for it. The call can be repeated.
            EOFError: The stream ended within a message. The bytes that arrived are in `partial` or `ahead`.
            BlockingIOError: A non-blocking stream has no bytes now.
            TimeoutError: Nothing came within the timeout of the socket.
            RuntimeError: Another thread is receiving.
            OSError: The stream raises it.
        """
    def _advance(self, most: int) -> MemBlock | None:
        """For `memgroup.aio`: return the next message; None if it is not complete after reading `most` bytes.

        Raises:
            BlockingIOError: There are no bytes to read now.
            StopIteration: The stream has ended.
        """
    def _offer(self) -> memoryview:
        """For `memgroup.aio`: return a buffer for the next bytes of the stream, which the caller stores.

        The next call of any method that receives invalidates it.

        Raises:
            RuntimeError: A complete message must be received first.
        """
    def _accept(self, count: int) -> bool:
        """For `memgroup.aio`: note that so many bytes were stored; return whether a message may be there."""
    def _take(
        self, goal: SupportsIndex | bytes | Callable[[MemBlock], object], most: int, tested: int
    ) -> MemList | None:
        """For `memgroup.aio`: do what `take` or `until` does; None if `most` bytes are not enough.

        The first `tested` messages are known not to be the last.

        Raises:
            BlockingIOError: There are no bytes to read now.
        """

def read_nonblocking(
    blocks: MemList, source: FileDescriptorLike, index: int, offset: int, most: int
) -> tuple[int, int, int]:
    """Read the available bytes into the blocks from `index` on, past `offset` of the first: at most `most`.

    Returns the index and the offset to continue with, and how many bytes were read.
    """

def write_nonblocking(
    blocks: MemList, source: FileDescriptorLike, index: int, offset: int, most: int
) -> tuple[int, int, int]:
    """Write the bytes of the blocks from `index` on, past `offset` of the first, as far as there is room.

    At most `most` bytes.

    Returns the index and the offset to continue with, and how many bytes were written.
    """

def non_blocking(source: FileDescriptorLike) -> int:
    """Return the descriptor of a non-blocking stream of bytes."""
