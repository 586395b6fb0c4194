"""Results in the parent: memory that workers have announced, and when it is used no more."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import socket
import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any, TypeVar

from memgroup import _memgroup
from memgroup._memgroup import MemGroup, ReceivedParcel
from memgroup.futures._pickling import SMALL

T = TypeVar("T")

ID_BYTES = 16

Handles = list[bytes | None]

# How long releases are gathered before the workers are told, in seconds.
GATHER = 0.001


class Link:
    """The socket to one worker."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.lock = threading.Lock()
        self.came: dict[int, ReceivedParcel] = {}
        self.count = 0

    def parcel(self, number: int) -> ReceivedParcel:
        """Return the parcel of a result. It has come before the result."""
        with self.lock:
            while number not in self.came:
                self.came[self.count] = _memgroup.recv_parcel(self.sock)
                self.count += 1
            return self.came.pop(number)

    def pickle(self, number: int, nbytes: int) -> bytearray:
        """Return the pickle of a result, which has come before the result."""
        data = bytearray(nbytes)
        with self.lock, memoryview(data) as rest:
            if number != self.count:
                raise ConnectionError(f"result {number} of a worker came before result {self.count}")
            self.count += 1
            while rest:
                came = self.sock.recv_into(rest)
                if not came:
                    raise EOFError("a worker ended before its result had come")
                rest = rest[came:]
        return data

    def release(self) -> None:
        """Tell the worker of which of its memory nothing is used any more."""
        with self.lock, contextlib.suppress(OSError, ValueError):
            _memgroup.send_releases(self.sock)

    def close(self) -> None:
        """Forget the memory of a worker that has ended, but for what results use."""
        with self.lock:
            self.drain()
            while self.discard():
                pass
            self.sock.close()

    def drain(self) -> None:
        """Read what was never requested, pickles too, so that the end of the socket is next."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
            while True:
                # The worker has not read all releases. The end follows.
                with contextlib.suppress(ConnectionResetError):
                    if not self.sock.recv(SMALL):
                        return

    def discard(self) -> bool:
        """Drop one parcel that was never requested; at the end, the memory of all goes."""
        try:
            _memgroup.recv_parcel(self.sock)
        except ConnectionResetError:
            # The worker has not read all releases. The end follows.
            return True
        except (EOFError, OSError, ValueError):
            return False
        return True


class Links:
    """The sockets to the workers of one executor."""

    def __init__(self) -> None:
        self.id = os.urandom(ID_BYTES)
        # Each worker sends one end of a socket pair of its own through theirs.
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.lock = threading.Lock()
        self.known: dict[bytes, Link] = {}
        self.unfinished = 0
        # Whether an exception has come that was too large for the pipe.
        self.has_errors = False
        self.is_hanging_up = False
        self.is_ending = False
        executors[self.id] = self

    def of(self, worker: bytes) -> Link:
        """Return the link to a worker, which has sent its socket before its first result."""
        with self.lock:
            while worker not in self.known:
                number, descriptors, _, _ = socket.recv_fds(self.ours, ID_BYTES, 1)
                self.known[number] = Link(socket.socket(fileno=descriptors[0]))
            return self.known[worker]

    def all(self) -> list[Link]:
        """Return those that are known by now."""
        with self.lock:
            return list(self.known.values())

    def add_task(self) -> None:
        """Count a task that will have a result."""
        with self.lock:
            self.unfinished += 1

    def end_task(self, future: Future[Any] | None) -> None:
        """Count it as done, and have its exception show the traceback that was sent with it."""
        # It may have been there before its future could set it so.
        if self.has_errors and future is not None and not future.cancelled():
            show_traceback(future.exception())
        with self.lock:
            self.unfinished -= 1
            may_close = self.is_hanging_up and self.unfinished == 0
        if may_close:
            self.close()

    def hang_up(self) -> None:
        """Let workers end by themselves when the last result is there: the parent may be unable to."""
        self.is_hanging_up = True
        self.close()

    def end(self) -> None:
        """Close the sockets when the last result is there."""
        self.is_ending = True
        self.hang_up()

    def close(self) -> None:
        """Close what is not needed any more."""
        with self.lock:
            is_last = self.unfinished == 0
            is_gone = is_last and self.is_ending and executors.pop(self.id, None) is not None
        if is_last and self.is_hanging_up:
            for sock in (self.ours, self.theirs):
                sock.close()
        if is_gone:
            for link in self.all():
                link.close()


executors: dict[bytes, Links] = {}


class Taking(threading.local):
    """The result that this thread unpickles."""

    parcel: ReceivedParcel
    group: MemGroup


taking = Taking()


def take(handle: bytes) -> Any:
    """Return the object of a handle in the result that is unpickled."""
    return taking.parcel.take(taking.group, handle)


def receive_pickle(executor: bytes, worker: bytes, number: int, nbytes: int) -> Any:
    """Return a result that has neither buffers nor objects of groups."""
    return pickle.loads(executors[executor].of(worker).pickle(number, nbytes))


def receive(
    executor: bytes,
    worker: bytes,
    number: int,
    told: tuple[bytes, Handles] | None,
    copies: bytes | None,
) -> Any:
    """Return a result.

    Args:
        executor: Number of the executor.
        worker: Number of the worker.
        number: Which of the parcels of the worker has the result's memory.
        told: The result's pickle and the handles of its buffers, None of them for the next one of `copies`;
            or None, for both are pickled behind these copies.
        copies: Handle of the list of what was copied to the result's group.
    """
    link = executors[executor].of(worker)
    try:
        return load(link, link.parcel(number), told, copies)
    finally:
        link.release()


def load(
    link: Link,
    parcel: ReceivedParcel,
    told: tuple[bytes, Handles] | None,
    copies: bytes | None,
) -> Any:
    """Unpickle a result from its parcel, of which only the result keeps memory."""
    group = MemGroup(name="results")
    records: list[Any] = list(parcel.take(group, copies)) if copies is not None else []
    if told is None:
        handles: Handles = pickle.loads(records.pop())
        told = records.pop(), handles
    pickled, handles = told
    copied = iter(records)
    buffers = [next(copied) if handle is None else parcel.take(group, handle) for handle in handles]
    taking.parcel, taking.group = parcel, group
    try:
        return pickle.loads(pickled, buffers=buffers)
    finally:
        del taking.parcel, taking.group
        releaser().watch(group, link)


class RemoteError(Exception):
    """The traceback of a worker, to be shown with the exception."""

    def __str__(self) -> str:
        return '\n"""\n' + str(self.args[0]) + '"""'


def receive_error(executor: bytes, came: tuple[BaseException, str]) -> BaseException:
    """Return the exception of a task, which keeps its traceback where the pool does not overwrite it."""
    executors[executor].has_errors = True
    error, text = came
    error.__context__ = RemoteError(text)
    return error


def show_traceback(error: BaseException | None) -> None:
    """Have a task's exception show the traceback that was sent with it, and not that of its sending."""
    if error is not None and isinstance(error.__context__, RemoteError):
        error.__cause__ = error.__context__


class TaskFuture(Future[T]):
    """The future of a task, whose exception has its own traceback as soon as it is set."""

    def set_exception(self, exception: BaseException | None) -> None:
        """Set the exception, as there."""
        show_traceback(exception)
        super().set_exception(exception)


class Releaser:
    """Tells workers of results that have ended, in a thread of its own."""

    def __init__(self) -> None:
        # What a finalizer may use at any moment.
        self.ended: queue.SimpleQueue[Link] = queue.SimpleQueue()
        threading.Thread(target=self.run, name="memgroup releases", daemon=True).start()

    def watch(self, group: MemGroup, link: Link) -> None:
        """Have the worker told when a result has ended."""
        weakref.finalize(group, self.ended.put, link).atexit = False

    def run(self) -> None:
        """Tell them, again and again."""
        while True:
            links = {self.ended.get()}
            # The group ends behind its finalizer.
            for _ in range(2):
                time.sleep(GATHER)
                while not self.ended.empty():
                    links.add(self.ended.get())
                for link in links:
                    link.release()


lock = threading.Lock()
running: Releaser | None = None


def releaser() -> Releaser:
    """Return this process's releaser, started now if there was none."""
    global running
    with lock:
        if running is None:
            running = Releaser()
        return running


def begin_anew() -> None:
    """Forget, in a forked child, what is the parent's."""
    global lock, running
    lock, running = threading.Lock(), None
    for links in executors.values():
        for sock in (links.ours, *(link.sock for link in links.known.values())):
            sock.close()
    executors.clear()


os.register_at_fork(after_in_child=begin_anew)
