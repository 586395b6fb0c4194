"""The helper of `measure`: a small separate process that fills groups, forks a family and measures it.

It takes a job as JSON from its arguments, and writes a line of JSON for each round. All of its processes hold
the output open, so the end of the output is the end of all of them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from memgroup import MemGroup
from memgroup.forkcost._backing import read_backing
from memgroup.forkcost._lean import fork_and_look, kept_from_children, new_stack
from memgroup.forkcost._linux import (
    MADV_DONTFORK,
    MADV_HUGEPAGE,
    MADV_NOHUGEPAGE,
    advise,
    die_with,
    die_without,
    fence,
    read_kilobytes,
)
from memgroup.forkcost._shape import Shape, read_shape

if TYPE_CHECKING:
    from memgroup import MemBlock
    from memgroup.forkcost._backing import Backing

_PAGE = 4096

_READY, _FAILED = b".", b"!"

# Seconds. A thousand waiting processes must not disturb the measurement.
_LOOK_UP = 5

_KILLED = "a process of the family was killed"

# Timed forks of the last process in each round. The fork before them, for the look, serves as warm-up.
_FORKS = 5


class Memory:
    """Groups that hold one block each, all of it written."""

    def __init__(self, backing: Backing, nbytes: int, mappings: int) -> None:
        """Fill one group for each requested mapping, with an equal share of the bytes in each."""
        self.reaches_children = backing.kind != "none" and not backing.dontfork
        self._groups: list[MemGroup] = []
        self._blocks: list[MemBlock] = []
        if backing.kind == "none":
            return
        share = -(-nbytes // mappings)
        for _ in range(mappings):
            self._add(backing, share)

    def _add(self, backing: Backing, nbytes: int) -> None:
        group = MemGroup(nbytes, backing=backing.kind, name="forkcost", huge_pages=backing.huge)
        block = group.alloc_many(count=1, size=nbytes)[0]  # gets its huge pages at once, however long it is
        whole = -(-nbytes // _PAGE) * _PAGE
        # The kernel would merge adjacent private mappings.
        fence(block.address - _PAGE)
        fence(block.address + whole)
        with suppress(OSError):  # a kernel without huge pages refuses both; the result counts them
            advise(block.address, whole, MADV_HUGEPAGE if backing.huge else MADV_NOHUGEPAGE)
        self._groups.append(group)
        self._blocks.append(block)
        self.write()
        if backing.dontfork:
            advise(block.address, whole, MADV_DONTFORK)
            if backing.mirrors == 2:
                advise(group.protect(block).address, whole, MADV_DONTFORK)

    def ranges(self) -> list[tuple[int, int]]:
        """The address ranges of the mappings, as start and end."""
        return [(block.address, block.address + len(block)) for block in self._all()]

    def _all(self) -> list[MemBlock]:
        """The blocks in every mirror."""
        pairs = zip(self._groups, self._blocks, strict=True)
        readonly = [group.protect(block) for group, block in pairs if group.backing != "anonymous"]
        return [*self._blocks, *readonly]

    def read(self) -> None:
        """Read a byte of every page."""
        for block in self._blocks:
            memoryview(block)[::_PAGE].tobytes()

    def write(self) -> None:
        """Write a byte of every page."""
        for block in self._blocks:
            memoryview(block)[::_PAGE] = bytes([1]) * -(-len(block) // _PAGE)


class Family:
    """The processes of one round. All but the last are interpreters; that one is forked twice.

    The first is a process that has hardly anything except the groups and does nothing: its fork is measured.
    The second is an interpreter, which touches all memory. Both are children of the same process, the
    *parent*.
    """

    def __init__(self, shape: Shape, memory: Memory) -> None:
        """Prepare to fork, without forking yet."""
        self._members = shape.processes - 1
        self._me = 0
        self._children: set[int] = set()
        self._shape = shape
        self._memory = memory
        self._parent = (shape.processes - 2) // shape.children
        self._ready, self._say_ready = os.pipe()
        self._stay, self._let_go = os.pipe()
        self._told, self._tell = os.pipe()
        self._heard, self._answer = os.pipe()
        self._ends = {self._ready, self._say_ready, self._stay, self._let_go}
        self._ends |= {self._told, self._tell, self._heard, self._answer}

    def live(self) -> dict[str, Any]:
        """Fork all processes, have the parent measure the last one, and end all of them."""
        signal.signal(signal.SIGCHLD, self._on_sigchld)
        self._grow()
        self._close(self._say_ready)
        self._wait_for_all()
        figures = self._ask_the_parent() if self._parent else self._look()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self._close(self._let_go)
        while os.read(self._ready, 4096):  # its end shows that all have exited
            pass
        self._close(*self._ends)
        return figures

    def _grow(self) -> None:
        """Fork until the family is complete. Only the first process returns."""
        left = self._shape.children_of(0)
        while (child := next(left, self._members)) < self._members:
            before = os.getpid()
            pid = self._fork()
            if pid < 0:
                os.write(self._say_ready, _FAILED)
                break
            if pid:
                continue
            die_with(before)
            if not self._me:
                self._close(self._let_go)
            self._me, left = child, self._shape.children_of(child)
        if self._me:
            self._be_a_member()

    def _fork(self) -> int:
        """Fork; return -1 on refusal. A child's death is handled only after the child is registered."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid > 0:
            self._children.add(pid)
        elif not pid:
            self._children.clear()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        return pid

    def _on_sigchld(self, *_: object) -> None:
        """Exit, because a child has died too early; the parent will follow, up to the first process."""
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if pid not in self._children:
                    continue  # of an earlier round
                if self._me:
                    os._exit(1)
                raise OSError(_KILLED)

    def _be_a_member(self) -> NoReturn:
        """Run as a member of the family: report, measure the last one if requested, wait for the end."""
        status = 1
        try:
            os.write(self._say_ready, _READY)
            if self._me != self._parent:
                self._close(self._answer)  # so that the death of its holder is noticed
            else:
                _read(self._told, 1)
                os.write(self._answer, json.dumps(self._look()).encode() + b"\n")
            _read(self._stay, 1)
            status = 0
        finally:
            os._exit(status)

    def _close(self, *ends: int) -> None:
        for end in ends:
            os.close(end)
        self._ends.difference_update(ends)

    def _wait_for_all(self) -> None:
        missing = self._members - 1
        while missing:
            said = _read(self._ready, missing)
            if _FAILED in said or not said:
                raise OSError(
                    "a fork of the family failed: the machine has too few processes or too little memory left"
                )
            missing -= len(said)

    def _ask_the_parent(self) -> dict[str, Any]:
        self._close(self._answer)
        os.write(self._tell, b"?")
        answer = b""
        while not answer.endswith(b"\n"):
            more = _read(self._heard, 65536)
            if not more:
                raise OSError(_KILLED)
            answer += more
        figures: dict[str, Any] = json.loads(answer)
        return figures

    def _look(self) -> dict[str, Any]:
        """Measure the last process, first from its parent and then from itself."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # later children are expected to end
        stack = new_stack()
        needed = (ctypes.addressof(stack), ctypes.addressof(stack) + len(stack))
        try:
            # Children already get the group or not, and that must not change.
            with kept_from_children([*self._memory.ranges(), needed]):
                figures: dict[str, Any] = {**fork_and_look(stack, look=True)}
                forks = [fork_and_look(stack, look=False) for _ in range(_FORKS)]
        except ProcessLookupError:
            raise OSError(_KILLED) from None
        figures |= {name: [fork[name] for fork in forks] for name in ("fork", "exit")}
        if self._memory.reaches_children:
            figures |= self._have_touched()
        return figures

    def _have_touched(self) -> dict[str, int]:
        heard, answer = os.pipe()
        before = os.getpid()
        if not os.fork():
            die_with(before)
            status = 1
            try:
                os.write(answer, json.dumps(self._touch()).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(answer)
        said = b""
        while more := os.read(heard, 4096):
            said += more
        os.close(heard)
        if not said:
            raise OSError(_KILLED)
        figures: dict[str, int] = json.loads(said)
        return figures

    def _touch(self) -> dict[str, int]:
        figures: dict[str, int] = {}
        for deed, touch in (("read", self._memory.read), ("write", self._memory.write)):
            before, start = _faults(), time.monotonic_ns()
            touch()
            figures[f"{deed}_time"] = time.monotonic_ns() - start
            figures[f"{deed}_faults"] = _faults() - before
        return figures


def _read(end: int, nbytes: int) -> bytes:
    """Read from a pipe with a timeout, because Python misses a signal that comes just before it waits."""
    while not select.select([end], [], [], _LOOK_UP)[0]:
        pass
    return os.read(end, nbytes)


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(job: str, parent: int, lifeline: int) -> None:
    """Do `job`: {"size": …, "backing": …, "shape": …, "mappings": …, "rounds": …}.

    It ends when `parent` ends, or when the holder of the other end of the pipe `lifeline` ends.
    """
    die_with(parent)
    die_without(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    asked = json.loads(job)
    try:
        shape = read_shape(asked["shape"])
        memory = Memory(read_backing(asked["backing"]), asked["size"], asked["mappings"])
        _say({"huge": _huge_bytes()})
        gc.disable()
        gc.freeze()
        for _ in range(asked["rounds"]):
            _say(Family(shape, memory).live())
    except (OSError, ValueError, MemoryError) as error:
        number = error.errno if isinstance(error, OSError) else None
        _say({"error": type(error).__name__, "errno": number, "words": str(error)})


def _huge_bytes() -> int:
    names = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")
    return sum(read_kilobytes("/proc/self/smaps_rollup", *names).values())


def _say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
