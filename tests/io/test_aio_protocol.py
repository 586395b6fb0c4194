"""Messages of connections that asyncio's transports receive, plain and through TLS, straight into blocks."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup, aio
from support.loops import ANY_LOOP, PATIENCE, all_messages, message, run_on, with_cancellations
from support.streams import PIECES, framed, in_pieces, noise
from support.tls import CLIENT, SERVER

SIZES = st.lists(st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 150_000)), max_size=20)
EITHER = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@contextmanager
def peer(tls, work, polite=True):
    """Yield a socket whose other end, encrypted or not, is given to `work` in another thread.

    A polite one says when its end of TLS is closed.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]

    def run():
        # The reader may have enough.
        with (
            theirs,
            suppress(OSError),
            SERVER.wrap_socket(theirs, server_side=True) if tls else theirs as end,
        ):
            work(end)
            if polite and isinstance(end, ssl.SSLSocket):
                end.unwrap()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join()


def sends(pieces):
    def work(end):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            end.sendall(piece)

    return work


@asynccontextmanager
async def protocol_of(group, sock, tls, made=aio.FrameProtocol, **description):
    """Yield the protocol of a connection."""
    security = {"ssl": CLIENT, "server_hostname": "localhost"} if tls else {}
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(
        lambda: made(group, **description), sock=sock, **security
    )
    try:
        yield protocol
    finally:
        transport.abort()
        await asyncio.sleep(0)


def transport_of(protocol):
    assert protocol.transport is not None
    return protocol.transport


@EITHER
@pytest.mark.parametrize("read_ahead", [0, 10, 65536])
def test_messages(run, tls, read_ahead):
    bodies = [noise(size) for size in (0, 3, 100_000, 70, 1, 3_000_000, 0)]

    async def receive(group, sock):
        async with protocol_of(group, sock, tls, read_ahead=read_ahead) as protocol:
            return [block async for block in protocol.messages]

    stream = in_pieces(b"".join(map(framed, bodies)), [5, 40_000, 1])
    with MemGroup() as group, peer(tls, sends(stream)) as sock:
        found = run(receive(group, sock))
        assert found == bodies
        assert group.stats().exports == 0


@settings(max_examples=30)
@given(
    sizes=SIZES, pieces=PIECES, patience=PATIENCE, loop=ANY_LOOP, tls=st.booleans(), trailer=st.integers(0, 5)
)
def test_a_cancelled_receive_loses_no_message(sizes, pieces, patience, loop, tls, trailer):
    bodies = [noise(size, seed) for seed, size in enumerate(sizes)]
    stream = b"".join(framed(body) + bytes(trailer) for body in bodies)

    async def receive(group, sock):
        async with protocol_of(group, sock, tls, trailer=trailer) as protocol:
            reader = protocol.messages
            found = await all_messages(reader, patience)
            assert (reader.partial, reader.missing, reader.ahead) == (None, 0, b"")
            return found

    least = len(stream) // 200
    pieces = in_pieces(stream, [max(size, least) for size in pieces])
    with MemGroup() as group, peer(tls, sends(pieces)) as sock:
        assert run_on(loop, receive(group, sock)) == bodies


@EITHER
def test_many_messages_at_once(run, tls):
    bodies = [noise(size, size) for size in (*range(1000), 300_000, 5, 600_000, *range(70))] + [
        b"last",
        b"behind",
    ]

    async def receive(group, sock):
        async with protocol_of(group, sock, tls) as protocol:
            reader = protocol.messages
            found = await with_cancellations(lambda: reader.take(1001), [0, 1, 2, 3] * 5)
            rest = await with_cancellations(lambda: reader.until(b"last"), [0, 1, 2, 3] * 5)
            assert await anext(reader) == b"behind"
            assert await reader.take(1) == []
            return found.tolist() + rest.tolist()

    stream = in_pieces(b"".join(map(framed, bodies)), [9, 30_000, 1])
    with MemGroup() as group, peer(tls, sends(stream)) as sock:
        assert run(receive(group, sock)) == bodies[:-1]


@EITHER
@pytest.mark.parametrize("polite", [False, True])
def test_nothing_is_lost_when_the_peer_closes_while_nobody_receives(run, tls, polite):
    bodies = [noise(size, size) for size in (600_000, *range(500), 300_000, *range(1500, 0, -7))]

    async def receive(group, sock):
        if tls and not polite and type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            return None
        async with protocol_of(group, sock, tls) as protocol:
            found = []
            async for block in protocol.messages:
                found.append(block)
                await asyncio.sleep(0.01 if len(found) in (1, 2, 400) else 0)
            return found

    with MemGroup() as group, peer(tls, sends([b"".join(map(framed, bodies))]), polite) as sock:
        found = run(receive(group, sock))
        if found is None:
            pytest.skip("uvloop drops it, as it does for its StreamReader")
        assert found == bodies


@EITHER
def test_a_large_message_is_stored_straight_into_its_block(run, tls):
    body = noise(4_000_000)
    straight = 0

    class Watched(aio.FrameProtocol):
        def get_buffer(self, sizehint):
            self.buffer = super().get_buffer(sizehint)
            self.is_block = isinstance(self.buffer.obj, MemBlock)
            return self.buffer

        def buffer_updated(self, nbytes):
            nonlocal straight
            del self.buffer
            straight += nbytes if self.is_block else 0
            super().buffer_updated(nbytes)

    async def receive(group, sock):
        async with protocol_of(group, sock, tls, Watched) as protocol:
            return await anext(protocol.messages)

    with MemGroup() as group, peer(tls, sends([framed(body)])) as sock:
        assert run(receive(group, sock)) == body
        assert straight > 2_500_000


@EITHER
def test_the_peer_waits_while_messages_are_not_taken(run, tls):
    sent = 0

    def work(end):
        nonlocal sent
        for _ in range(2000):
            end.sendall(framed(bytes(50_000)))
            sent += 1

    async def receive(group, sock):
        async with protocol_of(group, sock, tls) as protocol:
            assert await anext(protocol.messages) == bytes(50_000)
            before = None
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            return sent

    with MemGroup() as group, peer(tls, work) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        assert run(receive(group, sock)) < 1000
        assert group.stats().requested <= 4 * 50_000


@EITHER
def test_the_peer_hangs_up_within_a_message(run, tls):
    async def receive(group, sock):
        async with protocol_of(group, sock, tls, trailer=2) as protocol:
            reader = protocol.messages
            assert await anext(reader) == b"one"
            for _ in range(2):
                with pytest.raises(EOFError, match="within a message: 3 of its 5 bytes"):
                    await anext(reader)
            assert (reader.partial, reader.missing) == (b"two", 4)
            reader.close()
            with pytest.raises(ValueError, match="closed"):
                await anext(reader)

    stream = framed(b"one") + b".." + framed(b"two..")[:7]
    with MemGroup() as group, peer(tls, sends(in_pieces(stream, [1]))) as sock:
        run(receive(group, sock))
        assert group.free() == 0


def test_the_connection_breaks(run):
    def work(end):
        end.sendall(framed(b"one") + framed(b"two")[:6])
        end.recv(1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def receive(group, sock):
        async with protocol_of(group, sock, False) as protocol:
            assert await anext(protocol.messages) == b"one"
            transport_of(protocol).write(b".")
            with pytest.raises(ConnectionResetError):
                await anext(protocol.messages)
            assert protocol.messages.partial == b"tw"

    with MemGroup() as group, peer(False, work) as sock:
        run(receive(group, sock))


@EITHER
def test_a_connection_that_is_closed_here(run, tls):
    async def receive(group, sock):
        async with protocol_of(group, sock, tls) as protocol:
            waiting = asyncio.ensure_future(message(protocol.messages))
            await asyncio.sleep(0.01)
            transport_of(protocol).abort()
            with pytest.raises(StopAsyncIteration):
                await waiting

    with MemGroup() as group, peer(tls, lambda end: end.recv(1)) as sock:
        run(receive(group, sock))


def test_a_connection_that_is_encrypted_later(run):
    bodies = [noise(size, size) for size in (0, 5, 2_000_000, 300)]

    def work(end):
        end.sendall(framed(b"encrypt"))
        assert end.recv(1) == b"."
        with SERVER.wrap_socket(end, server_side=True) as encrypted:
            encrypted.sendall(b"".join(map(framed, bodies)))
            encrypted.unwrap()

    async def receive(group, sock):
        async with protocol_of(group, sock, False) as protocol:
            assert await anext(protocol.messages) == b"encrypt"
            transport_of(protocol).write(b".")
            transport = await asyncio.get_running_loop().start_tls(
                transport_of(protocol), protocol, CLIENT, server_hostname="localhost"
            )
            assert transport is not None
            protocol.connection_made(transport)
            return [block async for block in protocol.messages]

    with MemGroup() as group, peer(False, work) as sock:
        assert run(receive(group, sock)) == bodies


def test_a_group_freed_while_a_task_waits(run):
    async def receive(group, ours, theirs):
        async with protocol_of(group, ours, False) as protocol:
            waiting = asyncio.ensure_future(message(protocol.messages))
            theirs.sendall(framed(b"abc")[:5])
            await asyncio.sleep(0.01)
            with pytest.raises(BufferError):
                group.free()
            group.free(force=True)
            theirs.sendall(b"bc")
            with pytest.raises(ValueError, match="freed"):
                await waiting

    ours, theirs = socket.socketpair()
    with ours, theirs:
        run(receive(MemGroup(), ours, theirs))


def test_one_task_for_one_connection(run):
    async def receive(group, ours):
        async with protocol_of(group, ours, False) as protocol:
            waiting = asyncio.ensure_future(message(protocol.messages))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(protocol.messages)
            waiting.cancel()

    ours, theirs = socket.socketpair()
    with MemGroup() as group, ours, theirs:
        run(receive(group, ours))


def test_secrets_are_not_decrypted_into_other_memory(run):
    async def receive(group, sock):
        async with protocol_of(group, sock, True) as protocol:
            with pytest.raises(ValueError, match="use an SSLSocket for a secret group"):
                await anext(protocol.messages)

    with MemGroup(secret=True) as group, peer(True, sends([framed(b"secret")])) as sock:
        run(receive(group, sock))


@EITHER
def test_a_server_that_answers(run, tls):
    async def answer(protocol):
        async for block in protocol.messages:
            transport_of(protocol).write(framed(bytes(reversed(block))))
        transport_of(protocol).close()

    class Answering(aio.FrameProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            tasks.append(asyncio.ensure_future(answer(self)))

    async def converse(group):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Answering(group), "127.0.0.1", 0, ssl=SERVER if tls else None
        )
        async with server:
            sock = socket.create_connection(server.sockets[0].getsockname())
            async with protocol_of(group, sock, tls) as protocol:
                for text in (b"abc", noise(200_000), b""):
                    transport_of(protocol).write(framed(text))
                    assert await anext(protocol.messages) == text[::-1]
                if not tls:
                    transport_of(protocol).write_eof()
                    assert [block async for block in protocol.messages] == []
            await asyncio.gather(*tasks)

    tasks = []
    with MemGroup() as group:
        run(converse(group))
