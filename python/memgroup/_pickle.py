"""Pickling of blocks and lists: what is sent, and which group it lands in.

The functions `load_block`, `load_list` and `load_joined` are named in pickles, so they stay where they are
and take what they take.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from _weakref import ref
from contextvars import ContextVar

from memgroup._memgroup import (
    MemBlock,
    MemGroup,
    MemList,
    block_from_buffer,
    gathered,
    list_of_pieces,
    pieces,
)

# What only some need is imported when it is needed: importing memgroup has to be quick.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager
    from pickle import PickleBuffer
    from typing import Any

    from _typeshed import ReadableBuffer as Buffer

    _Table = tuple[int, int, int] | tuple[Buffer, Buffer]

FIRST_OUT_OF_BAND = 5
"""The first pickle protocol that knows buffers."""

LARGE = 1024 * 1024
"""What is loaded in this many bytes or more gets a group of its own."""

TOGETHER = 16 * 1024 * 1024
"""So many bytes of smaller things are loaded into one group before the next begins: the most that one of them
can keep with it.
"""

PADDING = 16
"""About what alignment may take of each record."""

_into: ContextVar[MemGroup | None] = ContextVar("memgroup.loads_into", default=None)


def loads_into(group: MemGroup) -> AbstractContextManager[MemGroup]:
    """Have what is unpickled in the `with` block land in `group`.

    It holds for this thread, or this asyncio task. Elsewhere blocks and lists are loaded into groups that
    nobody has to free: each ends with the last of what was loaded into it. One of 1 MiB or more has such a
    group of its own; smaller ones share them, up to 16 MiB together, so that is the most that one of them can
    keep.

    Args:
        group: An open group. What was protected is protected again, so it must not be anonymous then.

    Raises:
        TypeError: `group` is no MemGroup.
        ValueError: It is freed.
    """
    from contextlib import contextmanager

    return contextmanager(_loading_into)(group)


def _loading_into(group: MemGroup) -> Generator[MemGroup]:
    if not isinstance(group, MemGroup):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"loads_into() takes a MemGroup, not {type(group).__name__}")
    if group.freed:
        raise ValueError(f"the group {group.name!r} is freed: make a new one to load into")
    token = _into.set(group)
    try:
        yield group
    finally:
        _into.reset(token)


class _Receiving:
    """The groups of those who name none. They are held by what is in them, and by nobody else."""

    def __init__(self) -> None:
        """Begin without any, as each forked child does."""
        self._lock = allocate_lock()
        self._current: Callable[[], MemGroup | None] = lambda: None
        self._left = 0

    def group(self, nbytes: int) -> MemGroup:
        """Return a group that so many bytes are to be loaded into."""
        if nbytes >= LARGE:
            return MemGroup(base=nbytes, name="loaded")
        with self._lock:
            group = self._current()
            if group is None or nbytes > self._left:
                group = MemGroup(name="loaded")
                self._current, self._left = ref(group), TOGETHER
            self._left -= nbytes
            return group


_receiving = _Receiving()


def _begin_anew() -> None:
    global _receiving
    _receiving = _Receiving()


os.register_at_fork(after_in_child=_begin_anew)


def _receiver(nbytes: int, readonly: bool) -> MemGroup:
    group = _into.get()
    if group is None:
        return _receiving.group(nbytes)
    if readonly and group.backing == "anonymous":
        raise ValueError(
            f"what was protected cannot be loaded into the group {group.name!r}, which is anonymous and so "
            'has no read-only mirror: load it into one made with backing="memfd"'
        )
    return group


def _sent(data: Any, protocol: int) -> PickleBuffer | bytes:
    if protocol < FIRST_OUT_OF_BAND:
        return bytes(data)
    # Who pickles has imported it; who does not need not wait for it.
    from pickle import PickleBuffer

    return PickleBuffer(data)


def reduce_block(block: MemBlock, protocol: int) -> tuple[Callable[..., MemBlock], tuple[Any, ...]]:
    """Return what a block is pickled as."""
    return load_block, (_sent(block, protocol), block.readonly)


def load_block(buffer: Buffer, readonly: bool) -> MemBlock:
    """Return a block with the bytes of `buffer`: just these, if they live in a group of this process."""
    block = block_from_buffer(buffer, readonly)
    if block is not None:
        return block
    group = _receiver(memoryview(buffer).nbytes, readonly)
    block = group.copy(buffer)
    return group.protect(block) if readonly else block


def reduce_list(blocks: MemList, protocol: int) -> tuple[Callable[..., MemList], tuple[Any, ...]]:
    """Return what a list is pickled as: the few stretches that it lies in, or one copy of the records."""
    taken = pieces(blocks)
    if taken is None:
        sizes = blocks.sizes.tobytes()
        return load_joined, (_sent(gathered(blocks), protocol), sizes, blocks.readonly)
    stretches, firsts, table, align = taken
    if len(table) == 2:
        table = (_sent(table[0], protocol), _sent(table[1], protocol))
    sent = tuple(_sent(stretch, protocol) for stretch in stretches)
    return load_list, (sent, firsts, table, align, blocks.readonly)


def load_list(
    buffers: tuple[Buffer, ...], firsts: tuple[int, ...], table: _Table, align: int, readonly: bool
) -> MemList:
    """Return a list that lies in `buffers`, where these live in one group of this process; else in a copy."""
    blocks = list_of_pieces(None, buffers, firsts, table, align, readonly)
    if blocks is None:
        group = _receiver(sum(memoryview(buffer).nbytes for buffer in buffers), readonly)
        blocks = list_of_pieces(group, buffers, firsts, table, align, readonly)
    assert blocks is not None  # it has a group to be in
    return blocks


def load_joined(buffer: Buffer, sizes: bytes, readonly: bool) -> MemList:
    """Return a list of records of these sizes, which `buffer` holds one behind the other."""
    words = memoryview(sizes).cast("Q")
    group = _receiver(memoryview(buffer).nbytes + PADDING * len(words), readonly)
    blocks = group.alloc_many(words)
    blocks.fill_from(buffer)
    return group.protect(blocks) if readonly else blocks
