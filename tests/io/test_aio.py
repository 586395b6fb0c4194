"""asyncio: lists and messages through the event loop, cancelled at any point, and no byte lost."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup, aio
from support.loops import ANY_LOOP, PATIENCE, all_messages, message, once, run_on, with_cancellations
from support.streams import KINDS, PIECES, connected, framed, in_pieces, noise, sending


@contextmanager
def non_blocking(kind) -> Iterator[tuple[Any, Any]]:
    """Yield both ends of a stream, the second of which does not block."""
    with connected(kind) as (writer, source):
        os.set_blocking(source.fileno(), False)
        if isinstance(source, socket.socket):
            source.setblocking(False)
        yield writer, source


SIZES = st.lists(st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 150_000)), max_size=30)


@KINDS
def test_messages(run, kind):
    bodies = [noise(size) for size in (0, 3, 100_000, 70, 1, 300_000, 0)]

    async def receive(group, source):
        return [block async for block in aio.frames(group, source)]

    with (
        MemGroup() as group,
        non_blocking(kind) as (writer, source),
        sending(writer, in_pieces(b"".join(map(framed, bodies)), [5, 40_000, 1])),
    ):
        found = run(receive(group, source))
        assert found == bodies
        assert group.stats().exports == 0


@settings(max_examples=40)
@given(
    sizes=SIZES, pieces=PIECES, patience=PATIENCE, loop=ANY_LOOP, read_ahead=st.sampled_from([0, 10, 65536])
)
def test_a_cancelled_receive_loses_no_message(sizes, pieces, patience, loop, read_ahead):
    bodies = [noise(size, seed) for seed, size in enumerate(sizes)]
    stream = b"".join(map(framed, bodies))

    async def receive(group, source):
        reader = aio.frames(group, source, read_ahead=read_ahead)
        found = await all_messages(reader, patience)
        assert (reader.partial, reader.missing, reader.ahead) == (None, 0, b"")
        return found

    least = len(stream) // 200
    with (
        MemGroup() as group,
        non_blocking("unix") as (writer, source),
        sending(writer, in_pieces(stream, [size + least for size in pieces])),
    ):
        assert run_on(loop, receive(group, source)) == bodies


@KINDS
@settings(max_examples=25)
@given(sizes=SIZES, pieces=PIECES, patience=PATIENCE, loop=ANY_LOOP)
def test_a_cancelled_transfer_into_a_list_goes_on(kind, sizes, pieces, patience, loop):
    stream = noise(sum(sizes))

    async def receive(blocks, source):
        receive = aio.readv if kind == "pipe" else aio.recvmsg_into
        transfer = receive(blocks, source)
        moved = await with_cancellations(lambda: once(transfer), patience)
        assert moved == transfer.nbytes
        return moved

    least = len(stream) // 200
    with (
        MemGroup() as group,
        non_blocking(kind) as (writer, source),
        sending(writer, in_pieces(stream, [size + least for size in pieces])),
    ):
        blocks = group.alloc_many(sizes)
        assert run_on(loop, receive(blocks, source)) == len(stream)
        assert blocks.join() == stream


@KINDS
@settings(max_examples=25)
@given(sizes=SIZES, pieces=PIECES, patience=PATIENCE, loop=ANY_LOOP)
def test_a_cancelled_transfer_out_of_a_list_goes_on(kind, sizes, pieces, patience, loop):
    stream = noise(sum(sizes))
    received = []

    async def send(blocks, target):
        send = aio.writev if kind == "pipe" else aio.sendmsg
        transfer = send(blocks, target)
        return await with_cancellations(lambda: once(transfer), patience)

    with MemGroup() as group, connected(kind) as (writer, source):
        os.set_blocking(writer.fileno(), False)

        def read():
            turn = 0
            while data := os.read(source.fileno(), pieces[turn % len(pieces)] + len(stream) // 200):
                received.append(data)
                turn += 1

        thread = threading.Thread(target=read)
        thread.start()
        blocks = group.alloc_many(sizes)
        blocks.fill_from(stream)
        try:
            moved = run_on(loop, send(blocks, writer))
        finally:
            writer.close()
            thread.join()
        assert moved == len(stream)
        assert b"".join(received) == stream


def test_many_blocks_with_gaps_both_ways_at_once(run):
    # More blocks than one system call takes, of every kind: empty, in other slots, in a slice.
    chance = random.Random(1)
    sizes = [chance.choice([0, 1, 15, 17, 400]) for _ in range(30_000)] + [0] * 3000 + [700_000]
    stream = noise(sum(sizes))

    async def both(there, here, a, b):
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(aio.sendmsg(there, a).complete())
            received = await aio.recvmsg_into(here, b)
        return [sending.result(), received]

    ends = socket.socketpair()
    with MemGroup() as one, MemGroup(base=4096) as other, ends[0] as a, ends[1] as b:
        a.setblocking(False)
        b.setblocking(False)
        there, here = one.alloc_many(sizes), other.alloc_many(sizes[::-1])[::-1]
        there.fill_from(stream)
        assert run(both(one.protect(there), here, a, b)) == [len(stream)] * 2
        assert here == there
        assert b"".join(map(bytes, here)) == stream


def test_a_stream_that_ends_before_the_list(run):
    with MemGroup() as group, non_blocking("tcp") as (writer, source):
        blocks = group.alloc_many([3, 0, 5, 4])
        writer.sendall(b"abcdef")
        writer.close()
        transfer = aio.recvmsg_into(blocks, source)
        assert run(once(transfer)) == transfer.nbytes == 6
        assert blocks[0] == b"abc"
        assert blocks[2][:3] == b"def"
        assert run(once(transfer)) == 6


@pytest.mark.parametrize("sizes", [[], [0, 0]])
def test_an_empty_list_moves_nothing(run, sizes):
    with MemGroup() as group, non_blocking("unix") as (_writer, source):
        assert run(once(aio.recvmsg_into(group.alloc_many(sizes), source))) == 0
        assert run(once(aio.sendmsg(group.alloc_many(sizes), source))) == 0


def test_a_timeout_says_how_much_came(run):
    async def receive(transfer, writer):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await transfer
        assert transfer.nbytes == 4
        writer.sendall(b"ef")
        return await transfer

    with MemGroup() as group, non_blocking("tcp") as (writer, source):
        blocks = group.alloc_many([3, 3])
        writer.sendall(b"abcd")
        assert run(receive(aio.recvmsg_into(blocks, source), writer)) == 6
        assert blocks.join() == b"abcdef"


def test_a_peer_that_is_gone(run):
    with MemGroup() as group, connected("unix") as (writer, source):
        writer.setblocking(False)
        blocks = group.alloc_many([1 << 20, 1 << 20])

        async def send():
            transfer = aio.sendmsg(blocks, writer)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await transfer
            before = transfer.nbytes
            assert 0 < before < blocks.nbytes
            source.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await transfer
            return transfer.nbytes - before

        assert run(send()) == 0


def test_a_stream_that_ends_within_a_message(run):
    async def receive(group, source):
        reader = aio.frames(group, source)
        with pytest.raises(EOFError, match="3 of its 5 bytes"):
            await anext(reader)
        assert (reader.partial, reader.missing) == (b"abc", 2)
        reader.close()
        with pytest.raises(ValueError, match="closed"):
            await anext(reader)

    with MemGroup() as group, non_blocking("tcp") as (writer, source):
        writer.sendall(framed(b"abcde")[:7])
        writer.close()
        run(receive(group, source))


def test_a_message_larger_than_the_limit(run):
    async def receive(group, source):
        with pytest.raises(ValueError, match="6 bytes is larger than the limit of 5"):
            await anext(aio.frames(group, source, limit=5, prefix=2, byteorder="little"))

    with MemGroup() as group, non_blocking("unix") as (writer, source):
        writer.sendall(struct.pack("<H", 6) + b"abcdef")
        run(receive(group, source))
        assert group.stats().blocks == 0


def test_a_group_freed_while_a_task_waits(run):
    async def receive(group, source, writer):
        blocks = group.alloc_many([10])
        transfer = aio.recvmsg_into(blocks, source)
        tasks = [asyncio.ensure_future(once(transfer))]
        writer.sendall(b"abc")
        while transfer.nbytes < 3:
            await asyncio.sleep(0)
        group.free()
        writer.sendall(b"rest")
        with pytest.raises(ValueError, match="is freed"):
            await tasks[0]
        assert os.read(source.fileno(), 100) == b"rest"
        with pytest.raises(ValueError, match="is freed"):
            aio.recvmsg_into(blocks, source)
        with pytest.raises(ValueError, match="is freed"):
            aio.frames(group, source)

    with non_blocking("unix") as (writer, source):
        run(receive(MemGroup(), source, writer))


def test_an_unfinished_message_counts_as_a_view(run):
    async def receive(group, source, writer):
        reader = aio.frames(group, source)
        task = asyncio.ensure_future(message(reader))
        writer.sendall(framed(b"abcdef")[:6])
        while group.stats().exports == 0:
            await asyncio.sleep(0)
        with pytest.raises(BufferError):
            group.free()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BufferError):
            group.reset()
        writer.sendall(b"cdef")
        assert await anext(reader) == b"abcdef"
        group.free()

    with non_blocking("unix") as (writer, source):
        run(receive(MemGroup(), source, writer))


def test_one_task_for_one_direction(run):
    async def both(group, source, writer):
        reader = aio.frames(group, source)
        first = asyncio.ensure_future(message(reader))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="message of this reader"):
            await anext(reader)
        transfer = aio.recvmsg_into(group.alloc_many([3]), source)
        with pytest.raises(RuntimeError, match="waiting to read on descriptor"):
            await transfer
        # The other direction is free.
        assert await aio.sendmsg(group.alloc_many([3]), source) == 3
        writer.sendall(framed(b"abc"))
        assert await first == b"abc"
        second = asyncio.ensure_future(once(transfer))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="awaiting this transfer"):
            await transfer
        writer.sendall(b"abc")
        assert await second == 3

    with MemGroup() as group, non_blocking("unix") as (writer, source):
        run(both(group, source, writer))


def test_other_tasks_run_while_a_stream_is_always_ready(run, tmp_path):
    bodies = [noise(size) for size in (5_000_000, 5_000_000, *[10] * 20_000)]
    path = tmp_path / "messages"
    path.write_bytes(b"".join(map(framed, bodies)))
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def receive(group, work):
        nonlocal turns
        counting = asyncio.ensure_future(count())
        await asyncio.sleep(0)
        turns = 0
        result = await work
        counting.cancel()
        return result

    async def messages(group, descriptor):
        return [block async for block in aio.frames(group, descriptor)]

    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with MemGroup() as group:
        assert run(receive(group, messages(group, descriptor))) == bodies
        assert turns >= 12
        os.lseek(descriptor, 0, os.SEEK_SET)
        blocks = group.alloc_many([100_000] * 100)
        assert run(receive(group, once(aio.readv(blocks, descriptor)))) == 10_000_000
        assert turns >= 8
        assert blocks.join() == path.read_bytes()[:10_000_000]
    os.close(descriptor)


def test_streams_that_cannot_be_awaited_are_refused_at_once(group):
    protected = group.protect(group.alloc_many([3]))
    with connected("unix") as (_writer, source):
        for make in (
            lambda: aio.recvmsg_into(group.alloc_many([3]), source),
            lambda: aio.sendmsg(group.alloc_many([3]), source),
            lambda: aio.readv(group.alloc_many([3]), source),
            lambda: aio.writev(group.alloc_many([3]), source),
            lambda: aio.frames(group, source),
        ):
            with pytest.raises(ValueError, match=r"sock.setblocking\(False\)"):
                make()
        source.setblocking(False)
        for receive in (aio.recvmsg_into, aio.readv):
            with pytest.raises(TypeError, match="protected"):
                receive(protected, source)
    with pytest.raises(OSError, match="Bad file descriptor"):
        aio.recvmsg_into(group.alloc_many([3]), source)
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match="SOCK_STREAM"):
        aio.sendmsg(protected, sock)
    with pytest.raises(TypeError, match="not object"):
        aio.frames(group, cast("Any", object()))


def test_a_stream_that_blocks_again_is_noticed(run):
    with MemGroup() as group, non_blocking("unix") as (_writer, source):
        transfer = aio.recvmsg_into(group.alloc_many([3]), source)
        source.setblocking(True)
        with pytest.raises(ValueError, match="must be non-blocking"):
            run(once(transfer))


def test_a_peer_that_is_gone_is_an_error_and_no_signal(child):
    child.output("""
        import asyncio, signal, socket
        from memgroup import aio
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        peer.close()
        blocks = MemGroup().alloc_many([10, 10])
        async def main():
            try:
                await aio.sendmsg(blocks, ours)
            except BrokenPipeError:
                return
            raise AssertionError("sent")
        asyncio.run(main())
    """)


def test_a_stream_closed_while_a_task_waits_gives_way_to_its_successor(group):
    async def main():
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        waiting = asyncio.ensure_future(aio.recvmsg_into(group.alloc_many([4]), ours).complete())
        await asyncio.sleep(0.01)
        number = ours.fileno()
        ours.close()
        new, other = socket.socketpair()
        with peer, new, other:
            assert new.fileno() == number  # the lowest free descriptor
            new.setblocking(False)
            blocks = group.alloc_many([4])
            task = asyncio.ensure_future(aio.recvmsg_into(blocks, new).complete())
            await asyncio.sleep(0.01)
            waiting.cancel()
            other.send(b"abcd")
            assert await asyncio.wait_for(task, 5) == 4
            assert bytes(blocks[0]) == b"abcd"

    asyncio.run(main())


def test_a_write_of_zero_bytes_is_an_error(child):
    """No ordinary descriptor does that, so a seccomp filter makes writev(2) return 0."""
    said = child.output("""
        import asyncio, struct, platform
        from memgroup import aio
        if platform.machine() != "x86_64":
            sys.exit(print("the number of writev is another on this machine"))
        libc = ctypes.CDLL(None, use_errno=True)
        blocks = MemGroup().alloc_many([10, 10])
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        transfer = aio.writev(blocks, writer)
        load, equal, answer = (0x20, 0, 0), (0x15, 0, 1), (0x06, 0, 0)
        program = b"".join(struct.pack("HBBI", *part) for part in (
            (*load, 0), (*equal, 20), (*answer, 0x00050000), (*answer, 0x7FFF0000)
        ))
        kept = ctypes.create_string_buffer(program)
        filter = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        if libc.prctl(22, 2, filter) != 0:
            sys.exit(print("no filter may be set here"))
        async def main():
            await transfer
        for write in (lambda: asyncio.run(main()), lambda: blocks.writev(writer)):
            try:
                write()
            except OSError as error:
                assert error.errno == errno.EIO and "accepts no more bytes" in str(error), error
            else:
                raise AssertionError
    """)
    if said:
        pytest.skip(said)
