"""Messages of asyncio's own `StreamReader`."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup, aio
from support.loops import ANY_LOOP, PATIENCE, all_messages, message, run_on
from support.streams import PIECES, framed, in_pieces, noise, sending

SIZES = st.lists(st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 150_000)), max_size=20)


@settings(max_examples=30)
@given(
    sizes=SIZES, pieces=PIECES, patience=PATIENCE, loop=ANY_LOOP, read_ahead=st.sampled_from([0, 10, 65536])
)
def test_a_cancelled_receive_loses_no_message(sizes, pieces, patience, loop, read_ahead):
    bodies = [noise(size, seed) for seed, size in enumerate(sizes)]
    stream = b"".join(map(framed, bodies))

    async def receive(group, sock):
        source, writer = await asyncio.open_connection(sock=sock)
        reader = aio.frames(group, source, read_ahead=read_ahead)
        found = await all_messages(reader, patience)
        assert (reader.partial, reader.missing, reader.ahead) == (None, 0, b"")
        writer.close()
        await writer.wait_closed()
        return found

    least = len(stream) // 200
    ours, theirs = socket.socketpair()
    with MemGroup() as group, sending(theirs, in_pieces(stream, [max(size, least) for size in pieces])):
        assert run_on(loop, receive(group, ours)) == bodies


def fed(*pieces, ended=True):
    """Return a StreamReader that has received all of it."""
    source = asyncio.StreamReader()
    for piece in pieces:
        source.feed_data(piece)
    if ended:
        source.feed_eof()
    return source


def test_many_messages_at_once(run, group):
    bodies = [noise(size, size) for size in (*range(500), 300_000, 5)]

    async def receive():
        reader = aio.frames(group, fed(*in_pieces(b"".join(map(framed, bodies)), [7, 70_000])))
        assert await reader.take(501) == bodies[:501]
        assert await reader.until(b"no such message") == bodies[501:]

    run(receive())


def test_nothing_is_taken_behind_a_message(run, group):
    async def receive():
        source = fed(framed(b"one") + framed(noise(100_000)) + b"a line\n")
        reader = aio.frames(group, source, read_ahead=0)
        assert await anext(reader) == b"one"
        assert await anext(reader) == noise(100_000)
        assert reader.ahead == b""
        assert await source.readline() == b"a line\n"

    run(receive())


def test_a_stream_that_ends_or_breaks_within_a_message(run, group):
    async def receive():
        reader = aio.frames(group, fed(framed(b"one") + framed(b"two")[:6]))
        assert await anext(reader) == b"one"
        for _ in range(2):
            with pytest.raises(EOFError, match="2 of its 3 bytes"):
                await anext(reader)
        assert reader.partial == b"tw"

        source = fed(framed(b"two")[:6], ended=False)
        reader = aio.frames(group, source)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(message(reader), 0.01)
        assert (reader.partial, reader.missing) == (b"tw", 1)
        source.set_exception(ConnectionResetError())
        with pytest.raises(ConnectionResetError):
            await anext(reader)
        assert reader.partial == b"tw"

    run(receive())


def test_lines_that_a_program_prints(run, group):
    async def receive():
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(*range(50_000), sep='\\n')", stdout=asyncio.subprocess.PIPE
        )
        assert program.stdout is not None
        found = [int(block.decode()) async for block in aio.frames(group, program.stdout, delimiter=b"\n")]
        await program.wait()
        return found

    assert asyncio.run(receive()) == list(range(50_000))


def test_a_secret_group_refuses_what_other_memory_holds(run):
    async def receive():
        with MemGroup(secret=True) as group, pytest.raises(ValueError, match="pass the socket itself"):
            aio.frames(group, fed(b""))

    run(receive())
