"""What pickling and copying need."""

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
        readonly: Whether a protected block is wanted. What is protected stays so.

    Returns:
        A block, or None if the bytes live elsewhere or cannot be protected where they are.
    """

def pieces(
    list: MemList,  # noqa: A002
) -> tuple[tuple[MemBlock, ...], tuple[int, ...], _Numbers, int] | None:
    """Return the stretches of memory that a list lies in, as blocks, and where the records are in them.

    What lies between records is cleared before, if it belongs to the list.

    Returns:
        The blocks; for each the index of its first record; sizes and beginnings of all records, as (how many,
        size, from one to the next), as one buffer of 16-bit sizes, if each begins where the one before ends,
        aligned, or as two buffers of unsigned 64-bit integers; and the alignment. None if bytes of others lie
        between the records (the list skips some of another list, say), if there is more between the records
        than in them, or if there are many short stretches.
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
        ValueError: They do not fit together.
    """

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
            None then. If all of them live in this group, what lies between the records is the list's.
        buffers: As `pieces` returned them.
        firsts: As `pieces` returned them.
        table: As `pieces` returned it; the numbers as any buffers.
        align: As `pieces` returned it.
        readonly: Whether a protected list is wanted.

    Raises:
        ValueError: They do not fit together, or a protected list is wanted of an anonymous group.
    """
