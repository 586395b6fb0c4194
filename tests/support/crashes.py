"""Children that crash, many a second: they are forked from a process that has everything ready.

Run as a program, this file is that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path

# The names for the code of the tests: the C library, and one group whose slots 0 to 3 have known bytes.
PREPARATION = """
import ctypes, errno, faulthandler, gc, mmap, os, resource, signal, socket, sys, threading, warnings
import memgroup
from memgroup import MemGroup

libc = ctypes.CDLL(None, use_errno=True)
for name in ("mmap", "mremap"):
    getattr(libc, name).restype = ctypes.c_void_p
PAGE = os.sysconf("SC_PAGE_SIZE")


def pointer(address):
    return ctypes.c_void_p(address)


def store(address, byte=0xFF):
    ctypes.memset(address, byte, 1)


def load(address):
    return ctypes.string_at(address, 1)[0]


def access_to(address):
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            if start <= address < end:
                return line.split()[1]
    return None
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended, and its output."""

    pid: int
    status: int
    out: str
    err: str


class Nursery:
    """A process that runs code, or forks children that run code."""

    def __init__(self, preparation: str = "", *, kind: str = "", **environment: str) -> None:
        self.kind = kind
        self._alone = threading.Lock()  # tests may run in several threads at once
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean | environment,
        )
        self.run(PREPARATION + textwrap.dedent(preparation))

    def run(self, code: str, **names: object) -> str:
        """Run code in the process itself; return its output."""
        answer = self._ask(code, names, fork=False)
        assert answer["status"] == 0, answer["err"]
        return answer["out"]

    def child(self, code: str, **names: object) -> Ended:
        """Run code in a child of the process."""
        return Ended(**self._ask(code, names, fork=True))

    def _ask(self, code: str, names: dict[str, object], *, fork: bool) -> dict:
        assert self._process.stdin
        assert self._process.stdout
        request = {"code": textwrap.dedent(code), "names": names, "fork": fork}
        with self._alone:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def serve() -> None:
    """Answer requests, one a line, until the input ends."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    namespace: dict[str, object] = {"__name__": "__main__"}
    while line := sys.stdin.readline():
        request = json.loads(line)
        namespace.update(request["names"])
        answer = in_child if request["fork"] else in_place
        print(json.dumps(answer(request["code"], namespace)), file=answers, flush=True)


def in_place(code: str, namespace: dict[str, object]) -> dict:
    import contextlib
    import io
    import traceback

    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(code, "<test>", "exec"), namespace)
    except Exception:
        return {"status": 1, "out": out.getvalue(), "err": traceback.format_exc()}
    return {"status": 0, "out": out.getvalue(), "err": ""}


def in_child(code: str, namespace: dict[str, object]) -> dict:
    import traceback

    said = {1: os.pipe(), 2: os.pipe()}
    pid = os.fork()
    if pid == 0:
        for number, (reader, writer) in said.items():
            os.dup2(writer, number)
            os.close(reader)
            os.close(writer)
        status = 0
        try:
            exec(compile(code, "<test>", "exec"), namespace)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)
    heard = {}
    for number, (reader, writer) in said.items():
        os.close(writer)
        with os.fdopen(reader) as stream:
            heard[number] = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"pid": pid, "status": status, "out": heard[1], "err": heard[2]}


# The text of a report, repeated here because users rely on it.

PROTECTED = (
    "the object is protected: the read-only mirror cannot be written",
    "write through group.unprotect(object), or into a copy",
)
BEFORE = (
    "guard page: the access lies before the memory of the slot",
    "keep indices, lengths and strides within the object",
)
BEHIND = (
    "guard page: the access lies behind the memory of the slot",
    "keep indices, lengths and strides within the object",
)
FREED = (
    "the group's memory was freed; an address in it was still in use",
    "copy data that must outlast free(force=True), or call free() without force, which keeps memory in use",
)
KEPT = (
    "the group has ended, and its memory is kept for the next group; an address in it was still in use",
    "keep the block for as long as its address is used, or copy it",
)
CHANGED = (
    "other code has changed the mapping (mprotect, munmap, mmap)",
    "do not change the mappings of a group",
)
DATA = (
    "the memory of a group is not executable",
    "look for a call through a pointer that was overwritten",
)
NO_PAGE = (
    "the kernel has no memory for the page: its file was truncated, or the disk or the memory is full",
    "leave more room, set a limit=, or use another backing=",
)


def plural(number: int, noun: str = "byte") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def report(
    access: str,
    address: int,
    where: str,
    why: tuple[str, str],
    pid: int,
    *,
    slot: int = 0,
    capacity: int = 65536,
    offset: int | None = None,
    obj: str | None = None,
    group: str = 'group "crash"',
    tid: int | None = None,
    signal_name: str = "SIGSEGV",
) -> str:
    """The whole expected report."""
    size = plural(capacity)
    lines = [
        f"memgroup: {access} at {address:#x}, {where} of slot {slot} of the {group}",
        f"  slot    {size} long" if offset is None else f"  slot    offset {offset} of {size}",
        *([f"  object  {obj}"] if obj else []),
        f"  cause   {why[0]}",
        f"  remedy  {why[1]}",
        f"  signal  {signal_name} in thread {tid or pid} of process {pid}",
    ]
    return "".join(line + "\n" for line in lines)


def crash(ended: Ended, expected: str, number: int = signal.SIGSEGV) -> None:
    """Check that the child died of that signal with exactly that report."""
    assert (ended.status, ended.err) == (-number, expected)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    serve()
