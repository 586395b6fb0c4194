"""Length-prefixed messages into blocks: every byte arrives, for all peers, pieces, signals and ends."""

from __future__ import annotations

import os
import shutil
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup
from support.streams import (
    AHEAD,
    BODIES,
    KINDS,
    PIECES,
    bodies_of,
    connected,
    framed,
    in_pieces,
    next_or_none,
    noise,
    send,
    sending,
)

FORMATS = st.fixed_dictionaries(
    {
        "prefix": st.sampled_from([1, 2, 4, 8]),
        "byteorder": st.sampled_from(["big", "little"]),
        "counts_prefix": st.booleans(),
    }
)


@KINDS
@settings(max_examples=40)
@given(sizes=BODIES, form=FORMATS, read_ahead=AHEAD, pieces=PIECES)
def test_messages_come_out_as_they_went_in(kind, sizes, form, read_ahead, pieces):
    bodies = bodies_of(sizes, form["prefix"])
    stream = b"".join(framed(body, **form) for body in bodies)
    # More pieces of a byte or two would take long and show nothing new.
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
def test_receiving_from_a_nonblocking_stream_continues(sizes, form, read_ahead, pieces):
    bodies = bodies_of(sizes, form["prefix"])
    stream = b"".join(framed(body, **form) for body in bodies)
    least = len(stream) // 300
    with MemGroup() as group, connected("unix") as (writer, source):
        source.setblocking(False)
        reader = group.frames(source, read_ahead=read_ahead, **form)
        found, sent = [], 0
        # Pieces that fit into a socket's buffer.
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
def test_the_reader_waits_for_a_peer_that_stalls(kind):
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
                assert f"within a header: {len(begun)} of its 4 bytes" in str(error)
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
            with pytest.raises(ValueError, match=f"a message of {size} bytes .* limit of 1000.* at byte"):
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
        with pytest.raises(ValueError, match="a length of 2 does not include the 4 bytes that it must count"):
            next(reader)


@KINDS
def test_without_reading_ahead_the_stream_stops_right_after_the_message(group, kind):
    with connected(kind) as (writer, source):
        send(writer, framed(b"upgrade") + framed(noise(1000)) + b"something else")
        reader = group.frames(source, read_ahead=0)
        assert [next(reader), next(reader)] == [b"upgrade", noise(1000)]
        assert os.read(source.fileno(), 100) == b"something else"


def test_bytes_read_ahead_are_shown(group):
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
