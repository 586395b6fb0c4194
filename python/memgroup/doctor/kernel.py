"""The system calls that Python does not offer, or not as groups use them."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os

from memgroup._libc import libc

MFD_NOEXEC_SEAL = 0x8
SEALS_OF_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
SEAL_FUTURE_WRITE = 0x10
MADV_POPULATE_WRITE = 23

READ, WRITE = mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE

_MEMFD_SECRET = 447  # the number is the same on x86-64 and arm64
_FAILED = ctypes.c_void_p(-1).value


class Kernel:
    """The running kernel. Every method raises OSError for what it refuses."""

    def memfd(self, flags: int) -> int:
        """Make an anonymous file and return its descriptor."""
        return os.memfd_create("memgroup-doctor", os.MFD_CLOEXEC | flags)

    def seal(self, fd: int, seals: int) -> None:
        """Seal an anonymous file."""
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)

    def map(self, fd: int, nbytes: int, protection: int) -> int:
        """Map a file, shared, and return the address."""
        address = libc.mmap(None, nbytes, protection, mmap.MAP_SHARED, fd, 0)
        if address == _FAILED:
            raise _error()
        return int(address)

    def unmap(self, address: int, nbytes: int) -> None:
        """Unmap a mapping of `map`."""
        _check(libc.munmap(address, nbytes))

    def protect(self, address: int, nbytes: int, protection: int) -> None:
        """Change the access rights of a mapping."""
        _check(libc.mprotect(address, nbytes, protection))

    def advise(self, address: int, nbytes: int, advice: int) -> None:
        """Advise the kernel about a mapping."""
        _check(libc.madvise(address, nbytes, advice))

    def memfd_secret(self) -> int:
        """Make a file whose pages the kernel itself does not map, and return its descriptor."""
        fd = libc.syscall(ctypes.c_long(_MEMFD_SECRET), ctypes.c_uint(os.O_CLOEXEC))
        _check(min(int(fd), 0))
        return int(fd)


def _check(result: int) -> None:
    if result:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
