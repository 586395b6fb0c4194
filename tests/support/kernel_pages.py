"""Real processes that fork, write and exit on request, so that the kernel's view can be compared.

`python kernel_pages.py DIRECTORY` is the first of a family. Each member has a socket in the directory, named
by its number in the family, and does what a message says. All have a private and a shared mapping, at the
same addresses.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

PAGE = 4096
PRIVATE_PAGES, SHARED_PAGES = 16, 4
PRIVATE = 0x2000_0000_0000 // PAGE  # page addresses without other mappings
SHARED = PRIVATE + 1000
PAGES = [*range(PRIVATE, PRIVATE + PRIVATE_PAGES), *range(SHARED, SHARED + SHARED_PAGES)]

PRESENT, SWAPPED, FILE_OR_SHARED, EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 56
FRAME = (1 << 55) - 1

MAP_FIXED_NOREPLACE = 0x100000
MADV_NOHUGEPAGE = 15
ADVICE = {"dontfork": 10, "dofork": 11, "wipeonfork": 18, "keeponfork": 19}
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4
ENOUGH = 60  # seconds after which a member counts as hung

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
for function in (libc.munmap, libc.madvise, libc.mprotect):
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int][: 2 + (function is not libc.munmap)]


class Family:
    """All members, addressed by number, and the kernel's page maps of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(directory / "0"))
        self.socket.settimeout(ENOUGH)
        self.members: dict[int, tuple[int, int]] = {}  # pidfd, and a file descriptor of the page map
        self.pids: dict[int, int] = {}
        self.first = subprocess.Popen([sys.executable, "-I", "-S", __file__, str(directory)])
        self.add(1)

    def add(self, number: int) -> None:
        """Register a member that has just introduced itself."""
        pid = int(self.socket.recv(100))
        self.pids[number] = pid
        self.members[number] = os.pidfd_open(pid), os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)

    def tell(self, number: int, *words: object) -> int:
        """Send a request to a member; return its answer."""
        self.socket.sendto(" ".join(map(str, words)).encode(), str(self.directory / str(number)))
        return int(self.socket.recv(100))

    def fork(self, number: int, child: int) -> None:
        self.socket.sendto(f"fork {child}".encode(), str(self.directory / str(number)))
        self.add(child)

    def exit(self, number: int) -> None:
        """End a member; return when the kernel has removed it."""
        self.socket.sendto(b"exit", str(self.directory / str(number)))
        self.forget(number)

    def forget(self, number: int) -> None:
        pidfd, pagemap = self.members.pop(number)
        del self.pids[number]
        assert select.select([pidfd], [], [], ENOUGH)[0], f"member {number} does not end"
        os.close(pidfd)
        os.close(pagemap)

    def entries(self, number: int) -> dict[int, int]:
        """The page map of a member, by page address."""
        pagemap = self.members[number][1]
        private = os.pread(pagemap, 8 * PRIVATE_PAGES, 8 * PRIVATE)
        shared = os.pread(pagemap, 8 * SHARED_PAGES, 8 * SHARED)
        return dict(zip(PAGES, struct.unpack(f"{len(PAGES)}Q", private + shared), strict=True))

    def close(self) -> None:
        for pidfd, _ in self.members.values():
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for number in list(self.members):
            self.forget(number)
        self.first.wait()
        self.socket.close()


def be_member(directory: str) -> None:
    """Execute messages, forever."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    map_pages(PRIVATE, PRIVATE_PAGES, mmap.MAP_PRIVATE)
    map_pages(SHARED, SHARED_PAGES, mmap.MAP_SHARED)
    mine = introduce(directory, 1)
    while True:
        what, *numbers = mine.recv(100).decode().split()
        match what, list(map(int, numbers)):
            case "fork", [number]:
                if not os.fork():
                    mine.close()
                    mine = introduce(directory, number)
                continue
            case "exit", []:
                os._exit(0)
            case "write", [page, value]:
                ctypes.memmove(page * PAGE, value.to_bytes(8, sys.byteorder), 8)  # which does not read
                answer = 0
            case "read", [page]:
                answer = ctypes.c_uint64.from_address(page * PAGE).value
            case "munmap", [page, pages]:
                answer = libc.munmap(page * PAGE, pages * PAGE)
            case "mprotect", [page, pages, writable]:
                protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
                answer = libc.mprotect(page * PAGE, pages * PAGE, protection)
            case "mremap", [page, pages, to, dontunmap]:
                flags = MREMAP_MAYMOVE | MREMAP_FIXED | (MREMAP_DONTUNMAP if dontunmap else 0)
                there = libc.mremap(page * PAGE, pages * PAGE, pages * PAGE, flags, to * PAGE)
                answer = 0 if there == to * PAGE else -1
            case advice, [page, pages]:
                answer = libc.madvise(page * PAGE, pages * PAGE, ADVICE[advice])
            case message:
                raise ValueError(message)
        mine.send(str(answer).encode())


def map_pages(page: int, pages: int, sharing: int) -> None:
    wanted = page * PAGE, pages * PAGE
    flags = sharing | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    assert libc.mmap(*wanted, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == wanted[0]
    libc.madvise(*wanted, MADV_NOHUGEPAGE)


def introduce(directory: str, number: int) -> socket.socket:
    mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    mine.bind(f"{directory}/{number}")
    mine.connect(f"{directory}/0")
    mine.settimeout(2 * ENOUGH)  # no process outlives the tests for long
    mine.send(str(os.getpid()).encode())
    return mine


if __name__ == "__main__":
    be_member(sys.argv[1])
