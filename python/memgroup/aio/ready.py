"""Waiting for a stream: the event loop only says when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from memgroup._memgroup import non_blocking

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    _Waiter = tuple[asyncio.Future[None], FileDescriptorLike]

AT_ONCE = 1024 * 1024
"""About how many bytes a task moves before others get their turn."""

_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], _Waiter]] = WeakKeyDictionary()
"""Who waits for what: a loop has one callback for each direction of a descriptor, the latest."""


async def ready(stream: FileDescriptorLike, direction: Literal["read", "write"]) -> None:
    """Wait until a stream is ready to be read from or written to."""
    loop = asyncio.get_running_loop()
    descriptor = non_blocking(stream)
    waiting, what = _waiting.setdefault(loop, {}), (direction, descriptor)
    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if direction == "read"
        else (loop.add_writer, loop.remove_writer)
    )
    if what in waiting:
        if not _is_closed(waiting[what][1]):
            raise RuntimeError(
                f"another task is waiting to {direction} on descriptor {descriptor}: wait for that one"
            )
        remove(descriptor)  # of the closed one: for the loop it is still registered
    future = loop.create_future()
    add(descriptor, wake, future)
    waiting[what] = future, stream
    try:
        await future
    finally:
        # The stream may have been closed meanwhile, and its number may belong to another stream, which waits
        # in its place, or to the loop itself, which raises an error.
        if waiting[what][0] is future:
            del waiting[what]
            with contextlib.suppress(RuntimeError):
                remove(descriptor)


def _is_closed(stream: FileDescriptorLike) -> bool:
    """Return whether a stream object has closed its descriptor. A bare number cannot tell."""
    if isinstance(stream, int):
        return False
    try:
        return stream.fileno() < 0
    except ValueError:  # what files say
        return True


def wake(future: asyncio.Future[None]) -> None:
    """Have who awaits it go on, unless that was cancelled."""
    if not future.done():
        future.set_result(None)
