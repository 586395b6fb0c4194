"""Many allocations made in one call."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias, Unpack, final, overload

from _typeshed import FileDescriptorLike, ReadableBuffer
from memgroup._memgroup.arrow import ArrowArray
from memgroup._memgroup.block import MemBlock
from memgroup.frames import Format
from numpy.typing import DTypeLike, NDArray

_ArrowType: TypeAlias = Literal[
    "binary_view", "string_view", "large_binary", "large_string", "binary", "string"
]

@final
class MemList(Sequence[MemBlock]):
    """Many allocations made in one call: a sequence of blocks that compares by content.

    It consists of columns, with 16 bytes for each block, or none if all have one size; indexing makes a block
    object. Slices share the columns. Lists are made by a group's `alloc_many`, `protect` and `unprotect`, and
    keep their group alive. Every use of a list of a freed group raises ValueError.
    """

    __hash__: None  # type: ignore[assignment]  # the bytes can change
    @property
    def nbytes(self) -> int:
        """The sum of all sizes, in bytes."""
    @property
    def readonly(self) -> bool:
        """Whether the list shows the read-only mirror."""
    @property
    def sizes(self) -> memoryview:
        """The size of each block in bytes: a memoryview of unsigned 64-bit integers.

        It is a read-only copy, which the first access makes and the list keeps.
        """
    @property
    def offsets(self) -> memoryview:
        """The offset of each block in bytes: a memoryview of unsigned 64-bit integers.

        They count from the first block that `alloc_many` made, as if all blocks lay one behind the other with
        their padding; within one entry of `slots` they do. The view is a read-only copy, which the first
        access makes and the list keeps. A slice shows the same numbers as the whole list.
        """
    @property
    def slots(self) -> tuple[tuple[int, int, int, int], ...]:
        """The slots of the blocks: a tuple of `(slot, start, stop, offset)`.

        The blocks `list[start:stop]` lie in slot number `slot` as `offsets` says, the first of them `offset`
        bytes from the slot's beginning. Borrowed memory has no number: `slot` is -1, and `offset` counts from
        its beginning.
        """
    def index(self, value: object, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize, /) -> int:
        """Return the index of the first block in `self[start:stop]` that equals `value`.

        Raises:
            ValueError: No block equals it.
        """
    def count(self, value: object) -> int:
        """Return how many blocks equal `value`, any bytes-like object."""
    def __array__(self, dtype: DTypeLike | None = None, *, copy: bool | None = None) -> NDArray[Any]:
        """Return a list of one size as a matrix of bytes, with a row for each block, over the same memory.

        numpy calls it: `np.asarray(list)`. The array is read-only if the list is protected. If the blocks lie
        in several slots or at irregular distances, it shows a copy, a new block of the group.

        Args:
            dtype: The type to convert the elements to; by default uint8.
            copy: As for `np.asarray`: True for a copy, False for an error if one is needed.

        Raises:
            ValueError: The blocks are of several sizes, `copy` is False and one is needed, or the list is
                freed.
        """
    def contains(
        self,
        value: ReadableBuffer,
        /,
        *,
        threads: SupportsIndex | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> memoryview:
        """Return for each block whether `value` occurs in it: a memoryview of format "?".

        It searches all blocks in one call, without block objects, while other Python threads run. An
        occurrence across two blocks does not count. The memoryview is read-only, with one item for each
        block.

        Args:
            value: Any bytes-like object.
            threads: The most threads that search at once: by default 1 for a list of a few megabytes,
                otherwise the number of processors that affinity and cgroups allow.
            progress: Called with the number of blocks done and of all, a few times a second and at the end.
        """
    def startswith(
        self,
        value: ReadableBuffer,
        /,
        *,
        threads: SupportsIndex | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> memoryview:
        """Return for each block whether it begins with `value`: a memoryview of format "?"."""
    def endswith(
        self,
        value: ReadableBuffer,
        /,
        *,
        threads: SupportsIndex | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> memoryview:
        """Return for each block whether it ends with `value`: a memoryview of format "?"."""
    def find(
        self,
        value: ReadableBuffer,
        /,
        *,
        threads: SupportsIndex | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> memoryview:
        """Return for each block the offset of the first `value`, or -1: a memoryview of format "q"."""
    def count_in(
        self,
        value: ReadableBuffer,
        /,
        *,
        threads: SupportsIndex | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> memoryview:
        """Return how often `value` occurs in each block, not overlapping: a memoryview of format "q"."""
    def take(self, which: ReadableBuffer | Iterable[SupportsIndex], /) -> MemList:
        """Return some of the blocks as a list over the same bytes, 16 bytes for each.

        Args:
            which: A mask, with a boolean for each block, or indices in any order, which may repeat; a
                negative one counts from the end. A buffer, as `contains` and numpy return, or any iterable.

        Raises:
            TypeError: `which` is neither.
            ValueError: A mask is not as long as the list, or the list is freed.
            IndexError: An index is out of range.
        """
    def tolist(self) -> list[bytes]:
        """Return the bytes of each block, in a list of bytes objects."""
    def fill_from(self, data: ReadableBuffer) -> None:
        """Scatter the bytes of `data`, any bytes-like object, into the blocks, in order.

        If `data` overlaps the list, the result is as if `data` had been copied before.

        Raises:
            TypeError: The list is protected, or `data` has no bytes.
            ValueError: `data` has not exactly `nbytes` bytes.
            MemoryError: `data` overlaps the list, and there is no memory for a copy.
        """
    def join(self) -> MemBlock:
        """Gather the bytes of all blocks, in order, into one new writable block of the group.

        Raises:
            MemoryError: As the group's `alloc`.
        """
    def readv(self, fd: FileDescriptorLike, /, *, start: SupportsIndex = 0) -> int:
        """Fill the blocks, in order, from a file, pipe or socket, until they are full or the input ends.

        Args:
            fd: A file descriptor, or an object with `fileno()`, whose buffered bytes are not read.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were read; at the end of the input, fewer than the blocks hold.

        Raises:
            TypeError: The list is protected, or `fd` no descriptor.
            ValueError: `start` is negative or beyond the list, or the list is freed.
            BlockingIOError: The descriptor is non-blocking, and has no more bytes now.
            TimeoutError: `fd` is a socket, and its timeout has passed.
            OSError: The kernel refused. Every exception, also of a signal handler, has in
                `characters_written` the number of bytes that were moved before.
        """
    def preadv(self, fd: FileDescriptorLike, offset: SupportsIndex, /, *, start: SupportsIndex = 0) -> int:
        """Fill the blocks, in order, from `offset` of a file on; its position does not change.

        Args:
            fd: A file descriptor, or an object with `fileno()`.
            offset: The position in the file of the first byte.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were read; at the end of the file, fewer than the blocks hold.

        Raises:
            ValueError: `offset` is negative.
            TypeError, ValueError, OSError: As `readv`.
        """
    def writev(self, fd: FileDescriptorLike, /, *, start: SupportsIndex = 0) -> int:
        """Write the bytes of all blocks, in order, to a file, pipe or socket.

        Args:
            fd: A file descriptor, or an object with `fileno()`; flush its buffer before the call.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were written: all from `start` on.

        Raises:
            TypeError: `fd` is no descriptor.
            ValueError: `start` is negative or beyond the list, or the list is freed.
            BlockingIOError: The descriptor is non-blocking, and accepts no more bytes now.
            TimeoutError: `fd` is a socket, and its timeout has passed.
            OSError: The kernel refused. Every exception, also of a signal handler, has in
                `characters_written` the number of bytes that were moved before.
        """
    def pwritev(self, fd: FileDescriptorLike, offset: SupportsIndex, /, *, start: SupportsIndex = 0) -> int:
        """Write the bytes of all blocks, in order, from `offset` of a file on; its position does not change.

        Args:
            fd: A file descriptor, or an object with `fileno()`.
            offset: The position in the file for the first byte.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were written: all from `start` on.

        Raises:
            ValueError: `offset` is negative.
            TypeError, ValueError, OSError: As `writev`.
        """
    def recvmsg_into(self, sock: FileDescriptorLike, /, *, start: SupportsIndex = 0) -> int:
        """Fill the blocks, in order, from a socket: until they are full or the peer has ended.

        From a socket of messages (SOCK_DGRAM, SOCK_SEQPACKET) it receives exactly one message.

        Args:
            sock: A socket, or its descriptor.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were received.

        Raises:
            OSError: As `readv`; with EMSGSIZE if the message was longer than the list; its rest is lost.
            TypeError, ValueError: As `readv`; an SSL socket is a TypeError.
        """
    def sendmsg(self, sock: FileDescriptorLike, /, *, start: SupportsIndex = 0) -> int:
        """Send the bytes of all blocks, in order, through a socket.

        A socket of messages (SOCK_DGRAM, SOCK_SEQPACKET) sends them as one message.

        Args:
            sock: A socket, or its descriptor.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were sent: all from `start` on.

        Raises:
            OSError: As `writev`; with EMSGSIZE if they are too long for one message.
            TypeError, ValueError: As `writev`; an SSL socket is a TypeError.
        """
    def framed(self, **description: Unpack[Format]) -> MemList:
        """Return the blocks as messages: a list whose bytes are the stream, for `sendmsg` and the like.

        Each block follows its length, or precedes its delimiter. The blocks are not copied; the lengths are
        written to the group.

        Args:
            description: As for the group's `frames`, of messages that have only a length and a payload, or a
                delimiter.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: A block is larger than the limit or than a length can say, or has the delimiter in it;
                the description has other parts; or the list is freed.
            MemoryError: There is no room for the lengths.
        """
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> MemBlock: ...
    @overload
    def __getitem__(self, key: slice, /) -> MemList: ...
    def __iter__(self) -> Iterator[MemBlock]: ...
    def __reversed__(self) -> Iterator[MemBlock]: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def as_arrow(self, type: _ArrowType = "binary_view", /) -> ArrowArray:  # noqa: A002  # as pyarrow calls it
        """Return the list as an Arrow array of a type of the caller's choice.

        pyarrow, polars and other libraries with the Arrow PyCapsule interface accept it. A list itself is
        exported as "binary_view". pyarrow and pandas cannot filter, take or sort views: for these two, use
        "large_binary" or "large_string". Views copy no byte of a record and show the read-only mirror; each
        export makes a table of 16 bytes for each record. Only if the records lie in many places, as in
        `list[::2]`, are they copied into new memory of the group. The other types need contiguous records: if
        there is padding between them, they are copied once, into a new block of the group. An array counts as
        a view for as long as its consumer keeps it. The bytes must not change after the export.

        Args:
            type: "binary_view", "string_view", "large_binary", "large_string", "binary" or "string".

        Raises:
            ValueError: There is no such type, or the list is freed. The consumer may raise it, too: a record
                of a string type is not UTF-8, a record is too long, or the group is anonymous.
        """
    def __arrow_c_schema__(self) -> object:
        """Return the type of the list as an Arrow array."""
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return the list as an Arrow array; see `as_arrow`."""
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        """Pickle: with protocol 5 the bytes can go out of band, without a copy.

        The loaded list is in a group of the receiver.
        """
    def __copy__(self) -> MemList:
        """Return the same blocks in another list, as a copy of a list has the same elements."""
    def __deepcopy__(self, memo: Any = None, /) -> MemList:
        """Return new blocks of the group with the same bytes, protected if these are."""
