"""Length-prefixed messages from a socket, all of them kept."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter

import memgroup
from memgroup import aio

from compiled import rust_library
from model import Measure, Peer, Scale, Work

BUFFER = 65536
"""Bytes that every peer reads ahead."""

Receive = Callable[[socket.socket], int]
"""Receives messages until the stream ends; returns how many bytes they have."""


SENDER = """if True:
    import os, socket, sys
    fd, size, count = map(int, sys.argv[1:])
    os.sched_setaffinity(0, range(os.cpu_count()))  # beside the receiver, which stays on one
    with socket.socket(fileno=fd) as target:
        stream = (size.to_bytes(4, "big") + b"x" * size) * count
        target.recv(1)
        target.sendall(stream)
"""


@contextmanager
def sent(size: int, count: int) -> Iterator[socket.socket]:
    """Yield a socket that a process of its own sends messages into, once it is sent a byte.

    It is no fork, which would have this process find all its pages again.
    """
    ends = socket.socketpair()
    with ends[0] as source:
        with ends[1] as target:
            number = target.fileno()
            command = [sys.executable, "-I", "-S", "-c", SENDER, str(number), str(size), str(count)]
            sender = subprocess.Popen(command, pass_fds=[number])
        yield source
    sender.wait()


def received(receive: Receive, size: int, count: int, blocking: bool, scale: Scale) -> Measure:
    """Prepare to receive so many messages of that size."""
    count = scale.of(count)

    def measure() -> dict[str, float]:
        with sent(size, count) as source:
            source.send(b"!")
            source.setblocking(blocking)
            start = perf_counter()
            total = receive(source)
            seconds = perf_counter() - start
        if total != size * count:
            raise RuntimeError(f"received {total} bytes of {size * count}")
        return {"time": seconds / count}

    return measure


def frames(source: socket.socket) -> int:
    """Receive into a group."""
    group = memgroup.MemGroup()
    found = list(group.frames(source, read_ahead=BUFFER))
    total = sum(map(len, found))
    del found
    group.free()
    return total


def take(source: socket.socket) -> int:
    """Receive into one list of a group."""
    group = memgroup.MemGroup()
    total = group.frames(source, read_ahead=BUFFER).take(sys.maxsize).nbytes
    group.free()
    return total


def aio_take(source: socket.socket) -> int:
    """Receive into one list of a group through asyncio."""

    async def receive() -> int:
        group = memgroup.MemGroup()
        total = (await aio.frames(group, source, read_ahead=BUFFER).take(sys.maxsize)).nbytes
        group.free()
        return total

    return asyncio.run(receive())


def recv_exactly(source: socket.socket) -> int:
    """Receive each prefix and each message for itself."""

    def exactly(size: int) -> bytearray | None:
        data = bytearray(size)
        with memoryview(data) as view:
            done = 0
            while done < size:
                count = source.recv_into(view[done:])
                if count == 0:
                    return None
                done += count
        return data

    found = []
    while (prefix := exactly(4)) is not None:
        message = exactly(int.from_bytes(prefix, "big"))
        if message is None:
            raise EOFError("the stream ended within a message")
        found.append(message)
    return sum(map(len, found))


def recv_into_buffer(source: socket.socket) -> int:
    """Receive into one buffer that grows to the largest message, and cut copies out of it."""
    buffer = bytearray(BUFFER)
    start = end = 0
    found = []
    while True:
        while end - start >= 4:
            behind = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
            if behind > end:
                if behind - start > len(buffer):
                    buffer.extend(bytes(behind - start - len(buffer)))
                break
            found.append(bytes(memoryview(buffer)[start + 4 : behind]))
            start = behind
        buffer[: end - start] = buffer[start:end]
        start, end = 0, end - start
        with memoryview(buffer) as view:
            count = source.recv_into(view[end:])
        if count == 0:
            return sum(map(len, found))
        end += count


def makefile(source: socket.socket) -> int:
    """Read from a buffered file."""
    found = []
    with source.makefile("rb", buffering=BUFFER) as file:
        while prefix := file.read(4):
            found.append(file.read(int.from_bytes(prefix, "big")))
    return sum(map(len, found))


def aio_frames(source: socket.socket) -> int:
    """Receive into a group through asyncio."""

    async def receive() -> int:
        group = memgroup.MemGroup()
        found = [block async for block in aio.frames(group, source, read_ahead=BUFFER)]
        total = sum(map(len, found))
        del found
        group.free()
        return total

    return asyncio.run(receive())


def protocol(source: socket.socket) -> int:
    """Have asyncio's transport store into a group."""

    async def receive() -> int:
        group = memgroup.MemGroup()
        transport, made = await asyncio.get_running_loop().create_connection(
            lambda: aio.FrameProtocol(group, read_ahead=BUFFER), sock=source
        )
        found = [block async for block in made.messages]
        transport.close()
        total = sum(map(len, found))
        del found
        group.free()
        return total

    return asyncio.run(receive())


def readexactly(source: socket.socket) -> int:
    """Read from asyncio's stream."""

    async def receive() -> int:
        reader, writer = await asyncio.open_connection(sock=source, limit=BUFFER)
        found = []
        try:
            while True:
                prefix = await reader.readexactly(4)
                found.append(await reader.readexactly(int.from_bytes(prefix, "big")))
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        return sum(map(len, found))

    return asyncio.run(receive())


def tokio(size: int, count: int, scale: Scale) -> Measure:
    """Prepare to receive in Rust, by tokio-util's codec; this process only calls it."""
    library = rust_library("tokio")
    library.receive.argtypes = ctypes.c_int, ctypes.c_size_t
    library.receive.restype = ctypes.c_int64
    return received(lambda source: library.receive(source.fileno(), BUFFER), size, count, False, scale)


def peers(size: int, count: int) -> tuple[Peer, ...]:
    """All peers, with messages of one size."""
    rows = (
        ("memgroup-take", "g.frames(sock).take(n)", take, True),
        ("memgroup-aio-take", "await aio.frames(g, sock).take(n)", aio_take, False),
        ("memgroup-frames", "list(g.frames(sock))", frames, True),
        ("memgroup-aio", "[b async for b in aio.frames(g, sock)]", aio_frames, False),
        ("memgroup-protocol", "[b async for b in aio.FrameProtocol(g).messages]", protocol, False),
        ("recv-exactly", "sock.recv_into(bytearray(n)), each prefix and message", recv_exactly, True),
        ("recv-buffer", "sock.recv_into(buffer), bytes(buffer[a:b])", recv_into_buffer, True),
        ("makefile", "f = sock.makefile(); f.read(4), f.read(n)", makefile, True),
        ("asyncio", "await reader.readexactly(4), readexactly(n)", readexactly, False),
    )
    python = (
        Peer(name, code, partial(received, receive, size, count, blocking))
        for name, code, receive, blocking in rows
    )
    rust = "FramedRead::new(socket, LengthDelimitedCodec::new()).try_collect()"
    return (*python, Peer("tokio-util", rust, partial(tokio, size, count)))


WORKS = (
    Work(
        "frames-million",
        "1,000,000 length-prefixed messages of 100 bytes received from a Unix socket and kept",
        "message",
        peers(100, 1_000_000),
        values=1,
        first=True,
    ),
    Work(
        "frames-small",
        "100,000 length-prefixed messages of 100 bytes received from a Unix socket and kept",
        "message",
        peers(100, 100_000),
        first=True,
    ),
    Work(
        "frames-large",
        "200 length-prefixed messages of 1 MiB received from a Unix socket and kept",
        "message",
        peers(1 << 20, 200),
        first=True,
        nbytes=1 << 20,
    ),
)
