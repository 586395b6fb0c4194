"""The compiled half of memgroup."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    Self,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    final,
    overload,
)

import numpy as np
from _typeshed import FileDescriptorLike, ReadableBuffer
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rich.console import RenderableType

from memgroup.display.rmap.drawing import Drawing

__all__ = [
    "ArrowArray",
    "Broken",
    "FrameReader",
    "GroupStats",
    "Machine",
    "MemBlock",
    "MemGroup",
    "MemList",
    "Process",
    "ReadResult",
    "SlotStats",
    "Vma",
    "WarmMemory",
    "__version__",
    "block_from_buffer",
    "disable_fault_report",
    "enable_fault_report",
    "gathered",
    "list_of_pieces",
    "non_blocking",
    "pieces",
    "read_nonblocking",
    "set_warm_limit",
    "warm_memory",
    "write_nonblocking",
]

__version__: Final[str]

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

# Without numpy, which is optional, these are Any to a type checker; nobody else reads this file.
_Array = TypeVar("_Array", bound=NDArray[Any])
_Scalar = TypeVar("_Scalar", bound=np.generic)
_Dtype: TypeAlias = type[_Scalar] | np.dtype[_Scalar]
_Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
_Order: TypeAlias = Literal["C", "F"] | None
_ArrowType: TypeAlias = Literal[
    "binary_view", "string_view", "large_binary", "large_string", "binary", "string"
]
_Numbers: TypeAlias = tuple[int, int, int] | tuple[ReadableBuffer, ReadableBuffer]
_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

@final
class SlotStats:
    """One slot of a group."""

    @property
    def index(self) -> int:
        """Number of the slot; it holds `base << index` bytes."""
    @property
    def capacity(self) -> int:
        """Bytes it can hold."""
    @property
    def allocated(self) -> int:
        """Bytes handed out, the gaps between blocks among them."""
    @property
    def committed(self) -> int:
        """Bytes accounted for as memory in use."""
    @property
    def mapped(self) -> int:
        """Address space of its mirrors, in bytes."""
    @property
    def protected(self) -> int:
        """Bytes that `protect` has handed out; what was protected twice counts twice."""
    def as_dict(self) -> dict[str, int]:
        """Return the same as a dict, for JSON."""

@final
class GroupStats:
    """A group. All figures but `slots`, `blocks` and `exports` are bytes. One that has ended has no slots."""

    @property
    def slots(self) -> tuple[SlotStats, ...]:
        """The open slots, smallest first; in a forked child, behind them those of its parent.

        Last come, in the same order, those of what numpy allocated within `numpy()`.
        """
    @property
    def requested(self) -> int:
        """What was asked for."""
    @property
    def allocated(self) -> int:
        """What was handed out: `requested` and the gaps for alignment."""
    @property
    def committed(self) -> int:
        """What is accounted for as memory in use; what `limit` limits."""
    @property
    def mapped(self) -> int:
        """Address space taken by the mirrors."""
    @property
    def protected(self) -> int:
        """What `protect` has handed out since the group was made or reset.

        What was protected twice counts twice.
        """
    @property
    def blocks(self) -> int:
        """How many blocks were allocated since the group was made or reset."""
    @property
    def exports(self) -> int:
        """How many views (live buffer exports) there are."""
    @property
    def held(self) -> int:
        """What is committed in slots that a reset or the end has set aside, until their exporters die."""
    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dict of numbers and, under `"slots"`, dicts; for JSON."""
    def __rich__(self) -> RenderableType:
        """Return what rich shows: a map of the slots."""
    def _repr_html_(self) -> str:
        """Return what Jupyter shows: a map of the slots."""

@final
class MemBlock:
    """One allocation of a group: a bytes-like object, writable unless protected, that compares by content.

    Indexing gives integers; a slice shares the block's bytes. Blocks are made by a group's `alloc`, `copy`,
    `protect` and `unprotect`, and keep their group alive. Every use of a block of a freed group raises
    ValueError.
    """

    __hash__: None  # type: ignore[assignment]  # the bytes can change
    @property
    def nbytes(self) -> int:
        """Size in bytes."""
    @property
    def readonly(self) -> bool:
        """Whether the block shows the read-only mirror."""
    @property
    def address(self) -> int:
        """Address of the first byte, for C code. It stays reserved for as long as the block lives."""
    def find(
        self,
        sub: ReadableBuffer | int,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Return the offset of the first occurrence of `sub` in `self[start:end]`, or -1."""
    def index(
        self,
        sub: ReadableBuffer | int,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Return what `find` does, but what does not occur is an error.

        Raises:
            ValueError: `sub` does not occur.
        """
    def count(
        self,
        sub: ReadableBuffer | int,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Return how often `sub` occurs in `self[start:end]` without overlapping itself."""
    def tobytes(self) -> bytes:
        """Return a copy of the bytes."""
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> MemBlock | Any: ...  # a memoryview where the slice has a step
    @overload
    def __setitem__(self, key: SupportsIndex, value: SupportsIndex, /) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: ReadableBuffer, /) -> None: ...
    def __iter__(self) -> Iterator[int]: ...
    def __contains__(self, sub: ReadableBuffer | int, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: ReadableBuffer, /) -> bool: ...
    def __le__(self, other: ReadableBuffer, /) -> bool: ...
    def __gt__(self, other: ReadableBuffer, /) -> bool: ...
    def __ge__(self, other: ReadableBuffer, /) -> bool: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __arrow_c_schema__(self) -> object:
        """Return the type of the Arrow array that the block is taken as: uint8."""
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return the block as an Arrow array of uint8 that shows the read-only mirror.

        Raises:
            ValueError: Another type is requested, the group is anonymous, or the block is freed.
        """
    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return the block as a DLPack tensor of uint8 with one dimension.

        It counts as a view for as long as its consumer keeps it.

        Args:
            stream: None: main memory has no streams.
            max_version: The newest version that the consumer knows. Before (1, 0), no block that is protected
                can be exported.
            dl_device: None or (1, 0), which is main memory.
            copy: Whether to export a copy, a new block of the group.

        Raises:
            BufferError: It cannot be exported as requested.
        """
    def __dlpack_device__(self) -> tuple[int, int]:
        """Return (1, 0): main memory."""
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        """Pickle: with protocol 5 the bytes can go out of band, without a copy.

        What is loaded is in a group of the receiver.
        """
    def __copy__(self) -> MemBlock:
        """Return a new block of the group with the same bytes, protected if this one is."""
    def __deepcopy__(self, memo: Any = None, /) -> MemBlock:
        """Return the same as `copy.copy`."""

@final
class ArrowArray:
    """A list as Arrow sees it, in a type of the caller's choice.

    What takes the Arrow PyCapsule interface takes it.
    """

    @property
    def type(self) -> str:
        """The type of the array, by pyarrow's name: "binary_view", say."""
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

@final
class MemList(Sequence[MemBlock]):
    """Many allocations made in one call: a sequence of blocks that compares by content.

    It is held as columns, 16 bytes for each block, or none where all are of one size; a block is made when
    one is asked for. Slices share the columns. Lists are made by a group's `alloc_many`, `protect` and
    `unprotect`, and keep their group alive. Every use of a list of a freed group raises ValueError.
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

        It is read-only: a copy, made when it is asked for first, and kept with the list.
        """
    @property
    def offsets(self) -> memoryview:
        """Where each block begins, in bytes: a memoryview of unsigned 64-bit integers.

        They count from the beginning of the first block that `alloc_many` made, as if all of them lay one
        behind the other with the padding that alignment takes; within one entry of `slots` they really do.
        The view is read-only: a copy, made when it is asked for first, and kept with the list. A slice shows
        the same numbers as the whole list.
        """
    @property
    def slots(self) -> tuple[tuple[int, int, int, int], ...]:
        """Which slots the blocks are in: a tuple of `(slot, start, stop, offset)`.

        The blocks `list[start:stop]` lie in slot number `slot` as `offsets` says, the first of them `offset`
        bytes from the slot's beginning.
        """
    def index(self, value: object, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize, /) -> int:
        """Return the index of the first block in `self[start:stop]` with just the bytes of `value`.

        Raises:
            ValueError: There is none.
        """
    def count(self, value: object) -> int:
        """Return how many blocks have just the bytes of `value`, any bytes-like object."""
    def fill_from(self, data: ReadableBuffer) -> None:
        """Scatter the bytes of `data`, any bytes-like object, into the blocks, in order.

        Where `data` shows bytes of the list itself, the result is as if it had been copied before.

        Raises:
            TypeError: The list is protected, or `data` has no bytes.
            ValueError: There are not exactly `nbytes` bytes in `data`.
            MemoryError: `data` shows bytes of the list itself, and there is no memory for a copy.
        """
    def join(self) -> MemBlock:
        """Gather the bytes of all blocks, in order, into one new writable block of the group.

        Raises:
            MemoryError: As the group's `alloc`.
        """
    def readv(self, fd: int | _HasFileno, /, *, start: SupportsIndex = 0) -> int:
        """Fill the blocks, in order, from a file, pipe or socket, until they are full or the input ends.

        Args:
            fd: A file descriptor, or an object with `fileno()`; what such an object has buffered is passed
                over.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were read: fewer than there is room for at the end of the input.

        Raises:
            TypeError: The list is protected, or `fd` no descriptor.
            ValueError: `start` is negative or beyond the list, or the list is freed.
            BlockingIOError: The descriptor does not wait, and there is no more now.
            TimeoutError: `fd` is a socket, and its timeout is over.
            OSError: The system refused. What is raised, by a signal handler too, has as its
                `characters_written` how many bytes were moved before.
        """
    def preadv(self, fd: int | _HasFileno, offset: SupportsIndex, /, *, start: SupportsIndex = 0) -> int:
        """Fill the blocks, in order, from `offset` of a file on; its position stays as it is.

        Args:
            fd: A file descriptor, or an object with `fileno()`.
            offset: Where in the file the first byte comes from.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were read: fewer than there is room for at the end of the file.

        Raises:
            ValueError: `offset` is negative.
            TypeError, ValueError, OSError: As `readv`.
        """
    def writev(self, fd: int | _HasFileno, /, *, start: SupportsIndex = 0) -> int:
        """Write the bytes of all blocks, in order, to a file, pipe or socket.

        Args:
            fd: A file descriptor, or an object with `fileno()`; flush what such an object has buffered
                before.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were written: all from `start` on.

        Raises:
            TypeError: `fd` is no descriptor.
            ValueError: `start` is negative or beyond the list, or the list is freed.
            BlockingIOError: The descriptor does not wait, and takes no more now.
            TimeoutError: `fd` is a socket, and its timeout is over.
            OSError: The system refused. What is raised, by a signal handler too, has as its
                `characters_written` how many bytes were moved before.
        """
    def pwritev(self, fd: int | _HasFileno, offset: SupportsIndex, /, *, start: SupportsIndex = 0) -> int:
        """Write the bytes of all blocks, in order, from `offset` of a file on; its position stays as it is.

        Args:
            fd: A file descriptor, or an object with `fileno()`.
            offset: Where in the file the first byte goes to.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were written: all from `start` on.

        Raises:
            ValueError: `offset` is negative.
            TypeError, ValueError, OSError: As `writev`.
        """
    def recvmsg_into(self, sock: int | _HasFileno, /, *, start: SupportsIndex = 0) -> int:
        """Fill the blocks, in order, from a socket: until they are full or the peer has ended.

        From a socket that knows messages (SOCK_DGRAM, SOCK_SEQPACKET) it takes exactly one.

        Args:
            sock: A socket, or its descriptor.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were received.

        Raises:
            OSError: As `readv`; with EMSGSIZE where a message was longer than the list, and its rest is lost.
            TypeError, ValueError: As `readv`; an SSL socket is a TypeError.
        """
    def sendmsg(self, sock: int | _HasFileno, /, *, start: SupportsIndex = 0) -> int:
        """Send the bytes of all blocks, in order, through a socket.

        One that knows messages (SOCK_DGRAM, SOCK_SEQPACKET) gets them as one.

        Args:
            sock: A socket, or its descriptor.
            start: Byte of the list to begin at, as if its blocks were one.

        Returns:
            How many bytes were sent: all from `start` on.

        Raises:
            OSError: As `writev`; with EMSGSIZE where it cannot be one message.
            TypeError, ValueError: As `writev`; an SSL socket is a TypeError.
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

        For pyarrow, polars and whatever else takes the Arrow PyCapsule interface. A list itself is taken as
        one of "binary_view". Views copy no byte of a record and show the read-only mirror; for them a table
        of 16 bytes for each record is made each time. The other types want all records in one stretch: where
        they do not adjoin (padding lies between them, or empty records), they are copied once, into a new
        block of the group. An array counts as a view for as long as its consumer keeps it. The bytes must not
        change any more.

        Args:
            type: "binary_view", "string_view", "large_binary", "large_string", "binary" or "string".

        Raises:
            ValueError: There is no such type, or the list is freed. What takes the array may raise it too: a
                record is not UTF-8 (of the strings), or too long, or the group is anonymous.
        """
    def __arrow_c_schema__(self) -> object:
        """Return the type of the Arrow array that the list is taken as."""
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return the list as an Arrow array; see `as_arrow`."""
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        """Pickle: with protocol 5 the bytes can go out of band, without a copy.

        What is loaded is in a group of the receiver.
        """
    def __copy__(self) -> MemList:
        """Return the same blocks in another list, as a copy of a list has the same elements."""
    def __deepcopy__(self, memo: Any = None, /) -> MemList:
        """Return new blocks of the group with the same bytes, protected if these are."""

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
    def close(self) -> None:
        """Give an unfinished message up, so that it is no view of the group any more. The stream stays open.

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

# These three serve memgroup.aio.

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

def block_from_buffer(buffer: ReadableBuffer, readonly: bool) -> MemBlock | None:
    """Return the block that shares the bytes of `buffer`, if these live in a group of this process.

    Args:
        buffer: Any object that exports a buffer.
        readonly: Whether a protected block is wanted. What is protected stays so.

    Returns:
        A block, or None if the bytes live elsewhere or cannot be protected where they are.
    """

def pieces(
    list: MemList,  # noqa: A002
) -> tuple[tuple[MemBlock, ...], tuple[int, ...], _Numbers, int] | None:
    """Return the stretches of memory that a list lies in, as blocks, and where the records are in them.

    What lies between records is cleared before: it belongs to the list, and what was there is nobody's
    business.

    Returns:
        The blocks; for each the index of its first record; sizes and beginnings of all records, as (how many,
        size, from one to the next) or as two memoryviews of unsigned 64-bit integers; and the alignment. None
        if the list skips records of another, or if there is more between the records than in them.
    """

def gathered(list: MemList) -> bytes:  # noqa: A002
    """Return the bytes of all records of a list, one after the other."""

def list_of_pieces(
    group: MemGroup | None,
    buffers: Sequence[ReadableBuffer],
    firsts: Sequence[int],
    table: _Numbers,
    align: int,
    readonly: bool,
) -> MemList | None:
    """Return the list of which `pieces` are what `pieces` made of it, here or in another process.

    Args:
        group: Where bytes go that do not live in one open group of this process. With None, the result is
            None then.
        buffers: As `pieces` returned them.
        firsts: As `pieces` returned them.
        table: As `pieces` returned it; the numbers as any buffers of unsigned 64-bit integers.
        align: As `pieces` returned it.
        readonly: Whether a protected list is wanted.

    Raises:
        ValueError: They do not fit together, or a protected list is wanted of an anonymous group.
    """

def non_blocking(source: FileDescriptorLike) -> int:
    """Return the descriptor of a non-blocking stream of bytes."""

@final
class ReadResult:
    """What `read_files` and `read_ranges` have read, and what they could not read.

    It unpacks as `blocks, errors`.
    """

    @property
    def blocks(self) -> MemList:
        """A MemList with a block for each file or range, as long as what was read of it."""
    @property
    def errors(self) -> dict[int, OSError | EOFError | MemoryError]:
        """What could not be read in full: a dict of exceptions, by the number of the file or range."""
    @property
    def changed(self) -> tuple[int, ...]:
        """Numbers of the files that had become longer or shorter than they had announced.

        They are whole all the same.
        """
    @property
    def unannounced(self) -> tuple[int, ...]:
        """Numbers of the files that announced no size and had content, as those of /proc."""
    @property
    def abandoned(self) -> int:
        """Bytes of the group that were allocated and then given up.

        A file or range was not as long as expected.
        """
    def check(self) -> MemList:
        """Return the blocks, if all was read.

        Raises:
            ExceptionGroup: Some of it was not; it holds `errors`.
        """
    def __iter__(self) -> Iterator[Any]: ...

@final
class MemGroup:
    """A group of allocations that share one end: memory is handed out and freed in one shot, never singly.

    Its memory is up to 32 slots, slot i of `base << i` bytes, each mapped twice: read-write and read-only.
    Protecting a block is handing out its address in the read-only mirror. As a context manager the group
    ends gently: memory that a memoryview or array still uses stays valid until that is gone.

    Args:
        base: Size of the first slot in bytes, rounded up to whole pages.
        limit: The most bytes the group may commit, or None.
        backing: Where the memory comes from: "memfd", "anonymous" (nothing can be protected), or a directory
            for unlinked temporary files.
        name: Shown in `repr`, in messages and in /proc/PID/maps (where memory kept from another group keeps
            its name).
        secret: Whether what the group holds is locked in memory, left out of core dumps, and overwritten with
            zeros when the group is reset, freed or ends.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `base` is 0, negative or absurd, `limit` negative, `name` unusable, or `backing` a
            directory for secrets.
        OSError: `backing` names a directory that is missing or cannot be written to.
    """

    def __new__(
        cls,
        base: SupportsIndex = 65536,
        limit: SupportsIndex | None = None,
        backing: str | bytes | os.PathLike[str] | os.PathLike[bytes] = "memfd",
        name: str | None = None,
        *,
        secret: bool = False,
    ) -> Self: ...
    @property
    def name(self) -> str:
        """The group's name."""
    @property
    def base(self) -> int:
        """Size of the first slot in bytes."""
    @property
    def limit(self) -> int | None:
        """The most bytes the group may commit, or None."""
    @property
    def backing(self) -> str:
        """Where the memory comes from: "memfd", "anonymous" or a directory."""
    @property
    def secret(self) -> bool:
        """Whether what it holds is locked in memory, left out of core dumps, and overwritten at the end."""
    @property
    def freed(self) -> bool:
        """Whether the group has ended, gently or not."""
    def alloc(self, n: SupportsIndex, *, align: SupportsIndex = 16, zero: bool = False) -> MemBlock:
        """Return a writable block of `n` bytes. Their contents are unspecified unless `zero` is true.

        Args:
            n: Size in bytes; 0 gives an empty block.
            align: The block's address is a multiple of this power of two, at most 4096.
            zero: Whether to set every byte to 0.

        Raises:
            TypeError: `n` or `align` is no integer.
            ValueError: `n` is negative, `align` no power of two up to 4096, or the group is freed.
            MemoryError: More than the group can hold, than `limit`, or than the kernel gives. The group
                stays usable.
        """
    def copy(self, data: ReadableBuffer, *, align: SupportsIndex = 16) -> MemBlock:
        """Return a writable block with the same bytes as `data`, any bytes-like object.

        Raises:
            TypeError: `data` has no bytes, or `align` is no integer.
            ValueError: `align` is no power of two up to 4096, or the group is freed.
            MemoryError: As `alloc`.
        """
    @overload
    def alloc_many(
        self,
        sizes: ReadableBuffer | Iterable[SupportsIndex],
        *,
        count: None = None,
        size: None = None,
        align: SupportsIndex = 16,
        zero: bool = False,
    ) -> MemList:
        """Return many writable blocks from one call: all of them are allocated, or none.

        The list takes 16 bytes for each block, or none where all are of one size.

        Args:
            sizes: Sizes in bytes: a buffer of integers of any type (numpy array, array.array, bytes, ...), a
                sequence or any iterable of ints.
            count: Instead of `sizes`: how many blocks of one `size`.
            size: Size in bytes of each of `count` blocks.
            align: Every block's address is a multiple of this power of two, at most 4096.
            zero: Whether to set every byte to 0.

        Raises:
            TypeError: `sizes` are no integers, or not exactly one of `sizes` and `count` with `size` is
                given.
            ValueError: A size is negative, `sizes` has more than one dimension, `align` is no power of two up
                to 4096, or the group is freed.
            MemoryError: More than the group can hold, than `limit`, or than the kernel gives. The group stays
                usable, and nothing is allocated.
        """
    @overload
    def alloc_many(
        self,
        sizes: None = None,
        *,
        count: SupportsIndex,
        size: SupportsIndex,
        align: SupportsIndex = 16,
        zero: bool = False,
    ) -> MemList: ...
    def frames(
        self,
        source: FileDescriptorLike,
        *,
        prefix: SupportsIndex = 4,
        byteorder: Literal["big", "little"] = "big",
        limit: SupportsIndex = 16777216,
        counts_prefix: bool = False,
        read_ahead: SupportsIndex = 65536,
    ) -> FrameReader:
        """Return the length-prefixed messages of a stream: an iterator of blocks, one for each message.

        A large message goes from the kernel straight into its block; small ones are read ahead, many at once.
        The group must not be freed or reset while a message is unfinished, which counts as a view.

        Args:
            source: A socket, a pipe or anything else with `fileno()`, or a descriptor. What objects have in
                buffers of their own (`socket.makefile()`, `Popen` without `bufsize=0`) is not seen.
            prefix: Bytes of the length before each message: 1, 2, 4 or 8, unsigned.
            byteorder: "big" (network order) or "little".
            limit: Bytes of the largest message to be received.
            counts_prefix: Whether a length counts its own prefix too.
            read_ahead: The most bytes to read behind the message that is wanted; with 0, the stream is left
                just there.

        Raises:
            TypeError: `source` has no descriptor, or an argument is of the wrong type.
            ValueError: The stream is one of messages (datagrams), an argument is out of range, or the group
                is freed.
            OSError: The descriptor is closed.
        """
    def read_files(
        self, paths: Iterable[_Path], /, *, progress: Callable[[int, int], object] | None = None
    ) -> ReadResult:
        """Read many files whole, each into a block of its own.

        First their sizes are asked, then room is made for all, then they are read. A file that has become
        longer or shorter by the time that it is read is whole all the same, and so is one that announces no
        size, as those of /proc: up to 64 MiB beyond what was announced.

        Args:
            paths: An iterable of paths: str, bytes or os.PathLike.
            progress: Called with the number of files done and of all, a few times a second and at the end.

        Returns:
            A ReadResult. What cannot be read is one of its `errors` and ends nothing.

        Raises:
            TypeError: `paths` are no paths.
            ValueError: A path contains NUL, or the group is freed.
            MemoryError: There is no room for all of them; nothing is read then.
        """
    def read_ranges(
        self,
        file: int | _HasFileno | _Path,
        offsets: ReadableBuffer | Iterable[SupportsIndex],
        sizes: ReadableBuffer | Iterable[SupportsIndex],
        /,
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> ReadResult:
        """Read many ranges of one file, each into a block of its own.

        Those that lie close together are read in one call.

        Args:
            file: A path, a file descriptor or an object with `fileno()`; the position of the latter stays as
                it is.
            offsets: Where each range begins: integers in any form that `alloc_many` takes sizes in, and any
                order.
            sizes: How long each range is, in bytes.
            progress: Called with the number of ranges done and of all, a few times a second and at the end.

        Returns:
            A ReadResult. A range that the file ends before or in is an EOFError among its `errors`.

        Raises:
            TypeError: `file` is no file, or the numbers are no integers.
            ValueError: A number is negative, there are not as many offsets as sizes, or the group is freed.
            OSError: The file cannot be opened or read at all.
            MemoryError: There is no room for all of them; nothing is read then.
        """
    @overload
    def empty(
        self,
        shape: _Shape,
        dtype: None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return a numpy array whose memory is in the group, 64-byte aligned. Its elements are unspecified.

        The array is a view: `free` and `reset` refuse while it, or anything made of it without a copy, lives.

        Args:
            shape: Elements in each dimension: an int, or a sequence of ints.
            dtype: The element type; float64 unless given. None that holds references to Python objects.
            order: 'C' or 'F': whether the last index or the first varies fastest.
            device: None or "cpu".
            like: None or a numpy array; as without.

        Raises:
            ImportError: numpy is not installed.
            TypeError: `dtype` holds references to objects, or an argument is of the wrong type.
            ValueError: A dimension is negative, or the group is freed.
            MemoryError: As `alloc`.
        """
    @overload
    def empty(
        self,
        shape: _Shape,
        dtype: _Dtype[_Scalar],
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[_Scalar]: ...
    @overload
    def empty(
        self,
        shape: _Shape,
        dtype: DTypeLike,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def zeros(
        self,
        shape: _Shape,
        dtype: None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return what `empty` does, with every element 0.

        Raises:
            ImportError, TypeError, ValueError, MemoryError: As `empty`.
        """
    @overload
    def zeros(
        self,
        shape: _Shape,
        dtype: _Dtype[_Scalar],
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[_Scalar]: ...
    @overload
    def zeros(
        self,
        shape: _Shape,
        dtype: DTypeLike,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def full(
        self,
        shape: _Shape,
        fill_value: ArrayLike,
        dtype: None = None,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[Any]:
        """Return what `empty` does, with every element `fill_value`.

        Args:
            shape: Elements in each dimension: an int, or a sequence of ints.
            fill_value: A scalar, or an array that can be broadcast to `shape`.
            dtype: The element type; that of `fill_value` unless given.
            order: As for `empty`.
            device: As for `empty`.
            like: As for `empty`.

        Raises:
            ImportError, TypeError, ValueError, MemoryError: As `empty`.
        """
    @overload
    def full(
        self,
        shape: _Shape,
        fill_value: ArrayLike,
        dtype: _Dtype[_Scalar],
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[_Scalar]: ...
    @overload
    def full(
        self,
        shape: _Shape,
        fill_value: ArrayLike,
        dtype: DTypeLike,
        order: _Order = "C",
        *,
        device: Literal["cpu"] | None = None,
        like: ArrayLike | None = None,
    ) -> NDArray[Any]: ...
    @overload
    def array(
        self,
        object: ArrayLike,
        dtype: None = None,
        *,
        copy: bool | None = True,
        order: Literal["K", "A", "C", "F"] | None = "K",
        subok: bool = False,
        ndmin: SupportsIndex = 0,
        ndmax: SupportsIndex = 0,
        like: ArrayLike | None = None,
    ) -> NDArray[Any]:
        """Return a numpy array of what `object` holds, in the group and 64-byte aligned.

        Args:
            object: An array, anything that exports one, or a sequence (of sequences) of elements.
            dtype: As for `numpy.array`.
            copy: With None, an array that lives in the group already, and is as wanted, is returned as it is;
                with False, others are refused (numpy 1 has no None, and means that by False).
            order: As for `numpy.array`.
            subok: As for `numpy.array`.
            ndmin: As for `numpy.array`.
            ndmax: The most dimensions to look for, where numpy has that (2.4).
            like: As for `empty`.

        Raises:
            ImportError, TypeError, MemoryError: As `empty`.
            ValueError: `copy` is False and the data does not live in the group, or the group is freed.
        """
    @overload
    def array(
        self,
        object: ArrayLike,
        dtype: _Dtype[_Scalar],
        *,
        copy: bool | None = True,
        order: Literal["K", "A", "C", "F"] | None = "K",
        subok: bool = False,
        ndmin: SupportsIndex = 0,
        ndmax: SupportsIndex = 0,
        like: ArrayLike | None = None,
    ) -> NDArray[_Scalar]: ...
    @overload
    def array(
        self,
        object: ArrayLike,
        dtype: DTypeLike,
        *,
        copy: bool | None = True,
        order: Literal["K", "A", "C", "F"] | None = "K",
        subok: bool = False,
        ndmin: SupportsIndex = 0,
        ndmax: SupportsIndex = 0,
        like: ArrayLike | None = None,
    ) -> NDArray[Any]: ...
    def numpy(self) -> AbstractContextManager[MemGroup]:
        """Return a context manager within which numpy allocates the memory of its arrays in the group.

        That memory is private: a forked child has a copy of it, and it cannot be protected
        (`protect(array(x))` protects a copy).

        It holds for what the `with` block itself calls: not for other threads, nor for other asyncio tasks
        but those that are started in it. Each array that is made so counts as a view for as long as it lives,
        and may outlive the block. Where the group has no memory left, or has ended, numpy raises MemoryError.

        Raises:
            ImportError: numpy is not installed.
            ValueError: The group is freed.
        """
    @overload
    def protect(self, obj: MemBlock, /) -> MemBlock:
        """Return the same bytes through the read-only mirror: no system call, any size.

        Args:
            obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the
                result is of the same kind, shape, strides and format.

        Raises:
            TypeError: `obj` is none of these, or its elements refer to objects.
            ValueError: It does not live in this group, the group is anonymous, or it is freed.
        """
    @overload
    def protect(self, obj: MemList, /) -> MemList: ...
    @overload
    def protect(self, obj: memoryview, /) -> memoryview: ...
    @overload
    def protect(self, obj: _Array, /) -> _Array: ...
    @overload
    def unprotect(self, obj: MemBlock, /) -> MemBlock:
        """Return the same bytes through the read-write mirror.

        Args:
            obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the
                result is of the same kind, shape, strides and format.

        Raises:
            TypeError: `obj` is none of these, or its elements refer to objects.
            ValueError: It does not live in this group, or the group is freed.
        """
    @overload
    def unprotect(self, obj: MemList, /) -> MemList: ...
    @overload
    def unprotect(self, obj: memoryview, /) -> memoryview: ...
    @overload
    def unprotect(self, obj: _Array, /) -> _Array: ...
    def reset(self) -> None:
        """Empty the group and keep its memory, warm, for what comes next. Blocks from before are freed.

        Slots with live exporters (blocks that ever gave out their address) are set aside untouched until the
        last dies.

        Raises:
            BufferError: There are live views; nothing has changed then.
            ValueError: The group is freed.
        """
    def free(self, force: bool = False) -> int:
        """Free all memory in one shot. Freeing a freed group does nothing.

        A slot with a live exporter (a block that ever gave out its address) is set aside until the exporter
        dies: what holds the address without a view, as `np.ndarray(buffer=block)` does, stays valid. Secrets
        are overwritten at once.

        Args:
            force: Free also what live views and exporters show, but for what numpy allocated within
                `numpy()`. Their addresses stay reserved without access until they die: using one is a crash,
                never somebody else's data.

        Returns:
            How many bytes exporters still hold: 0 as a rule, and with `force` but for such arrays.

        Raises:
            BufferError: There are live views and `force` is false; nothing is freed then.
        """
    def stats(self) -> GroupStats:
        """Return what the group holds; after a `with` block, the memory that views and exporters keep.

        Raises:
            ValueError: The group is freed.
        """
    def __rich__(self) -> RenderableType:
        """Return what rich shows: a map of the slots."""
    def _repr_html_(self) -> str:
        """Return what Jupyter shows: a map of the slots."""
    def __contains__(self, obj: object, /) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class WarmMemory:
    """What this process keeps of groups that have ended, for those that come."""

    @property
    def limit(self) -> int:
        """The most bytes that are kept; see `set_warm_limit`."""
    @property
    def committed(self) -> int:
        """Bytes kept: up to where the slots were committed."""
    @property
    def slots(self) -> int:
        """How many slots are kept."""
    @property
    def handles(self) -> int:
        """How many dead `MemBlock` objects are kept, of 64 bytes each.

        They are not counted in `committed`; they take at most a quarter of the limit.
        """
    def as_dict(self) -> dict[str, int]:
        """Return the same as a dict, for JSON."""

def warm_memory() -> WarmMemory:
    """Return what this process keeps of groups that have ended, for those that come."""

def set_warm_limit(bytes: SupportsIndex) -> None:  # noqa: A002  # what it counts, as in the Rust face
    """Set the most bytes that are kept warm for the next groups; 0 keeps none.

    What is more than that goes back to the kernel at once, the oldest first. The objects of dead blocks are
    kept too, for a quarter of the limit. A program begins with the value of the environment variable
    MEMGROUP_WARM_LIMIT, or else with 256 MiB or a sixteenth of the memory that the
    machine and its cgroups allow, whichever is less.

    Args:
        bytes: The limit.

    Raises:
        TypeError: `bytes` is no integer.
        ValueError: It is negative.
    """

def enable_fault_report() -> None:
    """Have the process say on standard error what happened before it dies of an access to a group's memory.

    That is: a store into a read-only mirror, an access to the guard pages around a mirror, or to what a group
    has given back. The report names the group, the slot, the offset and the object (one whose address was
    given out since this was called), and the remedy. The process dies all the same, of the same signal, and
    faulthandler and other handlers still run, whether they were installed before or after. Faults elsewhere
    are passed on in silence.

    The environment variable MEMGROUP_FAULT_REPORT=1 does this as memgroup is imported.

    Raises:
        OSError: The kernel does not let the signals be handled.
    """

def disable_fault_report() -> None:
    """Undo `enable_fault_report`."""

# memgroup.rmap: these four are made when they are first asked for.

@final
class Machine:
    """Processes that fork, and how one design of reverse mapping finds who maps a page.

    Args:
        policy: The design: one of `POLICIES`.
        clone_order: How forks copy chains, "keeps" or "reverses", if not as the design does: for one fix
            without the other.

    Raises:
        TypeError: An argument is no str.
        ValueError: It names nothing.
    """

    POLICIES: ClassVar[tuple[str, ...]]
    """The names of the designs, oldest first."""
    def __new__(cls, policy: str = "modern", *, clone_order: str | None = None) -> Self: ...
    @property
    def policy(self) -> str:
        """The design's name."""
    @property
    def clone_order(self) -> str:
        """How forks copy chains: "keeps" (newest first) or "reverses"."""
    def spawn(self) -> Process:
        """Return a new process with nothing mapped, a child of nobody.

        Raises:
            MemoryError: There are as many processes as Linux numbers, 4,194,304, or there is no memory for
                more.
        """
    def processes(self) -> list[Process]:
        """Return the processes that live, by birth."""
    def pages(self) -> list[int]:
        """Return the ids of the pages that somebody maps, keeps in swap, or that a shared mapping holds."""
    def swap_out(self, page_id: SupportsIndex, /) -> bool:
        """Swap a page out: the walk takes away the page table entries that it finds.

        Returns:
            Whether it found all of them, so that the page left memory. It does in every design but the broken
            ones.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: The page is in no page table, or `page_id` is negative.
        """
    def walk(self, page_id: SupportsIndex, /) -> list[tuple[Process, Vma]]:
        """Return the places where a page can be mapped, as (process, VMA), in the order of a full walk.

        They hold the page's address, and need not map the page. Empty while nobody maps it, as after
        `swap_out` until somebody touches it again; only a page of a shared mapping is found all the same, by
        the mapping, in every design but "scan24". Empty, too, where a broken design has lost the way.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def walk_visits(self, page_id: SupportsIndex, /) -> int:
        """Return how many VMAs a full walk looks at: those of `walk`, and in a list also those elsewhere.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def unmap_visits(self, page_id: SupportsIndex, /) -> int:
        """Return how many VMAs unmapping a page would look at: the walk ends with its last page table entry.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def mapped_by(self, page_id: SupportsIndex, /) -> list[Process]:
        """Return the processes that map a page, by birth: what a walk ought to find, from all page tables.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def counts(self) -> dict[str, int]:
        """Return what there is, and what was ever made or done, by name.

        `processes`, `vmas`, `anon_vmas`, `chains` (chain entries) and `pages` that there are; each with
        `_total`, how many were ever made; `copies`, pages that were copied on write; `visits`, VMAs that
        `swap_out` looked at. The difference of two is what the operations between them cost.
        """
    def check(self) -> list[Broken]:
        """Return the invariants that do not hold, those of pages first; empty for a design that works.

        Raises:
            MemoryError: There is not enough to look at everything.
        """
    def graph(self) -> dict[str, list[dict[str, Any]]]:
        """Return the whole state as dicts and lists, for drawing and for other tools.

        `processes`: pid, parent (the pid of who forked it, or 0). `vmas`: id, process (a pid), start, stop,
        prot, shared, accounted, dontfork, wipeonfork, anon_vma (an id or None), chain (ids of anon_vmas,
        newest first). `anon_vmas`: id, root, parent, children, active, references, members (ids of VMAs in
        the order of a walk). `pages`: id, index, mapping (id of an anon_vma or None), dangling, shared,
        mapped_by, swapped_by (pids).

        Raises:
            MemoryError: There is not enough for all of it.
        """
    def draw(self, page: SupportsIndex | None = None) -> Drawing:
        """Draw the whole state as SVG: a grid of VMAs and anon_vmas, with a dot for each chain entry.

        Args:
            page: The id of a page: its walk is drawn, numbered in the order of a full walk.

        Returns:
            The picture. The same state gives the same one.

        Raises:
            TypeError: `page` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page` is negative, or the family is too large for one picture: more than 32
                processes, 48 VMAs, 48 anon_vmas or, without `page`, 24 pages.
            RuntimeError: Other threads never left the machine alone for long enough.
        """
    def _repr_svg_(self) -> str | None:
        """Return what Jupyter shows: None for a family that is too large for one picture."""

@final
class Process:
    """A process of a machine: what `Machine.spawn` and `Process.fork` make.

    Pages are named by their address, counted in pages; what is there, by a page id. Once the process has
    exited, every use of it but `pid`, `alive` and `machine` raises ValueError.
    """

    @property
    def pid(self) -> int:
        """Its number: 1 for a machine's first process, and never given again."""
    @property
    def machine(self) -> Machine:
        """The machine it lives or lived in."""
    @property
    def alive(self) -> bool:
        """Whether it has not exited."""
    def mmap(
        self,
        pages: SupportsIndex,
        *,
        prot: str = "rw",
        shared: bool = False,
        at: SupportsIndex | None = None,
    ) -> Vma:
        """Map pages, none of which is there until it is touched.

        Args:
            pages: How many.
            prot: What may be done with them: letters of "rwx", or "" for nothing.
            shared: Whether the process and its children see each other's writes.
            at: The first page address; without one, the mapping keeps a page away from every other.

        Returns:
            The VMA. It can be a neighbour that has grown.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The process has exited, a page of the range is mapped already, or it is no range.
            MemoryError: No hole is large enough, or there is no memory for what the mapping is made of.
        """
    def munmap(self, page: SupportsIndex, pages: SupportsIndex) -> None:
        """Unmap whatever there is in a range.

        Raises:
            TypeError: An argument is no integer.
            ValueError: The process has exited, or it is no range.
        """
    def mprotect(self, page: SupportsIndex, pages: SupportsIndex, prot: str) -> None:
        """Change what may be done with a range, all of which must be mapped.

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; nothing has changed then.
            ValueError: The process has exited, it is no range, or `prot` is unknown.
        """
    def madvise(self, page: SupportsIndex, pages: SupportsIndex, advice: str) -> None:
        """Say what a fork is to do with a range, all of which must be mapped.

        Args:
            page: The first page address.
            pages: How many.
            advice: "dontfork" (a child does not get it), "wipeonfork" (a child gets it empty; private
                mappings only), or what undoes them, "dofork" and "keeponfork".

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; nothing has changed then.
            ValueError: The process has exited, it is no range, a shared mapping is to be wiped, or `advice`
                is unknown.
        """
    def write(self, page: SupportsIndex, /) -> int:
        """Write a page. One that others may see is copied first.

        Returns:
            The id of the page that is there now.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            PermissionError: It may not be written.
            ValueError: The process has exited, or `page` is negative.
        """
    def read(self, page: SupportsIndex, /) -> int | None:
        """Read a page.

        Returns:
            The id of the page that is there now, or None for the page of zeros that stands for all that was
            never written.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            PermissionError: It may not be read.
            ValueError: The process has exited, or `page` is negative.
        """
    def page(self, page: SupportsIndex, /) -> int | None:
        """Return the id of the page at an address, in memory or in swap, without touching it; None if none.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            ValueError: The process has exited, or `page` is negative.
        """
    @overload
    def fork(self, n: None = None, /) -> Process:
        """Fork: return the child, or with a number so many children, one after the other, in a list.

        Raises:
            TypeError: `n` is no integer.
            ValueError: The process has exited, or `n` is negative.
            MemoryError: There would be more processes than Linux numbers, 4,194,304, or there is no memory
                for them; none is forked then.
        """
    @overload
    def fork(self, n: SupportsIndex, /) -> list[Process]: ...
    def exit(self) -> None:
        """End the process: its page table, then its VMAs.

        Raises:
            ValueError: It has exited already.
        """
    def vmas(self) -> list[Vma]:
        """Return its VMAs, by address.

        Raises:
            ValueError: The process has exited.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Vma:
    """A range of pages of one process that are alike. Its attributes say what it is like now.

    Once it is unmapped or merged into a neighbour, or its process has exited, they raise ValueError.
    """

    @property
    def id(self) -> int:
        """Its id, as in `Machine.graph`."""
    @property
    def process(self) -> Process:
        """The process it is or was of."""
    @property
    def start(self) -> int:
        """Its first page address."""
    @property
    def stop(self) -> int:
        """The page address behind its last."""
    @property
    def pages(self) -> int:
        """How many pages it has."""
    @property
    def prot(self) -> str:
        """What may be done with them: letters of "rwx"."""
    @property
    def shared(self) -> bool:
        """Whether children share its writes."""
    @property
    def anon_vma(self) -> int | None:
        """The id of its own anon_vma, or None before the first write."""
    @property
    def chain(self) -> tuple[int, ...]:
        """The ids of the anon_vmas of its chain, newest first."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Broken:
    """One invariant that does not hold; `str` of it says all."""

    @property
    def invariant(self) -> int:
        """Its number, from 1 to 6."""
    @property
    def page(self) -> int | None:
        """The id of the page it is about, or None."""
    @property
    def process(self) -> Process | None:
        """The process it is about, or None."""
    @property
    def reason(self) -> str:
        """What is wrong, in words that name the objects."""
