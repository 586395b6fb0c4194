"""What is read from files and streams, and moved through those that do not block."""

from collections.abc import Callable, Iterator
from typing import Self, SupportsIndex, final

from _typeshed import FileDescriptorLike
from memgroup._memgroup.block import MemBlock
from memgroup._memgroup.list import MemList

@final
class FrameReader(Iterator[MemBlock]):
    """Receives length-prefixed messages from a stream, each as a block of a group: an iterator of blocks.

    Made by a group's `frames`. What was received of an unfinished message stays with the reader, and whatever
    a call raises, the next goes on where it stopped. An unfinished message counts as a view of the group. One
    thread at a time can receive; `free()` in another does not wait for it.
    """

    @property
    def partial(self) -> MemBlock | None:
        """The part that has arrived of a message that is unfinished: a block that shares its bytes.

        None if there is no such message.
        """
    @property
    def missing(self) -> int:
        """How many bytes an unfinished message still lacks; 0 if there is no such message."""
    @property
    def ahead(self) -> bytes:
        """A copy of what was read from the stream and is in no message yet."""
    @property
    def pending(self) -> int:
        """How many whole messages an interrupted call has received: the next one returns them first."""
    def take(self, count: SupportsIndex) -> MemList:
        """Return the next messages as a list, from one call and without an object for each.

        There are fewer only if the stream ends before, or is out of step; the next call says so. Whatever
        else this raises, what has arrived stays with the reader, and the next call goes on.

        Args:
            count: How many.

        Raises:
            BlockingIOError: A stream that does not block has no more right now.
            TimeoutError: The socket's timeout has passed.
            MemoryError: The group has no room. `take(reader.pending)` returns what it had room for.
            EOFError: The stream ended within the next message.
            ValueError: The stream is out of step from the next message on, or the group is freed.
        """
    def until(self, last: bytes | Callable[[MemBlock], object]) -> MemList:
        """Return the messages up to the first that is the last, and this one, as a list.

        Where the stream ends before, or is out of step, the list is what came until then.

        Args:
            last: The bytes that the last message starts with; any message starts with none. Or a function
                that is called with each message, as a block, and returns true for the last. Bytes need no
                block.

        Raises:
            BlockingIOError, TimeoutError, MemoryError, EOFError, ValueError: As `take`.
        """
    def close(self) -> None:
        """Give up what has arrived of messages: it is no view of the group any more. The stream stays open.

        Receiving raises ValueError afterwards.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> MemBlock:
        """Receive the next message.

        Raises:
            ValueError: A message is larger than the limit, or a length too small: the stream is out of step.
                Or the group is freed, or the reader closed.
            MemoryError: There is no room for it in the group; it can be tried again.
            EOFError: The stream ended within a message. What arrived is in `partial`, or in `ahead`.
            BlockingIOError: A non-blocking stream has nothing to read right now.
            TimeoutError: Nothing came within the timeout of the socket.
            RuntimeError: Another thread is receiving.
            OSError: What the stream reports.
        """
    def _advance(self, most: int) -> MemBlock | None:
        """For `memgroup.aio`: return the next message; None if it is not complete after reading `most` bytes.

        Raises:
            BlockingIOError: There is nothing to read right now.
            StopIteration: The stream has ended.
        """
    def _offer(self) -> memoryview:
        """For `memgroup.aio`: return a buffer for the next bytes of the stream, which the caller stores.

        It is taken back by the next call of any method that receives.

        Raises:
            RuntimeError: There is a message to be received first.
        """
    def _accept(self, count: int) -> bool:
        """For `memgroup.aio`: note that so many bytes were stored; return whether a message may be there."""
    def _take(
        self, goal: SupportsIndex | bytes | Callable[[MemBlock], object], most: int, tested: int
    ) -> MemList | None:
        """For `memgroup.aio`: do what `take` or `until` does; None if `most` bytes are not enough.

        The first `tested` messages are known not to be the last.

        Raises:
            BlockingIOError: There is nothing to read right now.
        """

def read_nonblocking(
    blocks: MemList, source: FileDescriptorLike, index: int, offset: int, most: int
) -> tuple[int, int, int]:
    """Read what there is into the blocks from `index` on, past `offset` of the first: at most `most` bytes.

    Returns the index and the offset to go on with, and how many bytes came.
    """

def write_nonblocking(
    blocks: MemList, source: FileDescriptorLike, index: int, offset: int, most: int
) -> tuple[int, int, int]:
    """Write what there is room for of the blocks from `index` on, past `offset` of the first.

    At most `most` bytes.

    Returns the index and the offset to go on with, and how many bytes were taken.
    """

def non_blocking(source: FileDescriptorLike) -> int:
    """Return the descriptor of a non-blocking stream of bytes."""
