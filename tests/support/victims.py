"""Processes that are killed at random moments while objects of shared groups go between them.

`python tests/support/victims.py COUNT SEED` kills COUNT processes, one after the other. Every object consists
of one number, again and again: the survivor finds the right number in all of it, also after later objects
came, or gets an error that names the reason. At the end there are no more descriptors, mappings, processes
and bytes of shared memory than before.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memgroup
import numpy as np
from memgroup import MemGroup, MemList, _processes
from memgroup.futures import BrokenProcessPool, ProcessPoolExecutor, result_group

WORD = 8

# A survivor that waits longer for anything hangs.
PATIENCE = 120

# So many objects a receiver uses at a time.
KEPT = 6

SHMEM_NOISE = 64 * 1024 * 1024

FORK = multiprocessing.get_context("fork")

# What a survivor may be told when the other end was killed.
ENDS = (EOFError, ConnectionError, BrokenProcessPool)


class WrongBytesError(AssertionError):
    """An object has other bytes than its sender wrote."""


def make(group: MemGroup, number: int, dice: random.Random) -> Any:
    """Make an object of that number."""
    words = 1 + int(dice.expovariate(1 / 3000)) * dice.choice([1, 1, 10])
    kind = dice.randrange(4)
    if kind == 0:
        return group.full((words,), number, "u8")
    if kind == 1:
        return group.copy(number.to_bytes(WORD, "little") * words)
    if kind == 2:
        return group.copy_many([number.to_bytes(WORD, "little") * (1 + n % 7) for n in range(1 + words % 50)])
    return group.full((words, 3), number, "u8")[::2, 1]


def check(obj: Any, number: int) -> None:
    """Find that an object consists of a number."""
    parts = obj if isinstance(obj, MemList) else [obj]
    for part in parts:
        words = part if isinstance(part, np.ndarray) else np.frombuffer(memoryview(part), "u8")
        if words.size == 0 or not (words == number).all():
            raise WrongBytesError(f"{obj!r} is not of {number}: {words[:4]}")


class Kept:
    """The objects that a receiver uses. Each is checked again before it goes."""

    def __init__(self) -> None:
        self.objects: deque[tuple[Any, int]] = deque()

    def add(self, obj: Any, number: int) -> None:
        check(obj, number)
        self.objects.append((obj, number))
        if len(self.objects) > KEPT:
            check(*self.objects.popleft())

    def end(self) -> None:
        for obj, number in self.objects:
            check(obj, number)
        self.objects.clear()


class Sender:
    """Groups whose objects are sent, and which are written again when they were released."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.groups: list[MemGroup] = []
        self.count = 0

    def next(self) -> tuple[MemGroup, Any]:
        """Make the next object."""
        idle = [group for group in self.groups if not any(slot.receivers for slot in group.stats().slots)]
        group = self.dice.choice(self.groups) if self.groups else None
        if idle:
            group = idle[0]
            with contextlib.suppress(BufferError):
                group.reset()
        elif group is None or group.stats().allocated > 1 << 20:
            self.groups = [*self.groups[-2:], MemGroup(shared=True, name="victims")]
            group = self.groups[-1]
        self.count += 1
        return group, make(group, self.count, self.dice)


def send_without_end(sock: socket.socket, dice: random.Random) -> None:
    sender = Sender(dice)
    while True:
        group, obj = sender.next()
        group.send(sock, obj)
        del obj
        memgroup.recv_releases(sock)


def receive_without_end(sock: socket.socket) -> None:
    kept, count = Kept(), 0
    try:
        while True:
            # Its memory is released when the object goes.
            obj = MemGroup(name="victims").recv(sock)
            count += 1
            kept.add(obj, count)
            del obj
            memgroup.send_releases(sock)
    finally:
        kept.end()


def put_without_end(link: Any, dice: random.Random) -> None:
    sender = Sender(dice)
    while True:
        _, obj = sender.next()
        link.send((obj, sender.count))
        # The group may be reset only when the object was taken.
        link.recv()


def get_without_end(link: Any) -> None:
    kept = Kept()
    try:
        while True:
            kept.add(*link.recv())
            link.send(None)
    finally:
        kept.end()


@contextlib.contextmanager
def victim(work: Callable[[], None]) -> Iterator[int]:
    """Run a child that is killed by whoever enters this, at the latest when he leaves."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except ENDS:
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise AssertionError(f"the child ended with {status}")


def survive(pid: int, delay: float, work: Callable[[], None]) -> str:
    """Kill a child after so many seconds; return what the work that needs it is told then."""
    killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
    killer.start()
    try:
        work()
    except ENDS as error:
        return type(error).__name__
    finally:
        killer.join()
    return "finished"


def moment(dice: random.Random) -> float:
    """When somebody is killed: most often early, where descriptors go over."""
    return dice.choice([0.002, 0.01, 0.04]) * dice.random()


def kill_at_an_end(
    dice: random.Random, ends: tuple[Any, Any], suffer: Callable[[Any], None], live: Callable[[Any], None]
) -> str:
    """Kill a process at one end while it does what it does there, and this one does its part at the other."""
    theirs, ours = ends

    def work() -> None:
        ours.close()
        suffer(theirs)

    with ours, victim(work) as pid:
        theirs.close()
        return survive(pid, moment(dice), lambda: live(ours))


def a_sender(dice: random.Random) -> str:
    ends = socket.socketpair()
    return kill_at_an_end(dice, ends, lambda end: send_without_end(end, dice), receive_without_end)


def a_receiver(dice: random.Random) -> str:
    ends = socket.socketpair()
    return kill_at_an_end(dice, ends, receive_without_end, lambda end: send_without_end(end, dice))


def a_sender_of_handles(dice: random.Random) -> str:
    ends = multiprocessing.Pipe()
    return kill_at_an_end(dice, ends, lambda end: put_without_end(end, dice), get_without_end)


def a_receiver_of_handles(dice: random.Random) -> str:
    ends = multiprocessing.Pipe()
    return kill_at_an_end(dice, ends, get_without_end, lambda end: put_without_end(end, dice))


class FailedError(Exception):
    """What a task raises, with its number again and again."""

    def check(self, number: int) -> None:
        """Check that all of it has come, and the traceback."""
        (text,), digits = self.args, str(number)
        if text != digits * (len(text) // len(digits)) or "in task" not in str(self.__cause__):
            raise WrongBytesError(f"an exception of task {number} has {text[:100]!r}")


def task(argument: Any, number: int, seed: int) -> Any:
    """Check the argument and make a result, or fail."""
    check(argument, number)
    dice = random.Random(seed)
    if dice.random() < 0.15:
        raise FailedError(str(number) * dice.randrange(1, 60_000))
    if dice.random() < 0.3:
        return np.full(dice.randrange(1, 30_000), number, "u8")
    return make(result_group(), number, dice)


def use_pool(dice: random.Random, killed: threading.Event) -> None:
    """Use a pool until one of its workers is killed."""

    def kill() -> None:
        with contextlib.suppress(IndexError):
            dice.choice(multiprocessing.active_children()).kill()
        killed.set()

    kept = Kept()
    with ProcessPoolExecutor(2, FORK, max_bytes=dice.choice([None, 1 << 25])) as pool:
        killer = threading.Timer(moment(dice) * 2, kill)
        numbers = iter(range(1, 1 << 60))
        try:
            while not killed.is_set():
                futures = []
                for number in (next(numbers) for _ in range(5)):
                    argument = np.full(dice.randrange(1, 10_000), number, "u8")
                    futures.append((pool.submit(task, argument, number, dice.getrandbits(30)), number))
                if killer.ident is None:
                    killer.start()
                for future, number in futures:
                    try:
                        kept.add(future.result(PATIENCE), number)
                    except FailedError as error:
                        error.check(number)
        finally:
            killer.join()
            kept.end()


def a_worker(dice: random.Random) -> str:
    try:
        use_pool(dice, threading.Event())
    except BrokenProcessPool as error:
        return type(error).__name__
    return "finished"


def a_parent(dice: random.Random) -> str:
    """The process that has the pool. Its workers end by themselves, or are killed behind it to save time."""

    def work() -> None:
        os.setsid()
        use_pool(random.Random(dice.random()), threading.Event())
        signal.pause()

    with victim(work) as pid:
        time.sleep(3 * moment(dice))
        os.kill(pid, signal.SIGKILL)
    if dice.random() < 0.9:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-pid, 0)
    return "killed"


VICTIMS = {
    work.__name__.replace("_", " "): work
    for work in (a_sender, a_receiver, a_sender_of_handles, a_receiver_of_handles, a_worker, a_parent)
}


def resources() -> tuple[int, int]:
    """Descriptors and mappings of memfds of this process, without what is kept of others for a while."""
    gc.collect()
    # What came by handles: of so many groups, though their process was killed.
    assert len(_processes.groups.kept) <= _processes.MAX_KEPT
    _processes.groups.kept.clear()
    forget_closed_sockets()
    return len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("/memfd:")


def forget_closed_sockets() -> None:
    """Use many new sockets, because what is known of closed ones is forgotten only as new ones come."""
    with MemGroup(shared=True) as group:
        for _ in range(100):
            here, there = socket.socketpair()
            with here, there:
                group.send(here, group.copy(b"x"))


def shmem() -> int:
    """Bytes of shared memory of the whole machine."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["Shmem"].split()[0]) * 1024


def settle(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds, for threads and other processes end later."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def main(count: int, seed: int) -> None:
    """Kill so many."""
    warnings.simplefilter("ignore")
    # Orphans become children of this process.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    memgroup.set_warm_limit(0)
    dice = random.Random(seed)
    for work in VICTIMS.values():
        work(random.Random(seed))
    before, shared, start = resources(), shmem(), time.monotonic()
    told: Counter[str] = Counter()
    for number in range(count):
        name = dice.choice(list(VICTIMS))
        episode = dice.getrandbits(32)
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)
        try:
            told[f"{name}: {VICTIMS[name](random.Random(episode))}"] += 1
        except BaseException as error:
            raise AssertionError(f"kill {number} of {name}, seed {seed}, episode {episode}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
    has_settled = settle(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)), 10)
    assert has_settled, (before, resources())
    assert settle(lambda: shmem() <= shared + SHMEM_NOISE, 60), (shared, shmem())
    for line, times in sorted(told.items()):
        print(f"{times:6} {line}")
    seconds = time.monotonic() - start
    print(
        f"{count} kills in {seconds:.0f} s, seed {seed}: descriptors and mappings {before} -> {resources()}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
