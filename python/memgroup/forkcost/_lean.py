"""Forking this process with hardly anything in it except the groups, so that the cost is that of the groups.

An interpreter has some hundred mappings, which take longer to fork than a group. Therefore the child gets
only the mappings that it needs to run one function of the C library: it sleeps until it is killed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from memgroup._libc import libc
from memgroup.forkcost._linux import MADV_DOFORK, MADV_DONTFORK, advise, read_kilobytes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

# Seconds after which a child ends by itself, if no process is left to kill it.
_SLEEP = 3

_STACK = 64 * 1024


def fork_and_look(stack: ctypes.Array[ctypes.c_char], look: bool) -> dict[str, int]:
    """Fork a child that does nothing, and kill it: nanoseconds of `fork` and `exit`, and a `look`'s result.

    A look gives the bytes of page tables, `tables`, and of memory, `pss`. The child runs on `stack`.

    Raises:
        OSError: The fork is refused.
        ProcessLookupError: Another process killed the child.
        TimeoutError: The machine is too slow to measure the child while it sleeps.
    """
    top = ctypes.addressof(stack) + len(stack)
    figures: dict[str, int] = {}
    start = time.monotonic_ns()
    pid = libc.clone(libc.sleep, top, signal.SIGCHLD, _SLEEP)
    forked = time.monotonic_ns()
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        child = os.pidfd_open(pid)
        try:
            if look:
                figures["tables"] = read_kilobytes(f"/proc/{pid}/status", "VmPTE")["VmPTE"]
                figures["pss"] = read_kilobytes(f"/proc/{pid}/smaps_rollup", "Pss")["Pss"]
        finally:
            killed = time.monotonic_ns()
            signal.pidfd_send_signal(child, signal.SIGKILL)
            select.select([child], [], [])
            gone = time.monotonic_ns()
            os.close(child)
    except (ProcessLookupError, FileNotFoundError):
        if time.monotonic_ns() - forked < _SLEEP * 1_000_000_000:
            raise ProcessLookupError("the child was killed") from None
        raise TimeoutError(
            f"measuring a child took longer than the {_SLEEP} s for which it stays; measure a smaller size, "
            "or when the machine has less to do"
        ) from None
    return figures | {"fork": forked - start, "exit": gone - killed}


def new_stack() -> ctypes.Array[ctypes.c_char]:
    """A stack for a child, in shared memory, so that the fork does not copy its page tables."""
    return (ctypes.c_char * _STACK).from_buffer(mmap.mmap(-1, _STACK))


@contextmanager
def kept_from_children(but: Iterable[tuple[int, int]]) -> Generator[None]:
    """Hide present mappings from children, except `ranges`, the C library and the thread's own data."""
    # The kernel and the C library always read and write a thread's own data.
    own = libc.pthread_self()
    needed = [*but, *_library(), (own, own + 1)]
    kept = [
        (start, stop - start)
        for start, stop, _ in _mappings()
        if not any(start < end and begin < stop for begin, end in needed)
    ]
    try:
        for start, nbytes in kept:
            _advise_if_there(start, nbytes, MADV_DONTFORK)
        yield
    finally:
        for start, nbytes in kept:
            _advise_if_there(start, nbytes, MADV_DOFORK)


def _library() -> Iterable[tuple[int, int]]:
    """The address range of the C library, with its zero-initialised data after the file."""
    mappings = list(_mappings())
    function = ctypes.cast(libc.sleep, ctypes.c_void_p).value or 0
    (library,) = (path for start, stop, path in mappings if start <= function < stop)
    end = 0
    for start, stop, path in mappings:
        if path == library or (not path and start == end):
            yield start, stop
            end = stop


def _advise_if_there(start: int, nbytes: int, advice: int) -> None:
    with suppress(OSError):  # Python has unmapped it meanwhile
        advise(start, nbytes, advice)


def _mappings() -> Iterable[tuple[int, int, str]]:
    """Start, end and path of the mappings that accept advice, that is all except the kernel's own pages."""
    with open("/proc/self/maps", errors="surrogateescape") as maps:
        lines = [line.split(maxsplit=5) for line in maps]
    for addresses, _, _, _, _, *path in lines:
        start, stop = (int(address, 16) for address in addresses.split("-"))
        name = path[0].strip() if path else ""
        if not name.startswith(("[v", "[uprobes")):
            yield start, stop, name
