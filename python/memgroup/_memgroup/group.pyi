"""The group itself."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from ssl import SSLObject
from types import TracebackType
from typing import Any, Literal, Protocol, Self, SupportsIndex, TypeAlias, TypeVar, final, overload

import numpy as np
from _typeshed import FileDescriptorLike, ReadableBuffer
from memgroup._memgroup.block import MemBlock
from memgroup._memgroup.io import FrameReader
from memgroup._memgroup.list import MemList
from memgroup._memgroup.pool import MemPool
from memgroup._memgroup.stats import GroupStats
from memgroup._reads import ReadResult
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rich.console import RenderableType

# Without numpy, which is optional, these are Any to a type checker; nobody else reads this file.
_Array = TypeVar("_Array", bound=NDArray[Any])

_Scalar = TypeVar("_Scalar", bound=np.generic)

_Dtype: TypeAlias = type[_Scalar] | np.dtype[_Scalar]

_Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

_Order: TypeAlias = Literal["C", "F"] | None

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

class _StoresReceived(Protocol):
    def recv_into(self, buffer: memoryview, /) -> int: ...

class _StoresRead(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...

class _HasArrowArray(Protocol):
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

class _HasArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

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
            for unlinked temporary files, by a path that is resolved now.
        name: Shown in `repr`, in messages and in /proc/PID/maps (where memory kept from another group keeps
            its name).
        secret: Whether what the group holds is locked in memory, left out of core dumps, and overwritten with
            zeros when the group is reset, freed or ends.
        huge_pages: Whether large slots are committed in huge pages where the kernel gives them.
        shared: Whether other processes may be given what the group holds, by `send`. It takes two descriptors
            for each slot, and the group's memory is not kept for later groups.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `base` is 0, negative or absurd, `limit` negative, `name` unusable, `backing` a directory
            for secrets, or a shared group is secret or of another backing than "memfd".
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
        huge_pages: bool = True,
        shared: bool = False,
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
    def shared(self) -> bool:
        """Whether other processes may be given what it holds, by `send`."""
    @property
    def frozen(self) -> bool:
        """Whether nobody can write to what it holds."""
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
            OSError: The kernel lets a read-only mirror be made writable, as some sandboxes do.
        """
    def copy_many(self, items: Iterable[ReadableBuffer], *, align: int = 16) -> MemList:
        """Return a list of new blocks with the bytes of many objects.

        Args:
            items: An iterable of bytes-like objects.
            align: Each block's address is a multiple of this power of two, at most 4096.

        Raises:
            TypeError: An item has no bytes, or `items` is one bytes-like object itself.
            ValueError: `align` is no power of two up to 4096, or the group is freed.
            MemoryError: As `alloc`. All are copied or none.
        """
    def from_arrow(self, array: _HasArrowArray | _HasArrowStream, /) -> MemList:
        """Return a list of the records of an Arrow array of bytes or text, without a copy.

        The list shows the array's memory, which the group borrows: it is read-only, and the array is kept
        until the group is reset or ends.

        Args:
            array: Anything with `__arrow_c_array__` or `__arrow_c_stream__`, as arrays and chunked arrays of
                pyarrow and series of polars: binary, string, their large and view forms, or binary of a fixed
                size.

        Raises:
            TypeError: `array` is no Arrow array, or one of another type.
            ValueError: A record is null, the group is secret, or it is freed.
        """
    def borrow(self, buffer: ReadableBuffer, /) -> MemBlock:
        """Return a block that shows the memory of another object, without a copy: writable if the object is.

        The object is kept until the group is reset or ends and, if a block of its memory ever gave out its
        address, until that block dies. Its memory counts neither against `limit` nor as committed.

        Args:
            buffer: Anything that exports its bytes in one piece: a mmap, bytes, a bytearray, an array, an
                Arrow buffer. What lives in this group already is shown where it is.

        Raises:
            TypeError: `buffer` exports no bytes, or its elements refer to objects.
            ValueError: Its bytes do not lie one behind the other, the group is secret, or it is freed.
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
            sizes: Sizes in bytes: a buffer of integers of any type (numpy array, array.array, ...), a
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
        source: FileDescriptorLike | SSLObject | _StoresReceived | _StoresRead,
        *,
        prefix: SupportsIndex = 4,
        byteorder: Literal["big", "little"] = "big",
        limit: SupportsIndex = 16777216,
        counts_prefix: bool = False,
        read_ahead: SupportsIndex = 65536,
        length: Literal["fixed", "varint"] = "fixed",
        length_size: SupportsIndex | None = None,
        length_offset: SupportsIndex = 0,
        header: SupportsIndex | None = None,
        adjust: SupportsIndex = 0,
        skip: SupportsIndex | None = None,
        trailer: SupportsIndex = 0,
        delimiter: bytes | None = None,
    ) -> FrameReader:
        """Return the messages of a stream, told apart by their lengths: an iterator of blocks, one for each.

        A message is a header, which has the length in it, a payload and a trailer. The payload has as many
        bytes as the length says, plus `adjust`. The block shows the payload; `skip` may add the header.

        A large message goes from the kernel straight into its block; small ones are read ahead, many at once.
        The group must not be freed or reset while a message is unfinished, which counts as a view.

        Args:
            source: A socket, a pipe or anything else with `fileno()`, or a descriptor. Or an SSL socket or
                object, a buffered or compressed file, or anything else with `recv_into()` or `readinto()`:
                its own method stores into the blocks.
            prefix: Bytes of the length: from 1 to 8, unsigned.
            byteorder: "big" (network order) or "little".
            limit: Bytes of the largest message to be received, as far as it is shown.
            counts_prefix: Whether a length counts its own bytes too.
            read_ahead: The most bytes to read behind the message that is wanted; with 0, the stream is left
                just there. A secret group reads nothing ahead.
            length: "fixed", or "varint": groups of 7 bits, the least significant first, as protobuf has them.
            length_size: The same as `prefix`.
            length_offset: Bytes of the header before the length.
            header: Bytes of the header, if it does not end with the length.
            adjust: What to add to a length for the size of the payload: -4 if it counts its own 4 bytes.
            skip: How many bytes of a message are not shown; its header, unless this is given.
            trailer: Bytes behind the payload that are not shown. If a length counts them, `adjust`
                subtracts them.
            delimiter: Messages have no length, but end with these bytes, which are not shown.

        Raises:
            TypeError: `source` is none of these, or an argument is of the wrong type.
            ValueError: The stream is one of datagrams or not read, an argument is out of range or has no
                meaning for such messages, or the group is freed.
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
        file: FileDescriptorLike | _Path,
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
    def pool(
        self,
        size: SupportsIndex,
        *,
        align: SupportsIndex = 16,
        zero: bool = False,
        capacity: SupportsIndex | None = None,
        debug: bool = False,
    ) -> MemPool:
        """Return a pool of objects of one size in this group, each with an end of its own.

        Args:
            size: Size of each object in bytes.
            align: Each object's address is a multiple of this power of two, at most 4096.
            zero: Whether to set every byte to 0 in `alloc`.
            capacity: The most objects in use at a time, or None.
            debug: Whether to detect writes to free objects and behind the end of one.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: `size` or `capacity` is negative, `align` no power of two up to 4096, or the group is
                freed.
            MemoryError: No slot can ever hold an object.
        """
    @overload
    def protect(self, obj: MemBlock, /) -> MemBlock:
        """Return the same bytes through the read-only mirror: no system call, any size.

        Args:
            obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the
                result is of the same kind, shape, strides and format.

        Raises:
            TypeError: `obj` is none of these, or its elements refer to objects.
            ValueError: It does not live in this group, the group is anonymous, it is borrowed memory that can
                be written, or the group is freed.
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
            ValueError: It does not live in this group, it was borrowed to be read, or the group is freed.
        """
    @overload
    def unprotect(self, obj: MemList, /) -> MemList: ...
    @overload
    def unprotect(self, obj: memoryview, /) -> memoryview: ...
    @overload
    def unprotect(self, obj: _Array, /) -> _Array: ...
    def send(self, sock: FileDescriptorLike, obj: MemBlock | MemList | memoryview | NDArray[Any], /) -> None:
        """Hand an object to the process at the other end of a Unix socket, which takes it by `recv`: no copy.

        What arrives is read-only, and shows the same bytes: what is written to them later the other process
        sees, until `freeze`. A slot's descriptor goes over a socket once; each later message has 64 bytes and
        a few more. `reset` uses memory that was sent again when every receiver has said by `send_releases`
        that it is done.

        Args:
            sock: A connected Unix socket, or anything else with `fileno()` that is one. The socket's timeout
                holds.
            obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory.

        Raises:
            TypeError: `obj` is none of these, its elements refer to objects, or `sock` has no descriptor.
            ValueError: The group was made without `shared=True`, `obj` does not live in it, `sock` is no Unix
                socket, or the group is freed.
            OSError: The socket refuses it: TimeoutError, BlockingIOError, BrokenPipeError and others.
            MemoryError: What of the memory was never touched cannot be committed, or the table of a list.
        """

    def recv(self, sock: FileDescriptorLike, /) -> Any:
        """Receive the next object that the process at the other end of a Unix socket has sent.

        Waits for it, and copies nothing.

        It is a block, a list, a memoryview or an array, as it was sent; read-only, and borrowed by the group
        until this is reset or ends. Nothing is taken on trust: what could make reading it a crash is refused,
        and the next message is the one behind it.

        Args:
            sock: A connected Unix socket, or anything else with `fileno()` that is one. The socket's timeout
                holds.

        Raises:
            TypeError: `sock` has no descriptor.
            ValueError: What came is refused, `sock` is no Unix socket, the group is secret, or it is freed.
            EOFError: The other end was closed.
            ConnectionError: It was closed in the midst of a message.
            OSError: The socket refuses it (TimeoutError, BlockingIOError and others), or there are too many
                open files.
            ImportError: What came is an array, and numpy is not installed.
            MemoryError: There is no memory for the columns of a list.
        """

    def freeze(self) -> None:
        """Make the group's memory what nobody can write to any more, in this process or another, for ever.

        The read-write mirror is given up and the memory sealed (F_SEAL_WRITE), which every process that has
        it can check. All objects are read-only from then on, and nothing can be allocated until a `reset`.

        Raises:
            BufferError: Memoryviews, arrays or blocks that ever gave out their address can still write.
            OSError: Another process, such as a forked child, can still write (EBUSY), or the kernel refuses
                it.
            ValueError: The group was made without `shared=True`, or it is freed.
        """

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
                `numpy()` and what is borrowed. Their addresses stay reserved without access until they die:
                using one is a crash, never somebody else's data.

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
