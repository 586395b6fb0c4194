"""Input and output: records of a file, many small files, many blocks through a socket."""

from __future__ import annotations

import os
import random
import socket
from array import array
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path

import memgroup

from model import Measure, Peer, Scale, UnavailableError, Work
from optional import yardstick
from timing import in_rounds
from works.sizes import mixed, padded

DIRECTORY = Path(__file__).parents[3] / "target/benches/io"
"""What is read is made once and stays there, for 100,000 files take longer to make than to read."""

RECORDS, LARGEST = 100_000, 1 << 20
FILES = 100_000
BLOCKS = 10_000


def rounds(make_work: Callable[[Scale], Callable[[], object]], count: int = 1) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of so many rounds of a work."""

    def prepare(scale: Scale) -> Measure:
        if not hasattr(memgroup.MemGroup, "read_ranges"):
            raise UnavailableError("not available: this memgroup has no read_ranges")
        work = make_work(scale)
        return lambda: in_rounds(work, count)

    return prepare


def record_sizes(count: int) -> list[int]:
    """Return pseudo-random sizes from 16 bytes to 1 MiB, nearly all small; 100,000 make about 1 GiB."""
    chance = random.Random(5)
    return [min(LARGEST, int(16 * 65536 ** (chance.random() ** 9))) for _ in range(count)]


class Records:
    """A file of records that lie one behind the other."""

    def __init__(self, scale: Scale) -> None:
        """Make it, unless it is there, and have the kernel keep it in memory."""
        self.sizes = record_sizes(scale.of(RECORDS))
        *offsets, length = accumulate(self.sizes, initial=0)
        self.offsets = offsets
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = DIRECTORY / f"records-{len(self.sizes)}"
        if not path.exists() or path.stat().st_size != length:
            piece = random.Random(6).randbytes(1 << 20)
            with open(path, "wb") as file:
                for start in range(0, length, len(piece)):
                    file.write(piece[: length - start])
        self.fd = os.open(path, os.O_RDONLY)
        buffer = bytearray(1 << 20)
        while os.readv(self.fd, [buffer]):
            pass


def ranges_reset(scale: Scale) -> Callable[[], object]:
    """Read into one group, and reset it after every round."""
    records, group = Records(scale), memgroup.MemGroup()
    offsets, sizes = array("Q", records.offsets), array("Q", records.sizes)

    def work() -> None:
        group.read_ranges(records.fd, offsets, sizes).check()
        group.reset()

    return work


def ranges_on_all_cpus(scale: Scale) -> Callable[[], object]:
    """Let several threads read, where others of this suite stay on one CPU."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return ranges_reset(scale)


def ranges_of_ints(scale: Scale) -> Callable[[], object]:
    """Pass lists of ints."""
    records, group = Records(scale), memgroup.MemGroup()

    def work() -> None:
        group.read_ranges(records.fd, records.offsets, records.sizes).check()
        group.reset()

    return work


def ranges_fresh(scale: Scale) -> Callable[[], object]:
    """Read into a new group every time."""
    records = Records(scale)
    offsets, sizes = array("Q", records.offsets), array("Q", records.sizes)

    def work() -> None:
        group = memgroup.MemGroup()
        group.read_ranges(records.fd, offsets, sizes).check()
        group.free()

    return work


def records_in_c(scale: Scale) -> Callable[[], object]:
    """Make the same calls from C."""
    records, read_records = Records(scale), yardstick().read_records
    sizes, buffer = array("Q", records.sizes), bytearray(padded(records.sizes))
    return lambda: read_records(records.fd, sizes, buffer)


def pread_loop(scale: Scale) -> Callable[[], object]:
    """Read one by one, keep all until all are read."""
    records = Records(scale)

    def work() -> None:
        pread, fd = os.pread, records.fd
        held = [pread(fd, size, offset) for offset, size in zip(records.offsets, records.sizes, strict=True)]
        assert len(held) == len(records.sizes)

    return work


def files(scale: Scale) -> list[str]:
    """Return the paths of many small files, made unless they are there and in the kernel's memory."""
    sizes = [size * 8 for size in mixed(scale.of(FILES))]
    directory = DIRECTORY / f"files-{len(sizes)}"
    paths = [f"{directory}/{number // 1000}/{number}" for number in range(len(sizes))]
    if not (directory / "complete").exists():
        for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
            if number % 1000 == 0:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).write_bytes(bytes([number % 256]) * size)
        (directory / "complete").touch()
    for path in paths:
        Path(path).read_bytes()
    return paths


def read_files(scale: Scale) -> Callable[[], object]:
    """Read into one group, and reset it after every round."""
    paths, group = files(scale), memgroup.MemGroup()

    def work() -> None:
        group.read_files(paths).check()
        group.reset()

    return work


def read_files_fresh(scale: Scale) -> Callable[[], object]:
    """Read into a new group every time."""
    paths = files(scale)

    def work() -> None:
        group = memgroup.MemGroup()
        group.read_files(paths).check()
        group.free()

    return work


def readinto_loop(scale: Scale) -> Callable[[], object]:
    """Read each into a bytearray of its size."""
    paths = files(scale)

    def work() -> None:
        held = []
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                content = bytearray(os.fstat(file.fileno()).st_size)
                file.readinto(content)
                held.append(content)

    return work


def read_bytes_loop(scale: Scale) -> Callable[[], object]:
    """Read each as most programs do."""
    paths = files(scale)

    def work() -> None:
        held = []
        for path in paths:
            with open(path, "rb") as file:
                held.append(file.read())

    return work


def drained() -> socket.socket:
    """Return a socket, the other end of which another process empties until this one has gone."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        buffer = bytearray(1 << 20)
        while theirs.recv_into(buffer):
            pass
        os._exit(0)
    theirs.close()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return ours


def filled() -> socket.socket:
    """Return a socket, the other end of which another process fills until this one has gone."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        content = bytes(1 << 20)
        with suppress(OSError):
            while True:
                theirs.sendall(content)
        os._exit(0)
    theirs.close()
    return ours


def block_sizes(scale: Scale, times: int) -> list[int]:
    """Return how large the blocks to be sent are: `times` as large as others in this suite."""
    return [size * times for size in mixed(scale.of(BLOCKS))]


def sendmsg(times: int) -> Callable[[Scale], Callable[[], object]]:
    """Send a list."""

    def make(scale: Scale) -> Callable[[], object]:
        sock, group = drained(), memgroup.MemGroup()
        blocks = group.alloc_many(block_sizes(scale, times), zero=True)
        return lambda: blocks.sendmsg(sock)

    return make


def join_blocks(times: int) -> Callable[[Scale], Callable[[], object]]:
    """Join the blocks of a group one by one, and send that."""

    def make(scale: Scale) -> Callable[[], object]:
        sock, group = drained(), memgroup.MemGroup()
        blocks = [group.alloc(size, zero=True) for size in block_sizes(scale, times)]
        return lambda: sock.sendall(b"".join(blocks))

    return make


def join_bytes(times: int) -> Callable[[Scale], Callable[[], object]]:
    """Join bytes, and send that."""

    def make(scale: Scale) -> Callable[[], object]:
        sock = drained()
        blocks = [bytes(size) for size in block_sizes(scale, times)]
        return lambda: sock.sendall(b"".join(blocks))

    return make


def sendmsg_of_bytes(times: int) -> Callable[[Scale], Callable[[], object]]:
    """Let the socket's own sendmsg take a thousand at a time, and go on where it stopped."""

    def make(scale: Scale) -> Callable[[], object]:
        sock = drained()
        blocks = [bytes(size) for size in block_sizes(scale, times)]

        def work() -> None:
            for first in range(0, len(blocks), 1024):
                some = blocks[first : first + 1024]
                sent, length = sock.sendmsg(some), sum(map(len, some))
                if sent < length:
                    sock.sendall(b"".join(some)[sent:])

        return work

    return make


def recvmsg_into(scale: Scale) -> Callable[[], object]:
    """Receive into a list."""
    sock, group = filled(), memgroup.MemGroup()
    blocks = group.alloc_many(block_sizes(scale, 1))
    return lambda: blocks.recvmsg_into(sock)


def recv_and_cut(scale: Scale) -> Callable[[], object]:
    """Receive into one buffer, and cut a bytes object out of it for each block."""
    sock, sizes = filled(), block_sizes(scale, 1)
    offsets = list(accumulate(sizes, initial=0))
    buffer = bytearray(offsets[-1])

    def work() -> None:
        view, got = memoryview(buffer), 0
        while got < len(buffer):
            got += sock.recv_into(view[got:])
        held = [bytes(view[start:end]) for start, end in pairwise(offsets)]
        assert len(held) == len(sizes)

    return work


def recvmsg_into_bytearrays(scale: Scale) -> Callable[[], object]:
    """Let the socket's own recvmsg_into fill a thousand at a time, and go on where it stopped."""
    sock = filled()
    blocks = [bytearray(size) for size in block_sizes(scale, 1)]

    def work() -> None:
        for first in range(0, len(blocks), 1024):
            views = [memoryview(block) for block in blocks[first : first + 1024]]
            while views:
                got = sock.recvmsg_into(views)[0]
                done = 0
                while done < len(views) and got >= len(views[done]):
                    got -= len(views[done])
                    done += 1
                views = views[done:]
                if got:
                    views[0] = views[0][got:]

    return work


def send_work(name: str, title: str, times: int, count: int) -> Work:
    """Return the work of sending blocks so many times as large."""
    return Work(
        name,
        title,
        "round",
        (
            Peer("memgroup-sendmsg", "blocks.sendmsg(sock)", rounds(sendmsg(times), count)),
            Peer("memgroup-join", "sock.sendall(b''.join(MemBlocks))", rounds(join_blocks(times), count)),
            Peer("bytes-join", "sock.sendall(b''.join(bytes objects))", rounds(join_bytes(times), count)),
            Peer(
                "bytes-sendmsg",
                "sock.sendmsg, 1,024 bytes objects each",
                rounds(sendmsg_of_bytes(times), count),
            ),
        ),
    )


WORKS = (
    Work(
        "read-records",
        "100,000 records of 16 bytes to 1 MiB, 1.1 GiB in all, read from a file in the kernel's memory",
        "round",
        (
            Peer(
                "memgroup-read_ranges", "g.read_ranges(fd, offsets, sizes); g.reset()", rounds(ranges_reset)
            ),
            Peer("memgroup-on-all-cpus", "the same on all CPUs, not one", rounds(ranges_on_all_cpus)),
            Peer("memgroup-of-lists", "the same with lists of ints", rounds(ranges_of_ints)),
            Peer("memgroup-fresh", "the same with a new group, freed then", rounds(ranges_fresh)),
            Peer("c-preadv", "the same calls of preadv from C into one buffer", rounds(records_in_c)),
            Peer("os.pread", "[os.pread(fd, size, offset) for …]", rounds(pread_loop)),
        ),
        values=3,
        first=True,
        resident=3 << 29,
    ),
    Work(
        "read-files",
        "100,000 files of 128 to 4,096 bytes, in the kernel's memory",
        "round",
        (
            Peer("memgroup-read_files", "g.read_files(paths); g.reset()", rounds(read_files)),
            Peer("memgroup-fresh", "the same with a new group, freed then", rounds(read_files_fresh)),
            Peer("readinto", "open(path, 'rb', 0).readinto(bytearray(size))", rounds(readinto_loop)),
            Peer("read", "open(path, 'rb').read()", rounds(read_bytes_loop)),
        ),
        values=2,
        passes=3,
        first=True,
        resident=512 << 20,
    ),
    send_work("send-blocks", "10,000 blocks of 16 to 512 bytes sent through a Unix socket", 1, 20),
    Work(
        "receive-blocks",
        "10,000 blocks of 16 to 512 bytes received through a Unix socket",
        "round",
        (
            Peer("memgroup-recvmsg_into", "blocks.recvmsg_into(sock)", rounds(recvmsg_into, 20)),
            Peer("recv_into", "sock.recv_into(buffer), cut into bytes objects", rounds(recv_and_cut, 20)),
            Peer(
                "recvmsg_into",
                "sock.recvmsg_into, 1,024 bytearrays each",
                rounds(recvmsg_into_bytearrays, 20),
            ),
        ),
    ),
    send_work("send-large-blocks", "10,000 blocks of 512 bytes to 16 KiB sent through a Unix socket", 32, 3),
)
