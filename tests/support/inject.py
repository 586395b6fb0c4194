"""Makes the n-th system call of a kind fail in another process, with any installed wheel.

The process installs a seccomp filter that passes the relevant calls to this process
(`SECCOMP_RET_USER_NOTIF`). This process counts them and lets the kernel either continue or return an error.

Run as a program, this file is that other process: it does everything that a group can do, again and again,
and each time another call fails.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import mmap
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# Numbers of calls, by machine.
NUMBERS = {
    "x86_64": {
        "memfd_create": 319,
        "ftruncate": 77,
        "mmap": 9,
        "munmap": 11,
        "fcntl": 72,
        "madvise": 28,
        "mlock": 149,
        "openat": 257,
        "seccomp": 317,
    },
    "aarch64": {
        "memfd_create": 279,
        "ftruncate": 46,
        "mmap": 222,
        "munmap": 215,
        "fcntl": 25,
        "madvise": 233,
        "mlock": 228,
        "openat": 56,
        "seccomp": 277,
    },
}

# The errors of each call. The Rust tests have all of them.
ERRORS = {
    "memfd_create": (errno.EMFILE, errno.ENOMEM, errno.EINVAL),
    "ftruncate": (errno.EFBIG, errno.EINTR),
    "mmap": (errno.ENOMEM, errno.EPERM),
    "munmap": (errno.ENOMEM,),
    "fcntl": (errno.EPERM,),
    "madvise": (errno.ENOMEM, errno.EFAULT, errno.EAGAIN, errno.EINVAL),
    "mlock": (errno.ENOMEM, errno.EAGAIN),
    "openat": (errno.EMFILE, errno.ENOSPC),
}
CALLS = list(ERRORS)
NO_CALL = -1

# The request and the answer, in shared memory: the kind of call, its number, the error, and how many calls
# were seen.
ORDER = struct.Struct("=iiii")

NEW_LISTENER = 8
RET_ALLOW = 0x7FFF0000
RET_USER_NOTIF = 0x7FC00000
# struct seccomp_notif: id, pid, flags, then seccomp_data: nr, arch, instruction_pointer, args[6].
NOTIF = struct.Struct("=QIIiIQ6Q")
RESPONSE = struct.Struct("=QqiI")
NOTIF_RECV = 3 << 30 | NOTIF.size << 16 | ord("!") << 8
NOTIF_SEND = 3 << 30 | RESPONSE.size << 16 | ord("!") << 8 | 1
GO_ON = 1


def is_ours(call: str, arguments: tuple[int, ...]) -> bool:
    """Whether the library makes the call, and not an allocator."""
    if call != "mmap":
        return True
    _, length, access, flags, _, _ = arguments
    shared_or_fixed = flags & (mmap.MAP_SHARED | 0x10)
    return bool(shared_or_fixed) or length <= mmap.PAGESIZE or bool(flags & 0x4000 and access)


class Ended(NamedTuple):
    """How the program ended."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ended:
    """Run this file as a program, and answer its calls as it requests."""
    order = os.memfd_create("order")
    os.ftruncate(order, mmap.PAGESIZE)
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.Popen(
        [sys.executable, __file__, str(order), str(theirs.fileno()), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[order, theirs.fileno()],
        env=environment,
    )
    theirs.close()
    with ours, mmap.mmap(order, mmap.PAGESIZE) as shared:
        os.close(order)
        _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        answering = None
        if listeners:
            answering = threading.Thread(target=supervise, args=(listeners[0], shared))
            answering.start()
        out, err = process.communicate()
        if answering:
            answering.join()
            os.close(listeners[0])
    return Ended(process.returncode, out, err)


def supervise(listener: int, order: mmap.mmap) -> None:
    """Answer calls until no process is left that could make any."""
    numbers = NUMBERS[platform.machine()]
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        if not poll.poll()[0][1] & select.POLLIN:
            return
        asked = bytearray(NOTIF.size)
        try:
            fcntl.ioctl(listener, NOTIF_RECV, asked)
        except OSError:  # the calling thread has died
            continue
        number, _, _, nr, _, _, *arguments = NOTIF.unpack(asked)
        call, n, error, seen = ORDER.unpack_from(order)
        answer = 0
        if call != NO_CALL and nr == numbers[CALLS[call]] and is_ours(CALLS[call], tuple(arguments)):
            seen += 1
            ORDER.pack_into(order, 0, call, n, error, seen)
            answer = error if seen == n else 0
        response = bytearray(RESPONSE.pack(number, 0, -answer, 0 if answer else GO_ON))
        try:
            fcntl.ioctl(listener, NOTIF_SEND, response)
        except OSError:
            continue


# The code of the other process


def install() -> int:
    """Install the filter in this process. Returns the descriptor for answering the calls."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = NUMBERS[platform.machine()]
    statement = struct.Struct("=HBBI")
    program = statement.pack(0x20, 0, 0, 0)  # load the call's number
    for at, call in enumerate(CALLS):
        program += statement.pack(0x15, len(CALLS) - at, 0, numbers[call])  # if it is this, go to the last
    program += statement.pack(0x06, 0, 0, RET_ALLOW) + statement.pack(0x06, 0, 0, RET_USER_NOTIF)
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("@HP", len(CALLS) + 3, ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "prctl")
    listener = libc.syscall(numbers["seccomp"], 1, NEW_LISTENER, filter_)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def main() -> None:
    """Do everything while calls fail."""
    import memgroup
    from memgroup import MemGroup

    order = mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE)
    backing, source = sys.argv[3], sys.argv[4]
    options = {"backing": backing, "name": "injected", "base": 19 * mmap.PAGESIZE}
    if backing == "secret":
        options |= {"backing": "memfd", "secret": True}
    ORDER.pack_into(order, 0, NO_CALL, 0, 0, 0)
    with socket.socket(fileno=int(sys.argv[2])) as sender:
        try:
            listener = install()
        except OSError as error:
            print(f"skip: calls cannot be made to fail here (seccomp): {error}")
            return
        socket.send_fds(sender, [b"x"], [listener])
    os.close(listener)

    def make() -> MemGroup:
        return MemGroup(**options)

    def construct(groups: list[MemGroup]) -> None:
        groups.extend(make() for _ in range(10))

    def small(groups: list[MemGroup]) -> None:
        for _ in range(700):
            groups[0].alloc(100)[:] = b"x" * 100

    def large(groups: list[MemGroup]) -> None:
        groups[0].alloc(1 << 20)[:5] = b"large"

    def copy(groups: list[MemGroup]) -> None:
        assert groups[0].copy(b"x" * 300_000) == b"x" * 300_000

    def many(groups: list[MemGroup]) -> None:
        groups[0].alloc_many(range(0, 2000, 10), zero=True)
        assert groups[0].alloc_many(count=50, size=5000)[49].nbytes == 5000

    def protect(groups: list[MemGroup]) -> None:
        block = groups[0].copy(b"x" * 5000)
        if backing != "anonymous":
            assert groups[0].unprotect(groups[0].protect(block)) == b"x" * 5000

    def reset(groups: list[MemGroup]) -> None:
        exporter = groups[0].copy(b"x" * 5000)
        assert exporter.address
        groups[0].reset()
        groups[0].copy(b"y" * 5000)
        groups[0].reset()
        groups[0].copy(b"y" * 100_000)

    def free(groups: list[MemGroup]) -> None:
        exporter = groups[0].copy(b"x" * 5000)
        assert exporter.address
        groups[0].free()
        assert groups[0].freed
        del exporter

    def forced(groups: list[MemGroup]) -> None:
        exporter = groups[0].copy(b"x" * 5000)
        assert exporter.address
        groups[0].free(force=True)
        assert groups[0].freed
        del exporter

    def gentle(groups: list[MemGroup]) -> None:
        with groups.pop() as group:
            exporter = group.copy(b"x" * 100_000)
            assert exporter.address
            group.copy(b"y" * 500_000)
        assert exporter == b"x" * 100_000

    def warm(groups: list[MemGroup]) -> None:
        memgroup.set_warm_limit(64 << 20)
        groups[0].copy(b"x" * 100_000)
        groups.pop().free()
        for _ in range(2):
            make().copy(b"x" * 100_000)
        memgroup.set_warm_limit(1 << 16)
        memgroup.set_warm_limit(0)

    def fork(groups: list[MemGroup]) -> None:
        memgroup.set_warm_limit(64 << 20)
        make().copy(b"x" * 100_000)
        kept = groups[0].copy(b"kept")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(2):  # one call fails at most
                    try:
                        code = 0 if groups[0].copy(b"mine") == b"mine" and kept == b"kept" else 2
                        break
                    except MemoryError:
                        continue
                groups[0].free()
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert kept == b"kept"
        groups[0].copy(b"more")

    def read(groups: list[MemGroup]) -> None:
        result = groups[0].read_files([source] * 3)
        for error in result.errors.values():
            raise error

    def stats(groups: list[MemGroup]) -> None:
        groups[0].copy(b"x")
        assert groups[0].stats().committed
        assert "injected" in repr(groups[0])

    scenarios: list[tuple[Callable[[list[MemGroup]], None], int]] = [
        *(
            (act, 1)
            for act in (
                small,
                large,
                copy,
                many,
                protect,
                reset,
                free,
                forced,
                gentle,
                warm,
                fork,
                read,
                stats,
            )
        ),
        (construct, 0),
    ]

    def is_usable(group: MemGroup) -> bool:
        return group.copy(b"a" * 1000) == b"a" * 1000 and group.copy(b"b" * 100_000) == b"b" * 100_000

    def belongings() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text().splitlines()
        return len(os.listdir("/proc/self/fd")), sum(line.endswith("(deleted)") for line in maps)

    def once(act: Callable[[list[MemGroup]], None], count: int, call: int, n: int, error: int):
        groups = [make() for _ in range(count)]
        raised: BaseException | None = None
        ORDER.pack_into(order, 0, call, n, error, 0)
        try:
            act(groups)
        except (MemoryError, OSError) as problem:
            raised = problem.with_traceback(None)
        seen = ORDER.unpack_from(order)[3]
        ORDER.pack_into(order, 0, NO_CALL, 0, 0, 0)
        assert all(is_usable(group) for group in groups if not group.freed), "a group is useless"
        assert is_usable(make())
        groups.clear()
        gc.collect()
        memgroup.set_warm_limit(0)
        return raised, seen >= n

    memgroup.set_warm_limit(0)
    failures, errors, met = 0, 0, set()
    for act, count in scenarios:
        for _ in range(2):
            raised, _ = once(act, count, NO_CALL, 1, 0)
            assert raised is None, raised
        before = belongings()
        for index, call in enumerate(CALLS):
            for error in ERRORS[call]:
                n = 0
                reached = True
                while reached:
                    n += 1
                    at = f"{act.__name__}, {backing}: {call} number {n}, {errno.errorcode[error]}"
                    try:
                        raised, reached = once(act, count, index, n, error)
                    except BaseException:
                        print(at)
                        raise
                    after = belongings()
                    assert after[0] == before[0], f"{at}: {before} {after}"
                    # Memory that the kernel refuses to unmap stays mapped: both mirrors, and the locked part
                    # of one.
                    kept = 5 if call == "munmap" else 0
                    assert before[1] <= after[1] <= before[1] + kept, f"{at}: {before} {after}"
                    before = after
                    if raised is not None:
                        errors += 1
                        words = str(raised)
                        assert os.strerror(error) in words or f"os error {error}" in words, (
                            f"{at}: {raised!r}"
                        )
                    if reached:
                        failures += 1
                        met.add(call)
    print(failures, errors, *sorted(met))


if __name__ == "__main__":
    main()
