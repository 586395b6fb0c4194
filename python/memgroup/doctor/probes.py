"""Tests of the mechanisms of groups: an anonymous file, its seals, two mappings of it, committing ahead."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from memgroup._libc import libc
from memgroup.doctor.findings import NEEDED, OPTIONAL, Finding, blame, refusal
from memgroup.doctor.kernel import (
    MADV_POPULATE_WRITE,
    MFD_NOEXEC_SEAL,
    READ,
    SEAL_FUTURE_WRITE,
    SEALS_OF_SIZE,
    WRITE,
    Kernel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from memgroup.doctor.findings import State

TOPIC = "Mechanisms"

_OLDEST = (5, 1)
_ARCHITECTURES = ("x86_64", "aarch64")
_NBYTES = 64 * 1024  # a multiple of any page


def mechanisms(kernel: Kernel | None = None) -> Iterator[Finding]:
    """Try every mechanism on the running kernel, or on a simulated one of a test."""
    kernel = kernel or Kernel()
    yield _release(platform.release())
    yield _architecture(platform.machine())
    yield _try(
        "memfd",
        lambda: os.close(kernel.memfd(os.MFD_ALLOW_SEALING)),
        'the kernel has memfds, which the default backing="memfd" needs',
        'backing="memfd" cannot work here: pass backing="anonymous" (no protect) or a directory',
        NEEDED,
    )
    yield _try(
        "MFD_NOEXEC_SEAL",
        lambda: os.close(kernel.memfd(MFD_NOEXEC_SEAL)),
        "the files of groups can never be executed",
        "older than Linux 6.3: groups ask for plain sealing instead, nothing else changes",
        OPTIONAL,
    )
    yield _try(
        "seals",
        lambda: _sealed(kernel, SEALS_OF_SIZE),
        "a slot cannot be truncated, so no access to it ends in SIGBUS",
        'backing="memfd" cannot work here: pass a directory as backing',
        NEEDED,
    )
    yield _try(
        "FUTURE_WRITE",
        lambda: _sealed(kernel, SEALS_OF_SIZE | SEAL_FUTURE_WRITE),
        "no other writable mapping of a slot can be made",
        'backing="memfd" cannot protect here: pass a directory as backing',
        NEEDED,
    )
    yield _mirror(kernel)
    yield _try(
        "populate",
        lambda: _populated(kernel),
        "windows of memory are committed by one system call, and running out is a MemoryError",
        "older than Linux 5.14, or forbidden: groups commit memory page by page, which takes longer",
        OPTIONAL,
    )
    yield _group()
    yield _directory()
    yield _shared()
    yield _try(
        "memfd_secret",
        lambda: os.close(kernel.memfd_secret()),
        "the kernel has memory that it does not map itself (groups do not use it)",
        "the kernel has no memory that it does not map itself (groups do not use it)",
        OPTIONAL,
    )


def _release(release: str) -> Finding:
    numbers = tuple(map(int, re.findall(r"\d+", release)[:2]))
    new_enough = numbers >= _OLDEST
    meaning = "new enough: memgroup needs 5.1" if new_enough else "memgroup needs Linux 5.1 or later"
    return Finding(TOPIC, "Linux", "ok" if new_enough else NEEDED, release, meaning, {"release": release})


def _architecture(machine: str) -> Finding:
    known = machine in _ARCHITECTURES
    meaning = (
        "both addresses of a byte show the same value"
        if known
        else "mirrors are tested on x86-64 and arm64 only, where both addresses of a byte show the same value"
    )
    facts = {"machine": machine, "page_size": os.sysconf("SC_PAGE_SIZE")}
    return Finding(TOPIC, "processor", "ok" if known else NEEDED, machine, meaning, facts)


def _try(name: str, work: Callable[[], object], good: str, bad: str, if_not: State) -> Finding:
    try:
        work()
    except OSError as error:
        facts = {"works": False, "errno": error.errno}
        return Finding(TOPIC, name, if_not, refusal(error), blame(error, bad), facts)
    return Finding(TOPIC, name, "ok", "yes", good, {"works": True})


@contextmanager
def _mapped(kernel: Kernel, *, sealed: int = 0) -> Generator[tuple[int, int]]:
    """A descriptor of a file, and a writable mapping of it that was made before it was sealed."""
    with ExitStack() as stack:
        fd = kernel.memfd(os.MFD_ALLOW_SEALING)
        stack.callback(os.close, fd)
        os.ftruncate(fd, _NBYTES)
        address = kernel.map(fd, _NBYTES, WRITE)
        stack.callback(kernel.unmap, address, _NBYTES)
        if sealed:
            kernel.seal(fd, sealed)
        yield fd, address


def _sealed(kernel: Kernel, seals: int) -> None:
    with _mapped(kernel, sealed=seals):
        pass


def _populated(kernel: Kernel) -> None:
    with _mapped(kernel) as (_, address):
        kernel.advise(address, _NBYTES, MADV_POPULATE_WRITE)


def _mirror(kernel: Kernel) -> Finding:
    """Whether a read-only mapping made after the seal can still get write access."""
    name = "read-only mirror"
    try:
        with _mapped(kernel, sealed=SEALS_OF_SIZE | SEAL_FUTURE_WRITE) as (fd, _):
            mirror = kernel.map(fd, _NBYTES, READ)
            try:
                kernel.protect(mirror, _NBYTES, WRITE)
            except OSError as error:
                held, value = error.errno == errno.EACCES, refusal(error).removeprefix("no ").strip("()")
            else:
                held, value = False, "mprotect succeeds"
            finally:
                kernel.unmap(mirror, _NBYTES)
    except OSError as error:
        meaning = blame(error, "the read-only mirror could not be mapped")
        return Finding(TOPIC, name, NEEDED, refusal(error), meaning, {"works": False, "errno": error.errno})
    if not held:
        meaning = 'mprotect can make what is protected writable, so only backing="anonymous" works here'
        return Finding(TOPIC, name, NEEDED, value, meaning, {"works": False})
    meaning = "mprotect cannot make the read-only mirror writable"
    return Finding(TOPIC, name, "ok", f"mprotect: {value}", meaning, {"works": True})


def _group() -> Finding:
    """Whether a group works."""
    from memgroup import MemGroup

    try:
        with MemGroup(name="memgroup-doctor") as group:
            block = group.copy(b"written")
            protected = group.protect(block)
            block[:1] = b"W"
            works = protected == b"Written" and protected.readonly and _is_refused(protected.address)
    except (OSError, MemoryError) as error:
        return Finding(TOPIC, "a group", NEEDED, "no", str(error), {"works": False})
    if not works:
        meaning = "the mirrors of a group do not show the same bytes, or can be written to"
        return Finding(TOPIC, "a group", NEEDED, "no", meaning, {"works": False})
    meaning = "written, protected, and a system call that would write there is refused (EFAULT)"
    return Finding(TOPIC, "a group", "ok", "works", meaning, {"works": True})


def _is_refused(address: int) -> bool:
    """Whether the kernel refuses to write to an address."""
    reader, writer = os.pipe()
    try:
        os.write(writer, b"?")
        return libc.read(reader, address, 1) == -1 and ctypes.get_errno() == errno.EFAULT
    finally:
        os.close(reader)
        os.close(writer)


def _shared() -> Finding:
    """Whether a group's memory can be handed to another process: sent and received, and frozen."""
    import socket

    from memgroup import MemGroup

    name = "sharing"
    here, there = socket.socketpair()
    try:
        with here, there, MemGroup(shared=True) as group, MemGroup() as receiver:
            group.send(here, group.copy(b"sent"))
            there.settimeout(10)
            arrived = receiver.recv(there)
            group.freeze()
            works = arrived == b"sent" and memoryview(arrived).readonly and group.frozen
            here.close()
            with suppress(EOFError):
                receiver.recv(there)  # the end of the socket, which frees what was received
    except (OSError, MemoryError, ValueError) as error:
        return Finding(TOPIC, name, OPTIONAL, "no", f"no shared group: {error}", {"works": False})
    if not works:
        meaning = "objects of a shared group do not arrive as they were sent"
        return Finding(TOPIC, name, OPTIONAL, "no", meaning, {"works": False})
    meaning = "a shared group (shared=True) can be sent to another process, and frozen"
    return Finding(TOPIC, name, "ok", "yes", meaning, {"works": True})


def _directory() -> Finding:
    import tempfile

    from memgroup import MemGroup

    where = tempfile.gettempdir()
    name = "files"
    try:
        with MemGroup(backing=where) as group:
            group.protect(group.copy(b"written"))
    except (OSError, MemoryError) as error:
        return Finding(
            TOPIC, name, OPTIONAL, "no", f"no group in {where}: {error}", {"works": False, "directory": where}
        )
    meaning = f'a group can live in files (backing="{where}"), for more than memory holds'
    return Finding(TOPIC, name, "ok", "yes", meaning, {"works": True, "directory": where})
