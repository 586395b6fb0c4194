"""Streams of messages, and their contents."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from conftest import outcome
from hypothesis import strategies as st

ORDERS = {"big": ">", "little": "<"}


CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def framed(body, prefix=4, byteorder="big", counts_prefix=False):
    length = len(body) + (prefix if counts_prefix else 0)
    return struct.pack(ORDERS[byteorder] + CODES[prefix], length) + body


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def in_pieces(stream, sizes):
    """Cut a stream into pieces of these sizes, over and over."""
    start, turn = 0, 0
    while start < len(stream):
        size = sizes[turn % len(sizes)]
        yield stream[start : start + size]
        start, turn = start + size, turn + 1


class Pieces:
    """Stores a piece of a stream in each call. A piece may be an exception to raise or a count to return."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def recv_into(self, view) -> Any:  # what a faulty source returns, too
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        if not isinstance(piece, bytes):
            return piece(view) if callable(piece) else piece
        count = min(len(piece), len(view))
        view[:count] = piece[:count]
        if count < len(piece):
            self.pieces.insert(0, piece[count:])
        return count


@contextmanager
def connected(kind) -> Iterator[tuple[Any, Any]]:  # sockets, or files of pipes
    """Yield both ends of a stream: where to write, where to read. The second has fileno()."""
    with ExitStack() as stack:
        if kind == "tcp":
            with socket.create_server(("127.0.0.1", 0)) as server:
                writer = stack.enter_context(socket.create_connection(server.getsockname()))
                reader = stack.enter_context(server.accept()[0])
            writer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif kind == "unix":
            writer, reader = map(stack.enter_context, socket.socketpair())
        else:
            ends = os.pipe()
            reader = stack.enter_context(os.fdopen(ends[0], "rb", buffering=0))
            writer = stack.enter_context(os.fdopen(ends[1], "wb", buffering=0))
        yield writer, reader


def send(writer, data):
    """Send all of it."""
    if isinstance(writer, socket.socket):
        writer.sendall(data)
    else:
        while data:
            data = data[writer.write(data) :]


@contextmanager
def sending(writer, pieces, stall=0.0):
    """Send pieces and hang up in another thread."""

    def run():
        try:
            for piece in pieces:
                send(writer, piece)
                if stall:
                    time.sleep(stall)
        except OSError:
            pass  # the reader had enough
        finally:
            writer.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def next_or_none(reader):
    """Return the next message, or None where there is none right now."""
    try:
        return next(reader)
    except BlockingIOError:
        return None


KINDS = pytest.mark.parametrize("kind", ["tcp", "unix", "pipe"])
"""Kinds of streams, for `connected`."""


AHEAD = st.sampled_from([0, 1, 7, 100, 5000, 65536])
"""How much may be read ahead."""


BODIES = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 5000), st.just(200_000)), max_size=12)


PIECES = st.lists(st.one_of(st.integers(1, 9), st.integers(1, 100_000)), min_size=1, max_size=5)


def bodies_of(sizes, prefix):
    most = (1 << 8 * prefix) - 1 - prefix
    return [noise(min(size, most), seed) for seed, size in enumerate(sizes)]


@contextmanager
def receiving(reader):
    """Receive in another thread until an exception or the end, which comes last in the list."""
    found = []

    def run():
        try:
            found.extend(reader)
            found.append(None)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(30)
    assert not thread.is_alive()


def until(condition):
    """Wait for a condition that another thread causes."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def is_receiving(reader):
    return outcome(lambda: reader.missing) is RuntimeError
