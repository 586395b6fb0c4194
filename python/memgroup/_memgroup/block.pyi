"""One allocation of a group."""

from collections.abc import Iterator
from typing import Any, SupportsIndex, final, overload

from _typeshed import ReadableBuffer
from memgroup._memgroup.list import MemList

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
    def rfind(
        self,
        sub: ReadableBuffer | int,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Return the offset of the last occurrence of `sub` in `self[start:end]`, or -1."""
    def index(
        self,
        sub: ReadableBuffer | int,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Return the offset that `find` returns; raise ValueError instead of returning -1.

        Raises:
            ValueError: `sub` does not occur.
        """
    def rindex(
        self,
        sub: ReadableBuffer | int,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Return the offset that `rfind` returns; raise ValueError instead of returning -1.

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
    def startswith(
        self,
        prefix: ReadableBuffer | tuple[ReadableBuffer, ...],
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> bool:
        """Return whether `self[start:end]` begins with `prefix`: bytes-like, or a tuple of several."""
    def endswith(
        self,
        suffix: ReadableBuffer | tuple[ReadableBuffer, ...],
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> bool:
        """Return whether `self[start:end]` ends with `suffix`: bytes-like, or a tuple of several."""
    def strip(self, chars: ReadableBuffer | None = None, /) -> MemBlock:
        """Return the part of the block without the leading and trailing bytes of `chars`.

        Without `chars`, or with None, ASCII whitespace is left out.
        """
    def lstrip(self, chars: ReadableBuffer | None = None, /) -> MemBlock:
        """Return the part of the block without the leading bytes of `chars`.

        Without `chars`, or with None, ASCII whitespace is left out.
        """
    def rstrip(self, chars: ReadableBuffer | None = None, /) -> MemBlock:
        """Return the part of the block without the trailing bytes of `chars`.

        Without `chars`, or with None, ASCII whitespace is left out.
        """
    def removeprefix(self, prefix: ReadableBuffer, /) -> MemBlock:
        """Return the part of the block behind `prefix` if the block begins with it, else the block."""
    def removesuffix(self, suffix: ReadableBuffer, /) -> MemBlock:
        """Return the part of the block before `suffix` if the block ends with it, else the block."""
    def partition(self, sep: ReadableBuffer, /) -> tuple[MemBlock, MemBlock, MemBlock]:
        """Return the parts before, at and behind the first occurrence of `sep`.

        Without an occurrence they are the block and two empty blocks.

        Raises:
            ValueError: `sep` is empty.
        """
    def rpartition(self, sep: ReadableBuffer, /) -> tuple[MemBlock, MemBlock, MemBlock]:
        """Return the parts before, at and behind the last occurrence of `sep`.

        Without an occurrence they are two empty blocks and the block.

        Raises:
            ValueError: `sep` is empty.
        """
    def split(self, sep: ReadableBuffer | None = None, maxsplit: SupportsIndex = -1) -> MemList:
        """Return the parts between occurrences of `sep` or of ASCII whitespace: a list over the same bytes.

        Args:
            sep: A bytes-like object. None splits at runs of ASCII whitespace, and drops empty parts at the
                ends.
            maxsplit: The most splits, from the left; -1 for all.

        Raises:
            ValueError: `sep` is empty.
        """
    def rsplit(self, sep: ReadableBuffer | None = None, maxsplit: SupportsIndex = -1) -> MemList:
        """Return the parts that `split` returns, with splits counted from the right.

        Raises:
            ValueError: `sep` is empty.
        """
    def splitlines(self, keepends: bool = False) -> MemList:
        """Return the lines: a list over the same bytes, 16 bytes for each. They end with LF, CR or CR LF.

        Args:
            keepends: Whether a line keeps its end.
        """
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the bytes as a str.

        Raises:
            UnicodeDecodeError: The bytes are not text in that encoding.
        """
    def hex(self, sep: str | bytes = ..., bytes_per_sep: SupportsIndex = 1) -> str:
        """Return the bytes as hexadecimal digits, with `sep` between each `bytes_per_sep` bytes."""
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
        """Return the type of the block as an Arrow array: uint8."""
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
            max_version: The newest version that the consumer knows. Protected blocks can be exported from (1,
                0) on.
            dl_device: None or (1, 0), which is main memory.
            copy: Whether to export a copy, a new block of the group.

        Raises:
            BufferError: It cannot be exported as requested.
        """
    def __dlpack_device__(self) -> tuple[int, int]:
        """Return (1, 0): main memory."""
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        """Pickle: with protocol 5 the bytes can go out of band, without a copy.

        The loaded block is in a group of the receiver.
        """
    def __copy__(self) -> MemBlock:
        """Return a new block of the group with the same bytes, protected if this one is."""
    def __deepcopy__(self, memo: Any = None, /) -> MemBlock:
        """Return the same as `copy.copy`."""
