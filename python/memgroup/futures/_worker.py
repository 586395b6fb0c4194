"""A worker's side: where results are built, and how they are handed over."""

from __future__ import annotations

import os
import pickle
import select
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

from memgroup import _memgroup
from memgroup._memgroup import GroupStats, MemGroup, Parcel
from memgroup.futures import _results
from memgroup.futures._end import Activity
from memgroup.futures._pickling import ALIGN, ATOMIC, PROTOCOL, SMALL, LargeBuffers, dumps, is_plain
from memgroup.futures._tasks import ArrivedTask

# Results are put into one group up to so many bytes, or up to this part of all that the parent keeps: its
# memory is written again when all of them are gone, and each slot takes descriptors of both processes.
FULL = 8 * 1024 * 1024
FULL_PART = 8

# Groups without results that are kept, for their memory is warm.
MAX_IDLE = 2

FIRST_SLOT = 1024 * 1024


class Ticket:
    """A result that has been sent. It is unpickled by a function, to the result itself."""

    def __init__(self, receive: Callable[..., Any], *told: Any) -> None:
        self.receive, self.told = receive, told

    def __reduce__(self) -> Any:
        return self.receive, self.told


class Pickled:
    """A result that was pickled. It is unpickled to the result itself."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return pickle.loads, (self.data,)


class SentError(Exception):
    """An exception that has been sent with its traceback. It is unpickled to the exception itself."""

    def __init__(self, executor: bytes, sent: Ticket) -> None:
        super().__init__()
        self.executor, self.sent = executor, sent

    def __reduce__(self) -> Any:
        return _results.receive_error, (self.executor, self.sent)


class ResultGroups:
    """The groups of a worker's results."""

    def __init__(self, parent: int, max_bytes: int | None, max_wait: float) -> None:
        self.parent = parent
        # Half for what is under way, half for what the task at hand adds.
        self.half = None if max_bytes is None else max_bytes // 2
        self.max_wait = max_wait
        self.groups: list[MemGroup] = []
        self.full = FULL
        self.current: MemGroup | None = None

    def of_task(self, sock: socket.socket, nbytes: int = 0) -> MemGroup:
        """Return the group of the task at hand, which is to have room for so many bytes."""
        if self.half is not None and nbytes > self.half:
            raise MemoryError(
                f"a result of {nbytes} bytes is more than a worker may have: with max_bytes, that is half of "
                f"its share, or {self.half} bytes"
            )
        if self.current is None:
            _memgroup.recv_releases(sock)
            self.wait(sock)
            self.current = self.find()
        return self.current

    def find(self) -> MemGroup:
        """Return a group with room, and end those that are too many."""
        idle = [group for group in self.groups if readers(group.stats()) == 0]
        for group in idle[MAX_IDLE:]:
            self.groups.remove(group)
        for group in idle[:MAX_IDLE]:
            try:
                group.reset()
            except BufferError:
                # The task before has kept views of it, which is its right.
                self.groups.remove(group)
            else:
                return group
        if self.half is None and self.groups and self.groups[-1].stats().allocated < self.full:
            return self.groups[-1]
        self.groups.append(MemGroup(base=self.first_slot(), shared=True, limit=self.half, name="results"))
        return self.groups[-1]

    def first_slot(self) -> int:
        """Return the size of a new group's first slot, which holds all where the parent keeps many."""
        under_way = self.under_way()
        self.full = max(FULL, under_way // FULL_PART)
        has_many = self.half is None and under_way > 0
        return 1 << (2 * self.full - 1).bit_length() if has_many else FIRST_SLOT

    def wait(self, sock: socket.socket) -> None:
        """Wait until what is under way is no more than half of the worker's share."""
        until = time.monotonic() + self.max_wait
        while self.half is not None and (under_way := self.under_way()) > self.half:
            left = until - time.monotonic()
            if left <= 0 or not select.select([sock], [], [], left)[0]:
                raise MemoryError(
                    f"process {self.parent} uses {under_way} bytes of results of worker {os.getpid()}: with "
                    f"max_bytes, {self.half} may be under way when a task adds to it. Nothing was "
                    f"given back for {self.max_wait:g} s: drop results, or raise max_bytes"
                )
            if _memgroup.recv_releases(sock):
                until = time.monotonic() + self.max_wait

    def under_way(self) -> int:
        """Count the bytes of results that are not given back."""
        return sum(stats.allocated for stats in (group.stats() for group in self.groups) if readers(stats))


def readers(stats: GroupStats) -> int:
    """How many receivers are not done with a group's memory."""
    return sum(slot.receivers for slot in stats.slots)


class Worker:
    """This process, as a worker of an executor."""

    def __init__(
        self, theirs: socket.socket, executor: bytes, parent: int, max_bytes: int | None, max_wait: float
    ) -> None:
        self.theirs, self.executor = theirs, executor
        self.id = os.urandom(_results.ID_BYTES)
        self.link: socket.socket | None = None
        self.sent = 0
        self.groups = ResultGroups(parent, max_bytes, max_wait)
        self.activity = Activity(theirs)

    def sock(self) -> socket.socket:
        """Return the socket to the parent, made now if there was none."""
        if self.link is None:
            self.link, there = socket.socketpair()
            # The parent reads a pickle when it hears of it, so that all of it must find room before.
            self.link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SMALL)
            with there:
                socket.send_fds(self.theirs, [self.id], [there.fileno()])
        return self.link

    def group(self, nbytes: int = 0) -> MemGroup:
        """Return the group of the task at hand."""
        return self.groups.of_task(self.sock(), nbytes)

    def send(self, data: bytes) -> Ticket:
        """Send a pickle over the socket to the parent, who finds there where it ends if this process does."""
        sock = self.sock()
        try:
            sock.sendall(data)
        except BaseException:
            # Perhaps by a signal handler, in the midst of it: nobody could read what follows.
            self.link, self.id, self.sent = None, os.urandom(_results.ID_BYTES), 0
            sock.close()
            raise
        self.sent += 1
        return Ticket(_results.receive_pickle, self.executor, self.id, self.sent - 1, len(data))

    def pack(self, result: Any) -> Any:
        """Return what the pool is to pickle for a result."""
        if is_plain(result, ATOMIC // 2):
            return result
        parcel = Parcel()
        has_objects = False

        def reduce(obj: Any) -> Any:
            nonlocal has_objects
            handle = parcel.add(obj)
            if handle is None:
                return obj.__reduce_ex__(PROTOCOL)
            has_objects = True
            return _results.take, (handle,)

        large = LargeBuffers()
        data = dumps(result, large, reduce)
        if not large and not has_objects and ATOMIC <= len(data) < SMALL:
            return self.send(data)
        handles = [parcel.add(buffer) for buffer in large]
        copies = [buffer for buffer, handle in zip(large, handles, strict=True) if handle is None]
        told: tuple[bytes, list[bytes | None]] | None = data, handles
        if len(data) + sum(len(handle) for handle in handles if handle) >= ATOMIC:
            told = None
            copies += map(memoryview, (data, pickle.dumps(handles)))
        elif not large and not has_objects:
            return Pickled(data)
        copied = None
        if copies:
            group = self.group(sum(buffer.nbytes for buffer in copies))
            copied = parcel.add(group.copy_many(copies, align=ALIGN))
        parcel.send(self.sock())
        self.sent += 1
        return Ticket(_results.receive, self.executor, self.id, self.sent - 1, told, copied)

    def pack_error(self, error: BaseException) -> SentError | None:
        """Return what the pool is to pickle for an exception that the pipe does not take at once."""
        try:
            sent = self.pack((error, "".join(traceback.format_exception(error))))
        except Exception:
            # The pool says why it cannot be sent.
            return None
        return SentError(self.executor, sent) if isinstance(sent, Ticket) else None


worker: Worker | None = None


def start(
    told: tuple[Any, ...], initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    """Begin as a worker."""
    global worker
    worker = Worker(*told)
    worker.activity.end_with_pool()
    if initializer is not None:
        initializer(*initargs)
    worker.activity.is_busy = False


def run(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do a task whose arguments are plain."""
    assert worker is not None
    worker.activity.is_busy = True
    try:
        return worker.pack(fn(*args, **kwargs))
    except BaseException as error:
        failure = worker.pack_error(error)
        if failure is None:
            raise
    finally:
        worker.groups.current = None
        worker.activity.is_busy = False
    # Here, so that it does not refer to the other, whose frames have all that the task had.
    raise failure


def run_task(task: ArrivedTask) -> Any:
    """Do any task."""
    return run(*task.load())


def result_group() -> MemGroup:
    """Return the shared group in which a task builds its result, which is then sent without a copy.

    Blocks, lists, memoryviews and arrays of this group, wherever they are in the result, arrive as the same
    kind of object, read-only. The group belongs to the task until it returns; its memory is freed when the
    parent has dropped the result. Outside of a worker of `memgroup.futures` it is a new shared group.

    Raises:
        MemoryError: Results take all bytes that `max_bytes` allows, and none was dropped for `max_wait`
            seconds.
    """
    return MemGroup(shared=True, name="results") if worker is None else worker.group()
