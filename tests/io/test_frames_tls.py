"""Length-prefixed messages through TLS, decrypted straight into blocks."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from support.streams import framed, noise, sending
from support.tls import CLIENT, SERVER


@contextmanager
def encrypted():
    """Yield both ends of a TLS connection: where to write, where to read."""
    theirs, ours = socket.socketpair()
    found = []
    thread = threading.Thread(target=lambda: found.append(SERVER.wrap_socket(theirs, server_side=True)))
    thread.start()
    source = CLIENT.wrap_socket(ours, server_hostname="localhost")
    thread.join()
    with source, found[0] as writer:
        yield writer, source


def test_messages_of_all_sizes(group):
    bodies = [noise(size, size) for size in (0, 1, 100, 16_380, 16_384, 100_000, 3_000_000, 5)]
    with encrypted() as (writer, source), sending(writer, map(framed, bodies)):
        found = list(group.frames(source))
    assert found == bodies
    protected = group.protect(found[6])
    assert protected == bodies[6]


def test_a_socket_that_does_not_wait(group):
    with encrypted() as (writer, source):
        source.setblocking(False)
        reader = group.frames(source)
        with pytest.raises(BlockingIOError) as raised:
            next(reader)
        assert isinstance(raised.value.__cause__, ssl.SSLWantReadError)
        writer.sendall(framed(b"hello")[:6])
        with pytest.raises(BlockingIOError):
            next(reader)
        assert (reader.partial, reader.missing) == (b"he", 3)
        # One record with several messages: all are there before the socket would have to be read again.
        writer.sendall(b"llo" + framed(b"a") * 3)
        assert [next(reader) for _ in range(4)] == [b"hello", b"a", b"a", b"a"]
        assert source.pending() == 0


def test_nothing_is_read_ahead_where_nothing_may_be(group):
    with encrypted() as (writer, source):
        writer.sendall(framed(b"hello") + b"behind")
        assert next(group.frames(source, read_ahead=0)) == b"hello"
        assert source.pending() == 6
        assert source.recv(100) == b"behind"


def test_a_timeout_loses_nothing(group):
    with encrypted() as (writer, source):
        source.settimeout(0.05)
        reader = group.frames(source)
        writer.sendall(framed(b"hello")[:6])
        with pytest.raises(TimeoutError):
            next(reader)
        assert reader.partial == b"he"
        writer.sendall(b"llo")
        assert next(reader) == b"hello"


def test_a_timeout_is_for_all_of_a_message(group):
    with encrypted() as (writer, source):
        source.settimeout(0.3)
        drops = (piece for piece in [framed(bytes(1000))[:4], *[b"."] * 100])
        begun = time.monotonic()
        with sending(writer, drops, stall=0.02):
            with pytest.raises(TimeoutError, match="timed out"):
                next(group.frames(source))
            took = time.monotonic() - begun
            source.close()
    assert took < 1.5


def test_the_peer_hangs_up_within_a_message(group):
    with encrypted() as (writer, source):
        reader = group.frames(source)
        writer.sendall(framed(noise(1000))[:504])
        writer.close()
        with pytest.raises(EOFError, match="500 of its 1000 bytes"):
            next(reader)
        assert reader.partial == noise(1000)[:500]


def test_an_object_without_a_socket(group):
    # What one writes the other reads.
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = CLIENT.wrap_bio(down, up, server_hostname="localhost")
    theirs = SERVER.wrap_bio(up, down, server_side=True)
    for _ in range(3):
        for end in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    reader = group.frames(ours)
    with pytest.raises(BlockingIOError):
        next(reader)
    bodies = [noise(size, size) for size in (0, 100, 100_000)]
    theirs.write(b"".join(map(framed, bodies)))
    assert [next(reader) for _ in bodies] == bodies
    with pytest.raises(BlockingIOError):
        next(reader)
