"""The engine that needs no other program: worker processes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from memgroup.engines.engine import Done, LostWorker, Reply, perform

if TYPE_CHECKING:
    from memgroup.engines.engine import Task

# The worker finds the modules that this process finds. It runs no main module of the caller.
_PROGRAM = """
import sys
sys.path[:] = sys.argv[2:]
from memgroup.engines.local import serve
serve(int(sys.argv[1]))
"""


class _Worker:
    """A process, and the task that it has."""

    def __init__(self) -> None:
        near, far = socket.socketpair()
        with far:
            command = [sys.executable, "-c", _PROGRAM, str(far.fileno()), *sys.path]
            self._process = subprocess.Popen(command, pass_fds=[far.fileno()], stdin=subprocess.DEVNULL)
        self.connection = Connection(near.detach())
        self.number: int | None = None

    def send(self, number: int, task: Task) -> None:
        self.number = number
        try:
            self.connection.send(task)
        except OSError:
            return  # `receive` reports the loss

    def receive(self) -> Reply | Exception:
        """The reply to the task. A worker that was lost cannot be used again."""
        try:
            reply: Reply = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            return LostWorker(f"process {self._process.pid} ended with status {self._process.returncode}")
        return reply

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self.connection.close()

    @property
    def is_alive(self) -> bool:
        return not self.connection.closed


class LocalEngine:
    """Runs tasks in processes: one for each processor, started as they are needed."""

    def __init__(self) -> None:
        """Start no process yet."""
        self._slots = len(os.sched_getaffinity(0))
        self._waiting: deque[tuple[int, Task]] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}

    def slots(self) -> int:
        """As many as this process may use processors."""
        return self._slots

    def submit(self, number: int, task: Task) -> None:
        """Give it to a process that has nothing to do, or keep it until there is one."""
        self._waiting.append((number, task))
        self._dispatch()

    def wait(self) -> Done:
        """Return a task that has ended."""
        connection = wait(list(self._busy))[0]
        assert isinstance(connection, Connection)
        worker = self._busy.pop(connection)
        number, reply = worker.number, worker.receive()
        if worker.is_alive:
            self._idle.append(worker)
        self._dispatch()
        assert number is not None
        return Done(number, reply)

    def close(self) -> None:
        """Kill the processes: they hold nothing but results."""
        for worker in [*self._idle, *self._busy.values()]:
            worker.end()
        self._idle.clear()
        self._busy.clear()
        self._waiting.clear()

    def _dispatch(self) -> None:
        while self._waiting and len(self._busy) < self._slots:
            worker = self._idle.pop() if self._idle else _Worker()
            worker.send(*self._waiting.popleft())
            self._busy[worker.connection] = worker


def serve(descriptor: int) -> None:
    """Perform the tasks that come through a socket, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has the terminal
    name = f"process {os.getpid()}"
    with Connection(descriptor) as connection:
        while True:
            try:
                task = connection.recv()
            except (EOFError, OSError):
                return
            try:
                reply: Reply | Exception = perform(name, task)
            except Exception as error:
                reply = error
            connection.send(reply)
