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
        """Each object's address is a multiple of this."""
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

        Either a child that was forked while they were in use may still use them, or they were found damaged.
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
        debug: Whether to detect writes to free objects and behind the end of an object.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `nbytes` is 0, negative or absurd, `size` or `capacity` negative, or `align` no power of
            two up to 4096.
        MemoryError: No slot is large enough for an object.
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
        the last reference to the block dies; slices, protected blocks, views and arrays made of it hold them
        too.

        Raises:
            ValueError: The group is freed.
            MemoryError: As many objects as `capacity` are in use; or as `MemGroup.alloc`.
            RuntimeError: With `debug`: code wrote to the object while it was free.
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
        return to the pool when it and all arrays that share its memory are gone.

        Args:
            shape: Elements in each dimension: an int, or a sequence of ints.
            dtype: The element type, by default float64. It must not hold references to Python objects.
            order: 'C' if the last index varies fastest, 'F' if the first does.

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
        """Free a block at once, even if objects refer to it: every later use of it raises ValueError.

        Its slices and protected blocks stay usable and keep the bytes until they die; a block that ever gave
        out its address keeps the bytes, too.

        Args:
            block: A block that `alloc` of this pool returned.

        Raises:
            TypeError: It is no MemBlock.
            BufferError: It has live views; then nothing has changed.
            ValueError: It was freed before, is a slice or protected, or not of this pool, or the group is
                freed.
        """
    def stats(self) -> PoolStats:
        """Return the pool's figures.

        Raises:
            ValueError: The group is freed.
        """
    def __len__(self) -> int:
        """How many objects are in use."""
    def __bool__(self) -> bool:
        """True, even if no object is in use."""
    def __contains__(self, block: object, /) -> bool:
        """Whether an object is a block of this pool, or a part of one, that can be used."""
