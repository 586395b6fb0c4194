"""Length-prefixed messages: streams of all kinds, and invalid arguments."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import weakref

import pytest
from support.streams import connected, framed, is_receiving, next_or_none, noise, receiving, until


def test_one_thread_at_a_time(group):
    with connected("unix") as (writer, source):
        reader = group.frames(source)
        with receiving(reader) as found:
            until(lambda: is_receiving(reader))
            for use in (lambda: next(reader), reader.close, lambda: reader.ahead):
                with pytest.raises(RuntimeError, match="receiving right now"):
                    use()
            writer.sendall(framed(b"one"))
            writer.close()
        assert found == [b"one", None]


def test_a_source_closed_meanwhile_is_not_taken_for_a_new_descriptor(group):
    ends = socket.socketpair()
    reader = group.frames(ends[1])
    number = ends[1].fileno()
    ends[1].close()
    with connected("unix") as (writer, source):
        assert number in (writer.fileno(), source.fileno())
        writer.sendall(framed(b"not yours"))
        with pytest.raises(OSError, match="Bad file") as raised:
            next(reader)
        assert raised.value.errno == errno.EBADF
        assert source.recv(100) == framed(b"not yours")
    ends[0].close()


def test_errors_of_the_stream_are_passed_on(group):
    with connected("tcp") as (writer, source):
        reader = group.frames(source)
        writer.sendall(framed(b"abc")[:5])
        time.sleep(0.05)
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        source.setblocking(False)
        assert next_or_none(reader) is None
        writer.close()
        with pytest.raises(ConnectionResetError):
            next(reader)
        assert reader.partial == b"a"


def test_a_source_without_a_stream_is_refused(group, tmp_path):
    with pytest.raises(TypeError, match=r"fileno\(\).*not str"):
        group.frames("a")
    with pytest.raises(OSError, match="Bad file descriptor"):
        group.frames(2**40)
    with pytest.raises(OSError, match="Bad file descriptor"):
        group.frames(-1)
    with pytest.raises(IsADirectoryError):
        next(group.frames(os.open(tmp_path, os.O_RDONLY)))
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match="SOCK_STREAM"):
        group.frames(sock)
    with socket.socket() as sock:
        wrapped = ssl.create_default_context().wrap_socket(sock, server_hostname="x")
        with wrapped, pytest.raises(OSError, match="not connected"):
            next(group.frames(wrapped))
        with pytest.raises(OSError, match="Bad file descriptor"):
            group.frames(sock)
    with open(tmp_path / "closed", "wb") as file:
        pass
    with pytest.raises(ValueError, match="closed file"):
        group.frames(file)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"prefix": 9}, ValueError, "prefix must be from 1 to 8, not 9"),
        ({"prefix": "4"}, TypeError, "prefix must be an integer, not str"),
        ({"byteorder": "network"}, ValueError, '"big" or "little", not \'network\''),
        ({"byteorder": 1}, TypeError, '"big" or "little", not int'),
        ({"limit": -1}, ValueError, "limit must be an integer and not negative, not -1"),
        ({"read_ahead": -1}, ValueError, "read_ahead must not be negative, not -1"),
        ({"read_ahead": 2**60}, MemoryError, "pass a smaller read_ahead"),
        ({"read_ahead": 1.5}, TypeError, "read_ahead must be an integer, not float"),
    ],
)
def test_invalid_arguments_are_refused(group, options, kind, message):
    with connected("unix") as (_, source), pytest.raises(kind, match=message):
        group.frames(source, **options)


def test_a_freed_group_has_no_frames(group):
    group.free()
    with connected("unix") as (_, source), pytest.raises(ValueError, match="is freed"):
        group.frames(source)


def test_a_file_is_a_stream_too(group, tmp_path):
    bodies = [noise(size) for size in (0, 10, 100_000, 70_000, 1)]
    (tmp_path / "messages").write_bytes(b"".join(map(framed, bodies)))
    with open(tmp_path / "messages", "rb", buffering=0) as file:
        assert list(group.frames(file)) == bodies
    descriptor = os.open(tmp_path / "messages", os.O_RDONLY)
    assert list(group.frames(descriptor)) == bodies
    os.close(descriptor)


def test_a_reader_and_its_source_may_refer_to_each_other(group):
    class Source:
        def __init__(self):
            self.sock = socket.socketpair()
            self.frames = group.frames(self)

        def fileno(self):
            return self.sock[0].fileno()

    source = Source()
    gone = weakref.ref(source)
    for end in source.sock:
        end.close()
    del source
    gc.collect()
    assert gone() is None


def test_the_connections_of_multiprocessing(group):
    # 4 bytes in network order; none of its messages needs more.
    receiver, sender = multiprocessing.Pipe(duplex=False)
    bodies = [noise(size, size) for size in (0, 1, 16_000, 17_000, 1_000_000)]

    def run():
        for body in bodies:
            sender.send_bytes(body)
        sender.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert list(group.frames(receiver)) == bodies
    thread.join()
    receiver.close()


def test_the_output_of_a_program(group):
    perl = shutil.which("perl")
    if perl is None:
        pytest.skip("perl is not installed")
    code = "$| = 1; print pack('V/a*', chr(65 + $_ % 26) x ($_ * $_ * 3)) for 0..299"
    with subprocess.Popen([perl, "-e", code], stdout=subprocess.PIPE, bufsize=0) as program:
        found = list(group.frames(program.stdout, byteorder="little"))
    assert found == [bytes([65 + n % 26]) * (n * n * 3) for n in range(300)]


def test_a_peer_that_is_killed(group):
    code = """if True:
        import os, signal, sys
        os.write(1, (1000).to_bytes(4, "big") + bytes(1000) + (1000).to_bytes(4, "big") + bytes(10))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, bufsize=0) as program:
        reader = group.frames(program.stdout)
        assert next(reader) == bytes(1000)
        with pytest.raises(EOFError, match="10 of its 1000 bytes"):
            next(reader)
    assert program.returncode == -signal.SIGKILL
    assert reader.partial == bytes(10)


def test_a_message_begun_before_a_fork_belongs_to_the_parent(child):
    child.output("""
        import socket
        ours, peer = socket.socketpair()
        ours.settimeout(0.1)
        group = MemGroup()
        reader = group.frames(ours, read_ahead=0)
        peer.send((4).to_bytes(4, "big") + b"A")
        try:
            next(reader)
        except TimeoutError:
            assert bytes(reader.partial) == b"A"
        if os.fork() == 0:
            try:
                next(reader)
            except RuntimeError as error:
                assert "forked" in str(error)
                reader.close()
                group.reset()
                os._exit(0)
            os._exit(1)
        assert os.wait()[1] == 0
        peer.send(b"BCD")
        assert bytes(next(reader)) == b"ABCD"
    """)


def test_a_timeout_is_for_all_of_a_message(group):
    ours, peer = socket.socketpair()
    ours.settimeout(0.3)
    stop = threading.Event()

    def drip():
        peer.send((1000).to_bytes(4, "big"))
        while not stop.wait(0.05):
            peer.send(b".")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(TimeoutError):
            next(group.frames(ours))
    finally:
        stop.set()
        thread.join()
        ours.close()
        peer.close()
