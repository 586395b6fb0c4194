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
    """A group of allocations with one end: it frees all of its blocks in one step, never one alone.

    Its memory is up to 32 slots, slot i of `base << i` bytes, each mapped twice: read-write and read-only. To
    protect a block is to hand out its address in the read-only mirror. After a `with` block the group has
    ended gently: memory that a memoryview or array still uses stays valid until that is gone.

    Args:
        base: Size of the first slot in bytes, rounded up to whole pages.
        limit: The most bytes the group may commit, or None.
        backing: Where the memory comes from: "memfd", "anonymous" (nothing can be protected), or a directory
            for unlinked temporary files, by a path that is resolved now.
        name: Shown in `repr`, in messages and in /proc/PID/maps (there, memory reused from another group has
            that group's name).
        secret: Whether the group's memory is locked in RAM, left out of core dumps, and overwritten with
            zeros when the group is reset, freed or ends.
        huge_pages: Whether large slots are committed in huge pages, if the kernel has some.
        shared: Whether `send` can hand the group's objects to other processes. It takes two descriptors for
            each slot, and the group's memory is not kept for later groups.

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
        """Whether `send` can hand the group's objects to other processes."""
    @property
    def frozen(self) -> bool:
        """Whether no process can write to the group's memory, because of `freeze`."""
    @property
    def secret(self) -> bool:
        """Whether the group's memory is locked in RAM, left out of core dumps, and overwritten at the end."""
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
            MemoryError: The group is full, `limit` is reached, or the machine has too little memory. The
                group stays usable.
            OSError: The kernel does not protect read-only mirrors, as in some sandboxes.
        """
    def copy_many(self, items: Iterable[ReadableBuffer], *, align: int = 16) -> MemList:
        """Return a list of new blocks with the bytes of many objects.

        Args:
            items: An iterable of bytes-like objects.
            align: Each block's address is a multiple of this power of two, at most 4096.

        Raises:
            TypeError: An item has no bytes, or `items` is one bytes-like object itself.
            ValueError: `align` is no power of two up to 4096, or the group is freed.
            MemoryError: As `alloc`; then nothing is copied.
        """
    def from_arrow(self, array: _HasArrowArray | _HasArrowStream, /) -> MemList:
        """Return a list of the records of an Arrow array of bytes or text, without a copy.

        The list shows the array's memory, which the group borrows: it is read-only, and the array is kept
        until the group is reset or ends.

        Args:
            array: An object with `__arrow_c_array__` or `__arrow_c_stream__`, such as an array or chunked
                array of pyarrow or a series of polars, of type binary, string, their large and view forms, or
                fixed-size binary.

        Raises:
            TypeError: `array` is no Arrow array, or its type is another.
            ValueError: A record is null, the group is secret, or it is freed.
        """
    def borrow(self, buffer: ReadableBuffer, /) -> MemBlock:
        """Return a block that shows the memory of another object, without a copy: writable if the object is.

        The object is kept until the group is reset or ends and, if a block of its memory ever gave out its
        address, until that block dies. Its memory counts neither against `limit` nor as committed.

        Args:
            buffer: An object that exports contiguous bytes: a mmap, bytes, a bytearray, an array, an Arrow
                buffer. If its bytes live in this group already, the block shows them there.

        Raises:
            TypeError: `buffer` exports no bytes, or its elements refer to objects.
            ValueError: Its bytes are not contiguous, the group is secret, or it is freed.
        """
    def copy(self, data: ReadableBuffer, *, align: SupportsIndex = 16) -> MemBlock:
        """Return a new writable block with the bytes of `data`, any bytes-like object.

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
        """Allocate many writable blocks in one call and return them as a list: all of them, or none.

        The list takes 16 bytes for each block, or none if all have one size.

        Args:
            sizes: Sizes in bytes: a buffer of integers of any type (numpy array, array.array, ...), a
                sequence or any iterable of ints.
            count: Instead of `sizes`: how many blocks of one `size`.
            size: Size in bytes of each of `count` blocks.
            align: Every block's address is a multiple of this power of two, at most 4096.
            zero: Whether to set every byte to 0.

        Raises:
            TypeError: `sizes` are no integers, or both or neither of `sizes` and `count` with `size` are
                given.
            ValueError: A size is negative, `sizes` has more than one dimension, `align` is no power of two up
                to 4096, or the group is freed.
            MemoryError: As `alloc`; then nothing is allocated.
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
        """Return an iterator over the messages of a stream, with a block for each.

        A message is a header that contains the length, a payload and a trailer. The payload has as many bytes
        as the length says, plus `adjust`. The block shows the payload; with `skip` it can show the header,
        too.

        The kernel stores a large message directly in its block; small ones are read ahead, many at once. An
        unfinished message counts as a view, so `free` and `reset` refuse meanwhile.

        Args:
            source: A socket, a pipe or another object with `fileno()`, or a descriptor. Or an SSL socket or
                object, a buffered or compressed file, or another object with `recv_into()` or `readinto()`,
                which then stores into the blocks.
            prefix: Bytes of the length: from 1 to 8, unsigned.
            byteorder: "big" (network order) or "little".
            limit: The most bytes of a message, as the block shows it.
            counts_prefix: Whether a length counts its own bytes too.
            read_ahead: The most bytes to read behind the next message; with 0, the rest stays in the stream.
                A secret group reads nothing ahead.
            length: "fixed", or "varint": groups of 7 bits, the least significant first, as in protobuf.
            length_size: The same as `prefix`.
            length_offset: Bytes of the header before the length.
            header: Bytes of the header, if it does not end with the length.
            adjust: The number to add to a length to get the size of the payload: -4 if it counts its own 4
                bytes.
            skip: How many bytes of a message are not shown; by default, its header.
            trailer: Bytes behind the payload that are not shown. If a length counts them, `adjust` subtracts
                them.
            delimiter: Messages have no length, but end with these bytes, which are not shown.

        Raises:
            TypeError: `source` is none of these, or an argument is of the wrong type.
            ValueError: The stream has datagrams or cannot be read, an argument is out of range or does not
                apply to such messages, or the group is freed.
            OSError: The descriptor is closed.
        """
    def read_files(
        self, paths: Iterable[_Path], /, *, progress: Callable[[int, int], object] | None = None
    ) -> ReadResult:
        """Read many files whole, each into a block of its own.

        It gets their sizes, allocates the blocks, then reads. A file that grows or shrinks meanwhile is read
        whole, and so is a file without a size, as in /proc: up to 64 MiB beyond its size at first.

        Args:
            paths: An iterable of paths: str, bytes or os.PathLike.
            progress: Called with the number of files done and of all, a few times a second and at the end.

        Returns:
            A ReadResult. Its `errors` has the error of each file that cannot be read; the others are read.

        Raises:
            TypeError: `paths` are no paths.
            ValueError: A path contains NUL, or the group is freed.
            MemoryError: The group has no room for all of them; then nothing is read.
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

        Ranges that lie close together are read in one call.

        Args:
            file: A path, a file descriptor or an object with `fileno()`, whose position does not change.
            offsets: The offset of each range: integers as `alloc_many` accepts sizes, in any order.
            sizes: The size of each range in bytes.
            progress: Called with the number of ranges done and of all, a few times a second and at the end.

        Returns:
            A ReadResult. Its `errors` has an EOFError for each range beyond the end of the file.

        Raises:
            TypeError: `file` is no file, or the numbers are no integers.
            ValueError: A number is negative, the numbers of offsets and sizes differ, or the group is freed.
            OSError: The file cannot be opened or read at all.
            MemoryError: The group has no room for all of them; then nothing is read.
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

        The array is a view: `free` and `reset` refuse while it, or an array that shares its memory, lives.

        Args:
            shape: Elements in each dimension: an int, or a sequence of ints.
            dtype: The element type, by default float64. It must not hold references to Python objects.
            order: 'C' if the last index varies fastest, 'F' if the first does.
            device: None or "cpu".
            like: None or a numpy array; without effect.

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
        """Return an array as `empty` does, with every element 0.

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
        """Return an array as `empty` does, with every element `fill_value`.

        Args:
            shape: Elements in each dimension: an int, or a sequence of ints.
            fill_value: A scalar, or an array that can be broadcast to `shape`.
            dtype: The element type, by default that of `fill_value`.
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
        """Return a numpy array with the elements of `object`, in the group and 64-byte aligned.

        Args:
            object: An array, an object that exports one, or a (nested) sequence of elements.
            dtype: As for `numpy.array`.
            copy: With None, an array that lives in the group already and needs no conversion is returned
                without a copy; with False, any other is refused (in numpy 1, which has no None, False means
                the same as None).
            order: As for `numpy.array`.
            subok: As for `numpy.array`.
            ndmin: As for `numpy.array`.
            ndmax: As for `numpy.array`, from numpy 2.4 on.
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

        It applies to the code that the `with` block calls and to asyncio tasks that are started in it, but
        not to other threads and tasks. Each such array counts as a view for as long as it lives, and may
        outlive the block. If the group has no memory left, or has ended, numpy raises MemoryError.

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
            debug: Whether to detect writes to free objects and behind the end of an object.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: `size` or `capacity` is negative, `align` no power of two up to 4096, or the group is
                freed.
            MemoryError: No slot is large enough for an object.
        """
    @overload
    def protect(self, obj: MemBlock, /) -> MemBlock:
        """Return the same bytes through the read-only mirror: no system call, any size.

        Args:
            obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory; the
                result is of the same kind, shape, strides and format.

        Raises:
            TypeError: `obj` is none of these, or its elements refer to objects.
            ValueError: It does not live in this group, the group is anonymous, `obj` is writable borrowed
                memory, or the group is freed.
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
            ValueError: It does not live in this group, it was borrowed read-only, or the group is freed.
        """
    @overload
    def unprotect(self, obj: MemList, /) -> MemList: ...
    @overload
    def unprotect(self, obj: memoryview, /) -> memoryview: ...
    @overload
    def unprotect(self, obj: _Array, /) -> _Array: ...
    def send(self, sock: FileDescriptorLike, obj: MemBlock | MemList | memoryview | NDArray[Any], /) -> None:
        """Send an object to the process at the other end of a Unix socket, without a copy.

        The other process calls `recv`. Its object is read-only and shows the same bytes, with later writes,
        until `freeze`. A slot's descriptor is sent once over each socket; each later message has little more
        than 64 bytes. `reset` reuses sent memory only when every receiver has released it by `send_releases`.

        Args:
            sock: A connected Unix socket, or an object whose `fileno()` is one. Its timeout applies.
            obj: A MemBlock or a MemList of this group, or a memoryview or numpy array of its memory.

        Raises:
            TypeError: `obj` is none of these, its elements refer to objects, or `sock` has no descriptor.
            ValueError: The group was made without `shared=True`, `obj` does not live in it, `sock` is no Unix
                socket, or the group is freed.
            OSError: The socket raises TimeoutError, BlockingIOError, BrokenPipeError or another error.
            MemoryError: Memory that was never written cannot be committed, or there is none for the table of
                a list.
        """

    def recv(self, sock: FileDescriptorLike, /) -> Any:
        """Receive the next object that the process at the other end of a Unix socket has sent.

        Waits for it, and copies nothing.

        It is a block, a list, a memoryview or an array, as it was sent. It is read-only, and borrowed by the
        group until the group is reset or ends. The sender is not trusted: a message that could make a read
        crash is refused, and the next call receives the message behind it.

        Args:
            sock: A connected Unix socket, or an object whose `fileno()` is one. Its timeout applies.

        Raises:
            TypeError: `sock` has no descriptor.
            ValueError: The message is refused, `sock` is no Unix socket, the group is secret, or it is freed.
            EOFError: The other end was closed.
            ConnectionError: It was closed within a message.
            OSError: The socket raises TimeoutError, BlockingIOError or another error, or there are too many
                open files.
            ImportError: The object is an array, and numpy is not installed.
            MemoryError: There is no memory for the columns of a list.
        """

    def freeze(self) -> None:
        """Make the group's memory read-only for this process and every other, for ever.

        It unmaps the read-write mirror and seals the memory (F_SEAL_WRITE), which every receiver can check.
        All objects are read-only from then on, and nothing can be allocated until a `reset`.

        Raises:
            BufferError: Memoryviews, arrays, or blocks that ever gave out their address, can still write.
            OSError: Another process, such as a forked child, can still write (EBUSY), or the kernel refuses
                it.
            ValueError: The group was made without `shared=True`, or it is freed.
        """

    def reset(self) -> None:
        """Empty the group and keep its memory, warm, for later blocks. All its blocks are freed.

        Slots with live exporters (blocks that ever gave out their address) are set aside unchanged until the
        last exporter dies.

        Raises:
            BufferError: There are live views; nothing has changed then.
            ValueError: The group is freed.
        """
    def free(self, force: bool = False) -> int:
        """Free all memory in one step. On a freed group it does nothing.

        A slot with a live exporter (a block that ever gave out its address) is set aside until the exporter
        dies: an object that holds the address without a view, as `np.ndarray(buffer=block)`, stays valid.
        Secrets are overwritten at once.

        Args:
            force: Whether to free memory that live views and exporters show, too; not arrays that numpy
                allocated within `numpy()`, and not borrowed memory. The addresses stay reserved until the
                views die: an access is a crash, and never shows other data.

        Returns:
            How many bytes exporters still hold: usually 0; with `force`, only those of such arrays.

        Raises:
            BufferError: There are live views and `force` is false; nothing is freed then.
        """
    def stats(self) -> GroupStats:
        """Return the group's figures; after a `with` block, those of memory that views and exporters keep.

        Raises:
            ValueError: The group is freed.
        """
    def __rich__(self) -> RenderableType:
        """Return a map of the slots for rich."""
    def _repr_html_(self) -> str:
        """Return a map of the slots for Jupyter."""
    def __contains__(self, obj: object, /) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
