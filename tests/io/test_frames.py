"""Length-prefixed messages into blocks: every byte, whatever the peer, the pieces, the signals, the end."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import random
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from conftest import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup

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
BODIES = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 5000), st.just(200_000)), max_size=12)
FORMATS = st.fixed_dictionaries(
    {
        "prefix": st.sampled_from([1, 2, 4, 8]),
        "byteorder": st.sampled_from(["big", "little"]),
        "counts_prefix": st.booleans(),
    }
)
AHEAD = st.sampled_from([0, 1, 7, 100, 5000, 65536])
PIECES = st.lists(st.one_of(st.integers(1, 9), st.integers(1, 100_000)), min_size=1, max_size=5)


def bodies_of(sizes, prefix):
    most = (1 << 8 * prefix) - 1 - prefix
    return [noise(min(size, most), seed) for seed, size in enumerate(sizes)]


@KINDS
@settings(max_examples=40)
@given(sizes=BODIES, form=FORMATS, read_ahead=AHEAD, pieces=PIECES)
def test_messages_come_out_as_they_went_in(kind, sizes, form, read_ahead, pieces):
    bodies = bodies_of(sizes, form["prefix"])
    stream = b"".join(framed(body, **form) for body in bodies)
    # So many pieces of a byte or two take long, and show no more.
    least = len(stream) // 500
    with (
        MemGroup() as group,
        connected(kind) as (writer, source),
        sending(writer, in_pieces(stream, [size + least for size in pieces])),
    ):
        reader = group.frames(source, read_ahead=read_ahead, **form)
        found = list(reader)
        assert [bytes(block) for block in found] == bodies
        assert all(block in group and not block.readonly for block in found)
        assert list(reader) == []
        assert (reader.partial, reader.missing, reader.ahead) == (None, 0, b"")
        assert group.stats().exports == 0


@settings(max_examples=60)
@given(sizes=BODIES, form=FORMATS, read_ahead=AHEAD, pieces=PIECES)
def test_a_non_blocking_stream_is_gone_on_with(sizes, form, read_ahead, pieces):
    bodies = bodies_of(sizes, form["prefix"])
    stream = b"".join(framed(body, **form) for body in bodies)
    least = len(stream) // 300
    with MemGroup() as group, connected("unix") as (writer, source):
        source.setblocking(False)
        reader = group.frames(source, read_ahead=read_ahead, **form)
        found, sent = [], 0
        # Pieces that a socket holds.
        for piece in in_pieces(stream, [min(size + least, 60_000) for size in pieces]):
            writer.sendall(piece)
            sent += len(piece)
            while (block := next_or_none(reader)) is not None:
                found.append(block)
            there = 0 if reader.partial is None else form["prefix"] + len(reader.partial)
            received = sum(form["prefix"] + len(block) for block in found)
            assert received + there + len(reader.ahead) == sent
            assert group.stats().exports == (reader.partial is not None)
            if reader.partial is not None:
                assert reader.partial == bodies[len(found)][: len(reader.partial)]
                assert len(reader.partial) + reader.missing == len(bodies[len(found)])
        writer.close()
        assert next(reader, None) is None
        assert [bytes(block) for block in found] == bodies


@KINDS
def test_a_peer_that_stalls_is_waited_for(kind):
    bodies = [b"abc", b"", noise(100), b"d"]
    stream = b"".join(map(framed, bodies))
    with (
        MemGroup() as group,
        connected(kind) as (writer, source),
        sending(writer, in_pieces(stream, [3, 20]), stall=0.01),
    ):
        assert list(group.frames(source)) == bodies


@pytest.mark.parametrize("read_ahead", [0, 65536])
@KINDS
def test_a_peer_that_hangs_up_within_a_message(kind, read_ahead):
    stream = framed(b"first") + framed(b"second")
    for cut in range(len(stream)):
        with MemGroup() as group, connected(kind) as (writer, source):
            send(writer, stream[:cut])
            writer.close()
            reader = group.frames(source, read_ahead=read_ahead)
            found = []
            error = None
            try:
                found.extend(reader)
            except EOFError as raised:
                error = raised
            if cut in (0, 9):
                assert (error, len(found)) == (None, cut // 9)
                continue
            begun = stream[:cut][9 * len(found) :]
            if len(begun) < 4:
                assert f"within a prefix: {len(begun)} of its 4 bytes" in str(error)
                assert (reader.partial, reader.ahead) == (None, begun)
            else:
                size = [5, 6][len(found)]
                assert f"within a message: {len(begun) - 4} of its {size} bytes" in str(error)
                assert (reader.partial, reader.missing) == (begun[4:], size - len(begun) + 4)
            # It is no other a second time.
            with pytest.raises(EOFError, match="the stream ended within a"):
                next(reader)
            reader.close()


@pytest.mark.parametrize("prefix", [4, 8])
@pytest.mark.parametrize("size", [1001, 2**31, 2**32 - 1])
def test_a_message_larger_than_the_limit_is_not_allocated(group, prefix, size):
    with connected("unix") as (writer, source):
        writer.sendall(framed(noise(1000), prefix) + size.to_bytes(prefix, "big") + b"rest")
        reader = group.frames(source, prefix=prefix, limit=1000)
        assert next(reader) == noise(1000)
        before = group.stats().as_dict()
        for _ in range(2):
            with pytest.raises(ValueError, match=f"a message of {size} bytes .* limit of 1000.* out of step"):
                next(reader)
        assert group.stats().as_dict() == before
        assert reader.ahead == size.to_bytes(prefix, "big") + b"rest"


def test_another_protocol_is_not_taken_for_a_length(group):
    with connected("unix") as (writer, source):
        writer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        reader = group.frames(source)
        with pytest.raises(ValueError, match="limit of 16777216"):
            next(reader)
        assert reader.ahead.startswith(b"GET /")


def test_a_length_of_64_bits_is_refused_as_it_is(group):
    with connected("unix") as (writer, source):
        writer.sendall(b"\xff" * 8)
        with pytest.raises(ValueError, match=f"a message of {2**64 - 1} bytes"):
            next(group.frames(source, prefix=8, limit=sys.maxsize))


def test_a_length_that_does_not_count_its_prefix(group):
    with connected("unix") as (writer, source):
        writer.sendall(framed(b"", counts_prefix=True) + framed(b"ab"))
        reader = group.frames(source, counts_prefix=True)
        assert next(reader) == b""
        with pytest.raises(ValueError, match="a length of 2 does not count its own prefix of 4 bytes"):
            next(reader)


@KINDS
def test_without_reading_ahead_the_stream_is_left_behind_the_message(group, kind):
    with connected(kind) as (writer, source):
        send(writer, framed(b"upgrade") + framed(noise(1000)) + b"something else")
        reader = group.frames(source, read_ahead=0)
        assert [next(reader), next(reader)] == [b"upgrade", noise(1000)]
        assert os.read(source.fileno(), 100) == b"something else"


def test_what_was_read_ahead_is_shown(group):
    with connected("unix") as (writer, source):
        writer.sendall(framed(b"upgrade") + b"something else")
        reader = group.frames(source)
        assert next(reader) == b"upgrade"
        assert reader.ahead == b"something else"


def test_small_messages_do_not_cost_system_calls_each(child):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    output = child.run(
        """
        import socket, struct
        a, b = socket.socketpair()
        a.sendall(b"".join(struct.pack(">I", 10) + bytes(10) for _ in range(1000)))
        a.close()
        assert len(list(MemGroup().frames(b))) == 1000
        """,
        under=(strace, "-f", "-e", "trace=readv"),
    )
    assert output.returncode == 0, output.stderr
    assert 1 <= output.stderr.count("readv(") <= 5


def test_a_timeout_of_a_socket_counts(group):
    with connected("tcp") as (writer, source):
        source.settimeout(0.05)
        reader = group.frames(source)
        writer.sendall(framed(b"abcdef")[:7])
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            next(reader)
        assert time.monotonic() - began >= 0.05
        assert (reader.partial, reader.missing) == (b"abc", 3)
        writer.sendall(b"def")
        assert next(reader) == b"abcdef"


class StopError(Exception):
    pass


@pytest.fixture
def on_alarm():
    """Have alarms call something."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_signal_ends_a_call_that_waits_and_the_next_goes_on(group, on_alarm, timeout):
    def stop(*_):
        raise StopError

    on_alarm(stop)
    with connected("tcp") as (writer, source):
        source.settimeout(timeout)
        reader = group.frames(source)
        writer.sendall(framed(noise(100_000))[:50_000])
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(StopError):
            next(reader)
        assert (len(reader.partial), reader.missing) == (49_996, 50_004)
        with sending(writer, [framed(noise(100_000))[50_000:]]):
            assert next(reader) == noise(100_000)


@settings(max_examples=15)
@given(sizes=BODIES, interval=st.floats(0.0002, 0.003), every=st.integers(1, 20), pieces=PIECES)
def test_signals_at_random_lose_nothing(sizes, interval, every, pieces):
    bodies = bodies_of(sizes, 4)
    stream = b"".join(map(framed, bodies))
    calls = 0
    may_raise = False

    def handler(*_):
        nonlocal calls, may_raise
        calls += 1
        if may_raise and calls % every == 0:
            may_raise = False
            raise StopError

    found = []
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with (
            MemGroup() as group,
            connected("unix") as (writer, source),
            sending(writer, in_pieces(stream, [size + len(stream) // 40 for size in pieces]), stall=0.0005),
        ):
            reader = group.frames(source)
            signal.setitimer(signal.ITIMER_REAL, interval, interval)
            ended = False
            while not ended:
                try:
                    may_raise = True
                    found.extend(reader)  # stores each before a handler can run
                    ended = True
                    may_raise = False
                except StopError:
                    pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert [bytes(block) for block in found] == bodies
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_cannot_receive_from_the_same_reader(group, on_alarm):
    outcomes = []
    with connected("unix") as (writer, source):
        reader = group.frames(source)

        def handler(*_):
            outcomes.append((outcome(lambda: next(reader)), outcome(lambda: reader.partial)))
            writer.sendall(framed(b"then"))

        on_alarm(handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert next(reader) == b"then"
    assert outcomes == [(RuntimeError, RuntimeError)]


@contextmanager
def receiving(reader):
    """Receive in another thread until something happens; what happened comes last in the list."""
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
    """Wait for something to happen in another thread."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def is_receiving(reader):
    return outcome(lambda: reader.missing) is RuntimeError


def test_free_does_not_wait_for_a_reader_that_waits(backing):
    group = MemGroup(backing=backing)
    with connected("unix") as (writer, source):
        reader = group.frames(source)
        with receiving(reader) as found:
            until(lambda: is_receiving(reader))
            group.free()
            writer.sendall(framed(b"too late"))
        assert "is freed" in str(found[-1])
        assert reader.ahead == framed(b"too late")


def test_a_message_on_its_way_is_a_view(backing):
    group = MemGroup(backing=backing)
    body = noise(300_000)
    with connected("unix") as (writer, source):
        reader = group.frames(source)
        with receiving(reader) as found:
            writer.sendall(framed(body)[:100_000])
            until(lambda: group.stats().exports == 1)
            for end in (group.free, group.reset):
                with pytest.raises(BufferError, match="1 live view"):
                    end()
            writer.sendall(framed(body)[100_000:])
            until(lambda: found)
            assert found == [body]
            assert group.stats().exports == 0
            group.reset()  # the reader waits, for a message of the new era
            writer.sendall(framed(b"next"))
            until(lambda: len(found) == 2)
            assert found[1] == b"next"
            with pytest.raises(ValueError, match="reset"):
                found[0].tobytes()
            writer.close()
    group.free()


def test_memory_freed_by_force_is_not_written_to(mirrored):
    group = MemGroup(backing=mirrored)
    with connected("unix") as (writer, source):
        reader = group.frames(source)
        with receiving(reader) as found:
            writer.sendall(framed(bytes(300_000))[:1000])
            until(lambda: group.stats().exports == 1)
            group.free(force=True)
            others = [MemGroup(backing=mirrored) for _ in range(10)]
            blocks = [other.copy(b"x" * 400_000) for other in others]
            writer.sendall(bytes(100_000))
            until(lambda: found)
        assert "is freed" in str(found[-1])
        assert all(block == b"x" * 400_000 for block in blocks)
        with pytest.raises(ValueError, match="is freed"):
            next(reader)
    del reader
    for other in others:
        other.free()


def test_groups_freed_at_random_while_messages_come(mirrored):
    chance = random.Random(3)
    body = b"y" * 150_000
    with MemGroup(backing=mirrored) as bystander:
        outcomes = set()
        for _ in range(60):
            group = MemGroup(backing=mirrored)
            blocks = [bystander.copy(b"x" * 150_000) for _ in range(3)]
            with connected("unix") as (writer, source):
                reader = group.frames(source)
                with sending(writer, in_pieces(framed(body) * 20, [9000])), receiving(reader) as found:
                    time.sleep(chance.random() * 0.002)
                    group.free(force=True)
                    # Its memory may be somebody else's now.
                    blocks += [MemGroup(backing=mirrored).copy(b"x" * 150_000)]
                    source.shutdown(socket.SHUT_RDWR)
                outcomes.add(type(found[-1]))
                assert found[-1] is None or "is freed" in str(found[-1]) or len(found) == 21
            assert all(block == b"x" * 150_000 for block in blocks)
        assert ValueError in outcomes


def test_a_gentle_end_leaves_a_message_on_its_way_alone():
    with connected("unix") as (writer, source):
        group = MemGroup()
        source.setblocking(False)
        reader = group.frames(source)
        writer.sendall(framed(noise(1000))[:500])
        assert next_or_none(reader) is None
        with pytest.warns(ResourceWarning, match="1 live view"):
            group.__exit__(None, None, None)
        writer.sendall(framed(noise(1000))[500:])
        with pytest.raises(ValueError, match="has ended and is freed"):
            next(reader)


@pytest.mark.parametrize("give_up", ["close", "drop"])
def test_a_reader_that_goes_is_no_view(give_up):
    group = MemGroup()
    with connected("unix") as (writer, source):
        source.setblocking(False)
        reader = group.frames(source)
        writer.sendall(framed(noise(1000))[:500])
        assert next_or_none(reader) is None
        assert group.stats().exports == 1
        if give_up == "close":
            reader.close()
            with pytest.raises(ValueError, match="this reader is closed"):
                next(reader)
        else:
            del reader
        assert group.stats().exports == 0
        group.free()
        assert writer.send(b"x") == 1  # the stream is still open


def test_a_received_block_is_like_any_other(group):
    with connected("unix") as (writer, source):
        reader = group.frames(source)
        with sending(writer, [framed(noise(1_000_000))]):
            block = next(reader)
    before = group.stats()
    group.reset()
    # It is no exporter: its slot was not set aside.
    after = group.stats()
    assert (len(after.slots), after.mapped) == (len(before.slots), before.mapped)
    with pytest.raises(ValueError, match="reset"):
        block.tobytes()


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_message_that_has_no_room_can_be_tried_again(size):
    group = MemGroup(limit=400_000)
    with connected("unix") as (writer, source):
        bodies = [noise(size, seed) for seed in range(600_000 // size)]
        with sending(writer, [framed(body) for body in bodies]):
            reader = group.frames(source)
            found, refused = [], 0
            while len(found) < len(bodies):
                try:
                    found.append(bytes(next(reader)))
                except MemoryError:
                    refused += 1
                    group.reset()
            assert found == bodies
            assert refused >= 1
            assert next(reader, None) is None
    group.free()


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


def test_a_source_closed_meanwhile_is_not_somebody_elses_descriptor(group):
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


def test_what_the_stream_reports_is_passed_on(group):
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
        with wrapped, pytest.raises(TypeError, match="encrypted"):
            group.frames(wrapped)
        with pytest.raises(OSError, match="Bad file descriptor"):
            group.frames(sock)
    with open(tmp_path / "closed", "wb") as file:
        pass
    with pytest.raises(ValueError, match="closed file"):
        group.frames(file)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"prefix": 3}, ValueError, "1, 2, 4 or 8 bytes, not 3"),
        ({"prefix": "4"}, TypeError, "prefix must be an integer, not str"),
        ({"byteorder": "network"}, ValueError, '"big" or "little", not \'network\''),
        ({"byteorder": 1}, TypeError, '"big" or "little", not int'),
        ({"limit": -1}, ValueError, "limit must be an integer and not negative, not -1"),
        ({"read_ahead": -1}, ValueError, "read_ahead must not be negative, not -1"),
        ({"read_ahead": 2**60}, MemoryError, "pass a smaller read_ahead"),
        ({"read_ahead": 1.5}, TypeError, "read_ahead must be an integer, not float"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(group, options, kind, message):
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
    # 4 bytes, network order, and no message of theirs is as long as to need more.
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


def test_a_message_begun_before_a_fork_is_the_parents(child):
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
