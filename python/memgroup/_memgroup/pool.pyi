"""Pools: objects of one size, each with an end of its own."""

from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias, TypeVar, final, overload

import numpy as np
from memgroup._memgroup.block import MemBlock
from memgroup._memgroup.group import MemGroup
from numpy.typing import DTypeLike, NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)

_Dtype: TypeAlias = type[_Scalar] | np.dtype[_Scalar]

_Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

_Order: TypeAlias = Literal["C", "F"] | None

@final
class PoolStats:
    """A pool."""

    @property
    def size(self) -> int:
        """Bytes of each object."""
    @property
    def align(self) -> int:
        """What each object's address is a multiple of."""
    @property
    def stride(self) -> int:
        """Bytes from one object to the next."""
    @property
    def capacity(self) -> int | None:
        """The most objects in use at a time, or None."""
    @property
    def used(self) -> int:
        """Objects in use."""
    @property
    def free(self) -> int:
        """Objects that are ready to be handed out."""
    @property
    def retired(self) -> int:
        """Objects that are never handed out again.

        A child that was forked while they were in use may still use them; or they were found damaged.
        """
    def as_dict(self) -> dict[str, int | None]:
        """Return the same as a dict, for JSON."""

@final
class MemPool:
    """A pool of objects of one size: the bytes of a block return to it when the last reference dies.

    The object that was freed last is handed out first. Its memory is the group's: protection, limits, ends
    and forks are as for other blocks. `MemPool(nbytes, size)` makes a pool in a group of its own,
    `group.pool(size)` one in a group.

    Args:
        nbytes: Size of the first slot of the pool's group; every later one is twice as large.
        size: Size of each object in bytes.
        align: Each object's address is a multiple of this power of two, at most 4096.
        zero: Whether to set every byte to 0 in `alloc`.
        capacity: The most objects in use at a time, or None.
        debug: Whether to detect writes to free objects and behind the end of one.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `nbytes` is 0, negative or absurd, `size` or `capacity` negative, or `align` no power of
            two up to 4096.
        MemoryError: No slot can ever hold an object.
    """

    def __new__(
        cls,
        nbytes: SupportsIndex,
        size: SupportsIndex,
        *,
        align: SupportsIndex = 16,
        zero: bool = False,
        capacity: SupportsIndex | None = None,
        debug: bool = False,
    ) -> MemPool: ...
    @property
    def group(self) -> MemGroup:
        """The group that the objects live in."""
    @property
    def size(self) -> int:
        """Size of each object in bytes."""
    @property
    def capacity(self) -> int | None:
        """The most objects in use at a time, or None."""
    def alloc(self, /) -> MemBlock:
        """Return a writable block of the pool's size: the object that was freed last, or else a new one.

        Its contents are unspecified unless the pool was made with `zero`. The bytes return to the pool when
        the last reference to the block dies; slices, protected blocks, views and arrays made of it hold
        them too.

        Raises:
            ValueError: The group is freed.
            MemoryError: As many objects as `capacity` are in use; or as `MemGroup.alloc`.
            RuntimeError: With `debug`: somebody has written to the object while it was free.
        """
    def alloc_many(self, count: SupportsIndex, /) -> list[MemBlock]:
        """Return many blocks in a list: all of them are allocated, or none.

        Args:
            count: How many.

        Raises:
            TypeError: `count` is no integer.
            ValueError: `count` is negative, or the group is freed.
            MemoryError, RuntimeError: As `alloc`.
        """
    @overload
    def empty(self, shape: _Shape, dtype: None = None, order: _Order = "C") -> NDArray[np.float64]:
        """Return a numpy array over an object of the pool.

        Its elements are unspecified unless the pool was made with `zero`. The array is a view: the bytes
        return to the pool when it, and all that was made of it without a copy, dies.

        Args:
            shape: Elements in each dimension: an int, or a sequence of ints.
            dtype: The element type; float64 unless given. None that holds references to Python objects.
            order: 'C' or 'F': whether the last index or the first varies fastest.

        Raises:
            ImportError: numpy is not installed.
            TypeError: `dtype` holds references to objects, or an argument is of the wrong type.
            ValueError: The array is larger than an object, a dimension is negative, or the group is freed.
            MemoryError: As `alloc`.
        """
    @overload
    def empty(self, shape: _Shape, dtype: _Dtype[_Scalar], order: _Order = "C") -> NDArray[_Scalar]: ...
    @overload
    def empty(self, shape: _Shape, dtype: DTypeLike, order: _Order = "C") -> NDArray[Any]: ...
    def free(self, block: MemBlock, /) -> None:
        """Give a block back at once, whatever refers to it: every use of it raises ValueError from now on.

        What was made of it without a copy and without a view (slices, protected blocks) stays usable and
        keeps the bytes until it dies, and so does a block that has ever given out its address.

        Args:
            block: What `alloc` of this pool gave.

        Raises:
            TypeError: It is no MemBlock.
            BufferError: It has live views; nothing has changed then.
            ValueError: It was freed before, is a slice or protected, or not of this pool, or the group is
                freed.
        """
    def stats(self) -> PoolStats:
        """Return what the pool holds.

        Raises:
            ValueError: The group is freed.
        """
    def __len__(self) -> int:
        """How many objects are in use."""
    def __bool__(self) -> bool:
        """Whether there is a pool: not how many of its objects are in use."""
    def __contains__(self, block: object, /) -> bool:
        """Whether an object is a block of this pool, or a part of one, that can be used."""
