"""Functions for pickling and copying."""

from collections.abc import Sequence
from typing import TypeAlias

from _typeshed import ReadableBuffer
from memgroup._memgroup.block import MemBlock
from memgroup._memgroup.group import MemGroup
from memgroup._memgroup.list import MemList

_Numbers: TypeAlias = tuple[int, int, int] | tuple[ReadableBuffer] | tuple[ReadableBuffer, ReadableBuffer]

def block_from_buffer(buffer: ReadableBuffer, readonly: bool) -> MemBlock | None:
    """Return the block that shares the bytes of `buffer`, if these live in a group of this process.

    Args:
        buffer: Any object that exports a buffer.
        readonly: Whether to return a protected block. Protected bytes stay protected.

    Returns:
        A block, or None if the bytes live elsewhere or cannot be protected where they are.
    """

def pieces(
    list: MemList,  # noqa: A002
) -> tuple[tuple[MemBlock, ...], tuple[int, ...], _Numbers, int] | None:
    """Return the runs of memory that a list lies in, as blocks, and the positions of its records.

    Padding between the records is set to zero first.

    Returns:
        The blocks; the index of the first record of each; the sizes and offsets of all records, as (count,
        size, stride), as one buffer of 16-bit sizes if the records have no gaps but padding, or as two
        buffers of unsigned 64-bit integers; and the alignment. None if bytes of other blocks lie between the
        records, if there is more padding than records, or if there are many short runs.
    """

def gathered(list: MemList) -> MemBlock | bytes:  # noqa: A002
    """Return the bytes of all records of a list, one after the other.

    They are a block of the group if that is secret, else bytes.
    """

def list_of_joined(block: MemBlock, sizes: ReadableBuffer) -> MemList:
    """Return the list of records of these sizes that a block holds one after the other, without a copy.

    Args:
        block: The bytes of all records, as `gathered` returned them.
        sizes: The sizes of all records, as any buffer of unsigned 64-bit integers.

    Raises:
        ValueError: The arguments do not fit together.
    """

def list_of_pieces(
    group: MemGroup | None,
    buffers: Sequence[ReadableBuffer],
    firsts: Sequence[int],
    table: _Numbers,
    align: int,
    readonly: bool,
) -> MemList | None:
    """Return the list that `pieces` was called for, in this process or in another.

    Args:
        group: The group for bytes that do not live in one open group of this process; with None, the result
            is None for such bytes. If all of them live in this group, padding belongs to the list.
        buffers: As `pieces` returned them.
        firsts: As `pieces` returned them.
        table: As `pieces` returned it; the numbers as any buffers.
        align: As `pieces` returned it.
        readonly: Whether to return a protected list.

    Raises:
        ValueError: The arguments do not fit together, or the list is protected and the group is anonymous.
    """
