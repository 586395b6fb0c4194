"""Objects of shared groups in `multiprocessing`: they travel as handles.

A handle names memory. A process that does not have that memory yet asks the process that made the handle for
its descriptor, once for each slot, over a socket of `multiprocessing.connection`, open to its family alone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing import AuthenticationError, connection, process, reduction
from typing import Any
from weakref import WeakValueDictionary

from memgroup import _memgroup
from memgroup._memgroup import MemBlock, MemGroup, MemList

NUMBER_BYTES = 16

# So much memory that came is kept for the next objects in it, although no object is left.
MAX_KEPT = 64

# How long the other process may take to ask, in seconds, before somebody else is served.
PATIENCE = 10

Numbers = tuple[bytes, ...]


def reduce(obj: Any) -> Any:
    """Reduce an object of a shared group to its handle, and any other as pickle would."""
    handle = _memgroup.handle_of(obj)
    if handle is None:
        return obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
    return rebuild, (server().address, os.getpid(), handle)


def rebuild(address: str, pid: int, handle: bytes) -> Any:
    """Return the object of a handle.

    Raises:
        ConnectionError: The process that made the handle has ended.
        ValueError: It has freed the memory, or what came is refused.
    """
    named, retired = _memgroup.handle_segments(handle)
    group = groups.of(named, retired)
    return _memgroup.object_of_handle(group, handle, lambda missing: fetch(address, pid, missing))


class Groups:
    """The groups that borrow what came: one for each set of slots that an object lies in."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: WeakValueDictionary[Numbers, MemGroup] = WeakValueDictionary()
        self.kept: OrderedDict[Numbers, MemGroup] = OrderedDict()

    def of(self, named: Numbers, retired: Numbers) -> MemGroup:
        """Return the group for these slots; forget those of memory that was given up."""
        with self.lock:
            group = self.known.get(named)
            if group is None:
                group = self.known[named] = MemGroup(name="received")
            self.kept[named] = group
            self.kept.move_to_end(named)
            gone = set(retired)
            dropped = [key for key in self.kept if not gone.isdisjoint(key)]
            forgotten = [self.kept.pop(key) for key in dropped]
            if len(self.kept) > MAX_KEPT:
                forgotten.append(self.kept.popitem(last=False)[1])
        # Their memory is unmapped here, if no object is left, and not under the lock.
        del forgotten
        return group


groups = Groups()


def fetch(address: str, pid: int, missing: Numbers) -> list[int]:
    """Ask the process that made a handle for descriptors."""
    with contextlib.ExitStack() as undo:
        try:
            link = undo.enter_context(
                connection.Client(address, "AF_UNIX", process.current_process().authkey)
            )
            link.send_bytes(b"".join(missing))
            descriptors: list[int] = []
            for _ in missing:
                if link.recv_bytes(1) == b"n":
                    raise ValueError(
                        f"process {pid} has freed the memory of this object before it was received"
                    )
                descriptor = reduction.recv_handle(link)
                undo.callback(os.close, descriptor)
                descriptors.append(descriptor)
        except (OSError, EOFError) as error:
            raise ConnectionError(
                f"process {pid}, which sent this object, has ended before its memory was received: "
                "keep it until it is received"
            ) from error
        # They are the caller's from now on.
        undo.pop_all()
        link.close()
    return descriptors


class Server:
    """Hands out the descriptors of this process's memory, in a thread of its own."""

    def __init__(self) -> None:
        self.address = f"\0memgroup-{os.urandom(16).hex()}"
        self.listener = connection.Listener(
            self.address, "AF_UNIX", backlog=64, authkey=process.current_process().authkey
        )
        threading.Thread(target=self.serve, name="memgroup descriptors", daemon=True).start()

    def serve(self) -> None:
        """Answer one process after the other."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            # One that goes away, or is none of the family, is nobody else's concern.
            with contextlib.suppress(OSError, EOFError, AuthenticationError), self.listener.accept() as link:
                if link.poll(PATIENCE):
                    self.answer(link)

    def answer(self, link: Any) -> None:
        """Send what one process asks for."""
        numbers = link.recv_bytes(NUMBER_BYTES * 1024)
        for start in range(0, len(numbers), NUMBER_BYTES):
            descriptor = _memgroup.shared_descriptor(numbers[start : start + NUMBER_BYTES])
            if descriptor is None:
                link.send_bytes(b"n")
                continue
            try:
                link.send_bytes(b"y")
                reduction.send_handle(link, descriptor, 0)
            finally:
                os.close(descriptor)


lock = threading.Lock()
running: Server | None = None


def server() -> Server:
    """Return this process's server, started now if there was none."""
    global running
    with lock:
        if running is None:
            running = Server()
        return running


def begin_anew() -> None:
    """Forget, in a forked child, what is the parent's."""
    global lock, running, groups
    if running is not None:
        # Else whoever asks the parent after its end would wait for the child.
        running.listener.close()
    lock, running, groups = threading.Lock(), None, Groups()


def register() -> None:
    """Have `multiprocessing` send objects of shared groups by handle, from now on."""
    kinds: list[type] = [MemBlock, MemList, memoryview]
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    for kind in [*kinds, *([array] if array else [])]:
        reduction.ForkingPickler.register(kind, reduce)


os.register_at_fork(after_in_child=begin_anew)

# For loky and joblib, whose executors take such a table.
job_reducers: dict[type, Callable[[Any], Any]] = {MemBlock: reduce, MemList: reduce}
