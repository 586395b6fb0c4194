"""The system calls that Python does not offer, and the data of /proc about the calling process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal

from memgroup._libc import libc

MADV_DONTFORK, MADV_DOFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE = 10, 11, 14, 15

_PR_SET_PDEATHSIG = 1
_F_SETSIG = 10
_PROT_NONE, _MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_FIXED_NOREPLACE = 0, 0x02, 0x20, 0x100000


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit now if `parent` has already ended."""
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or os.getppid() != parent:
        os._exit(1)


def die_without(lifeline: int) -> None:
    """Have the kernel kill this process when the other end of a pipe is closed; exit now if it already is."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)


def advise(start: int, nbytes: int, advice: int) -> None:
    """Give the kernel `advice` about a range of whole pages.

    Raises:
        OSError: The kernel refuses the advice, for example without huge pages.
    """
    if libc.madvise(start, nbytes, advice):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def fence(page: int) -> None:
    """Map one page without access and hide it from children, so that its neighbours do not merge.

    An existing mapping there stays.
    """
    flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
    if libc.mmap(page, 4096, _PROT_NONE, flags, -1, 0) == page:
        advise(page, 4096, MADV_DONTFORK)


def read_kilobytes(path: str, *names: str) -> dict[str, int]:
    """Bytes that a file such as /proc/self/status gives in kB under `names`; 0 for missing names."""
    found = dict.fromkeys(names, 0)
    with open(path) as file:
        for line in file:
            name, _, number = line.partition(":")
            if name in found:
                found[name] = int(number.split()[0]) * 1024
    return found
