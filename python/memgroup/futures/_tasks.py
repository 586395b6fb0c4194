"""Tasks on their way from the parent to a worker."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from memgroup import _memgroup, _processes
from memgroup._memgroup import MemBlock, MemGroup
from memgroup.futures._pickling import ALIGN, PROTOCOL, SMALL, LargeBuffers, dumps

# Arguments of fewer bytes share groups of so many, because a worker asks for the memory of each group.
TOGETHER = 16 * 1024 * 1024

# So many bytes at each end tell most buffers apart.
SAMPLE = 64

Key = tuple[int, bytes, bytes]


class Argument:
    """A buffer that was copied to shared memory, for as long as a task needs it."""

    def __init__(self, group: MemGroup, buffer: memoryview) -> None:
        self.block: MemBlock = group.copy(buffer, align=ALIGN)


class Arguments:
    """The buffers of all tasks that are not done: the same bytes are copied once."""

    def __init__(self) -> None:
        self.known: WeakValueDictionary[Key, Argument] = WeakValueDictionary()
        self.group: MemGroup | None = None
        self.room = 0

    def of(self, buffer: memoryview) -> Argument:
        """Return the copy of a buffer, made now if there is none."""
        key = (buffer.nbytes, bytes(buffer[:SAMPLE]), bytes(buffer[-SAMPLE:]))
        argument = self.known.get(key)
        # It may have been written to since.
        if argument is None or argument.block != buffer:
            argument = self.known[key] = Argument(self.group_for(buffer.nbytes), buffer)
        return argument

    def group_for(self, nbytes: int) -> MemGroup:
        """Return a group with room for an argument of that many bytes."""
        if nbytes >= TOGETHER:
            return MemGroup(base=nbytes, shared=True, name="arguments")
        if self.group is None or nbytes > self.room:
            self.group, self.room = MemGroup(base=TOGETHER, shared=True, name="arguments"), TOGETHER
        self.room -= nbytes + ALIGN
        return self.group


class Task:
    """A call, pickled when the pool comes to it."""

    def __init__(
        self, arguments: Arguments, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.arguments = arguments
        self.call: Any = (fn, args, kwargs)
        self.memory: list[Argument] = []

    def __reduce__(self) -> Any:
        large = LargeBuffers()
        data = dumps(self.call, large, reduce)
        call = data if len(data) < SMALL else self.buffer(memoryview(data))
        return ArrivedTask, (call, [self.buffer(raw) for raw in large])

    def buffer(self, raw: memoryview) -> Any:
        """Return what `multiprocessing` sends by handle."""
        if _memgroup.handle_of(raw) is not None:
            return raw
        argument = self.arguments.of(raw)
        self.memory.append(argument)
        return argument.block

    def done(self, _future: object) -> None:
        """Let the arguments go."""
        self.call = None
        self.memory.clear()


class ArrivedTask:
    """A call in the worker."""

    def __init__(self, call: bytes | MemBlock, buffers: list[Any]) -> None:
        self.call, self.buffers = call, buffers

    def load(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Return the function and its arguments."""
        fn, args, kwargs = pickle.loads(self.call, buffers=self.buffers)
        self.call, self.buffers = b"", []
        return fn, args, kwargs


def reduce(obj: Any) -> Any:
    """Reduce an object of a shared group to its handle."""
    handle = _memgroup.handle_of(obj)
    if handle is None:
        return obj.__reduce_ex__(PROTOCOL)
    return _processes.rebuild, (_processes.server().address, os.getpid(), handle)
