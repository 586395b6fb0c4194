"""Pickling of blocks and lists: the contents of a pickle, and the group that receives them.

Pickles name the functions `load_block`, `load_list` and `load_joined`, so their names, their module and their
parameters must not change.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock
from _weakref import ref
from contextvars import ContextVar

from memgroup._memgroup import (
    MemBlock,
    MemGroup,
    MemList,
    block_from_buffer,
    gathered,
    list_of_joined,
    list_of_pieces,
    pieces,
)

# Modules that only some programs need are imported on first use, because importing memgroup has to be fast.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from pickle import PickleBuffer
    from typing import Any

    from _typeshed import ReadableBuffer as Buffer

    _Table = tuple[int, int, int] | tuple[Buffer] | tuple[Buffer, Buffer]

FIRST_OUT_OF_BAND = 5
"""The first pickle protocol that knows buffers."""

LARGE = 1024 * 1024
"""What is loaded in this many bytes or more gets its own group, or stays where it arrived out of band."""

TOGETHER = 16 * 1024 * 1024
"""So many bytes of smaller things are loaded into one group before the next begins: the most that one of them
can keep with it.
"""

ALIGN = 16
"""The alignment of a block, unless more is asked for."""

PADDING = 16
"""About what alignment may take of each record."""

_into: ContextVar[MemGroup | None] = ContextVar("memgroup.loads_into", default=None)


def loads_into(group: MemGroup) -> AbstractContextManager[MemGroup]:
    """Load objects that are unpickled in the `with` block into `group`.

    This applies to the current thread or asyncio task. Elsewhere blocks and lists are loaded into groups that
    you need not free: such a group ends with the last object loaded into it. An object of 1 MiB or more gets
    its own group; smaller ones share groups of up to 16 MiB, so one small object keeps at most 16 MiB.

    Args:
        group: An open group. It must not be anonymous if the pickle has protected objects.

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
    """The groups for receivers that name none. Only the objects in such a group keep it alive."""

    def __init__(self) -> None:
        """Begin without a group, as each forked child does."""
        self._lock = allocate_lock()
        self._current: Callable[[], MemGroup | None] = lambda: None
        self._left = 0

    def group(self, nbytes: int) -> MemGroup:
        """Return a group for an object of that many bytes."""
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
            f"a protected object cannot be loaded into the group {group.name!r}, which is anonymous and so "
            'has no read-only mirror: load it into one made with backing="memfd"'
        )
    return group


def _sent(data: Any, protocol: int) -> PickleBuffer | bytes:
    if protocol < FIRST_OUT_OF_BAND:
        return bytes(data)
    # A program that pickles has imported it already; others need not wait for it.
    from pickle import PickleBuffer

    return PickleBuffer(data)


def _reduced(load: Callable[..., Any], nbytes: int, protocol: int, *arguments: Any) -> tuple[Any, ...]:
    """Return what pickle is told: to call `load` with these arguments.

    An engine may receive the first buffer together with the pickle, where it is not aligned, as dask does. So
    an empty buffer precedes those that are large enough to stay where they arrive.
    """
    load = _sendable(load)
    if protocol < FIRST_OUT_OF_BAND or nbytes < LARGE:
        return load, arguments
    return _sendable(load_aligned), (_sent(bytearray(), protocol), load, *arguments)


def _sendable(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, or one that a worker of dask without memgroup can load, too."""
    if "distributed" not in sys.modules:
        return load
    from memgroup._dask import loader

    return loader(load.__name__)


def load_aligned(_: Buffer, load: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `load` does with these arguments."""
    return load(*arguments)


def _are_stored(buffers: Sequence[Buffer]) -> bool:
    """Whether `buffers` are of an object in Ray's store, or of one that Ray sent along with a task.

    No process writes to their bytes, and the buffers keep them for as long as they live. A receiver that
    names a group wants a copy instead.
    """
    modules = {type(memoryview(buffer).obj).__module__ for buffer in buffers}
    return modules == {"ray._raylet"} and _into.get() is None


def _borrowed(
    buffers: Sequence[Buffer], align: int, readonly: bool, are_stored: bool
) -> tuple[MemGroup, tuple[MemBlock, ...]] | None:
    """Return a new group and blocks of it that show what came out of band, if they are as the sender's were.

    That is as pickle has it: what is loaded shares the buffers' memory. Copies replace buffers that are not
    aligned, if these are a hundredth of all bytes or less: Ray aligns short ones to 8 bytes.
    """
    if not are_stored and (
        _into.get() is not None or not all(isinstance(buffer, memoryview) for buffer in buffers)
    ):
        return None
    views = [memoryview(buffer) for buffer in buffers]
    nbytes = sum(view.nbytes for view in views)
    if (nbytes < LARGE and not are_stored) or not all(view.contiguous for view in views):
        return None
    if readonly:
        views = [view.toreadonly() for view in views]
    group = MemGroup(name="loaded")
    blocks = tuple(map(group.borrow, views))
    misaligned = sum(block.nbytes for block in blocks if block.address % align)
    if misaligned > nbytes // 100 or not all(block.readonly == readonly for block in blocks):
        return None
    return group, tuple(_aligned(group, block, align) for block in blocks)


def _aligned(group: MemGroup, block: MemBlock, align: int) -> MemBlock:
    if not block.address % align:
        return block
    copy = group.alloc(block.nbytes, align=align)
    copy[:] = block
    return group.protect(copy) if block.readonly else copy


def reduce_block(block: MemBlock, protocol: int) -> tuple[Any, ...]:
    """Return the pickled form of a block."""
    return _reduced(load_block, block.nbytes, protocol, _sent(block, protocol), block.readonly)


def load_block(buffer: Buffer, readonly: bool) -> MemBlock:
    """Return a block of the bytes of `buffer`; it shares them if they live in a group or came out of band."""
    is_stored = _are_stored([buffer])
    readonly = readonly or is_stored
    block = block_from_buffer(buffer, readonly)
    if block is not None:
        return block
    borrowed = _borrowed([buffer], ALIGN, readonly, is_stored)
    if borrowed is not None:
        return borrowed[1][0]
    group = _receiver(memoryview(buffer).nbytes, readonly)
    block = group.copy(buffer)
    return group.protect(block) if readonly else block


def reduce_list(blocks: MemList, protocol: int) -> tuple[Any, ...]:
    """Return the pickled form of a list: its contiguous runs, or one copy of the records."""
    taken = pieces(blocks)
    if taken is None:
        sizes = _sent(blocks.sizes.tobytes(), protocol)
        return _sendable(load_joined), (_sent(gathered(blocks), protocol), sizes, blocks.readonly)
    stretches, firsts, table, align = taken
    # Columns of numbers are sent as buffers.
    numbers = [part if isinstance(part, int) else _sent(part, protocol) for part in table]
    sent = tuple(_sent(stretch, protocol) for stretch in stretches)
    return _reduced(load_list, blocks.nbytes, protocol, sent, firsts, tuple(numbers), align, blocks.readonly)


def load_list(
    buffers: tuple[Buffer, ...], firsts: tuple[int, ...], table: _Table, align: int, readonly: bool
) -> MemList:
    """Return a list that lies in `buffers` if they are in a group or came out of band, else in a copy."""
    are_stored = _are_stored(buffers)
    readonly = readonly or are_stored
    blocks = list_of_pieces(None, buffers, firsts, table, align, readonly)
    borrowed = _borrowed(buffers, align, readonly, are_stored) if blocks is None else None
    if borrowed is not None:
        group, buffers = borrowed
        blocks = list_of_pieces(group, buffers, firsts, table, align, readonly)
    elif blocks is None:
        group = _receiver(sum(memoryview(buffer).nbytes for buffer in buffers), readonly)
        blocks = list_of_pieces(group, buffers, firsts, table, align, readonly)
    assert blocks is not None  # it lives in a group
    return blocks


def load_joined(buffer: Buffer, sizes: Buffer, readonly: bool) -> MemList:
    """Return a list of records of these sizes, which `buffer` holds one after the other.

    It shares their bytes if they are stored by Ray.
    """
    is_stored = _are_stored([buffer])
    borrowed = _borrowed([buffer], 1, readonly=True, are_stored=True) if is_stored else None
    if borrowed is not None:
        return list_of_joined(borrowed[1][0], sizes)
    words = memoryview(sizes).cast("Q")
    group = _receiver(memoryview(buffer).nbytes + PADDING * len(words), readonly)
    blocks = group.alloc_many(words)
    blocks.fill_from(buffer)
    return group.protect(blocks) if readonly else blocks
