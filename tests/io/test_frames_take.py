"""Many messages as one list: nothing is lost, whatever comes between."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup, aio
from support.streams import (
    AHEAD,
    BODIES,
    KINDS,
    PIECES,
    bodies_of,
    connected,
    framed,
    in_pieces,
    is_receiving,
    noise,
    sending,
    until,
)


@KINDS
@settings(max_examples=40)
@given(
    sizes=BODIES,
    read_ahead=AHEAD,
    pieces=PIECES,
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
)
def test_lists_of_messages_are_what_single_messages_would_be(kind, sizes, read_ahead, pieces, counts):
    bodies = bodies_of(sizes, 4)
    stream = b"".join(map(framed, bodies))
    least = len(stream) // 300
    with (
        MemGroup() as group,
        connected(kind) as (writer, source),
        sending(writer, in_pieces(stream, [size + least for size in pieces])),
    ):
        reader = group.frames(source, read_ahead=read_ahead)
        found, turn = [], 0
        while len(found) < len(bodies):
            count = counts[turn % len(counts)]
            turn += 1
            # A block now and then.
            if count == 4:
                found.append(next(reader))
                continue
            taken = reader.take(count)
            assert len(taken) == min(count, len(bodies) - len(found))
            assert not taken.readonly
            found += taken
        assert [bytes(block) for block in found] == bodies
        assert len(reader.take(3)) == len(reader.take(3)) == 0
        stats = group.stats()
        assert (stats.blocks, stats.requested, stats.exports) == (len(bodies), sum(map(len, bodies)), 0)


def test_a_list_of_many_messages_has_their_sizes_and_places(group):
    with connected("unix") as (writer, source), sending(writer, [framed(noise(100)) * 5000]):
        taken = group.frames(source).take(5000)
        assert len(taken) == 5000
        assert taken.sizes.tolist() == [100] * 5000
        assert taken.nbytes == 500_000
        assert set(map(bytes, taken)) == {noise(100)}
        assert isinstance(taken[0], MemBlock)
        assert all(offset % 16 == 0 for offset in taken.offsets)


@pytest.mark.parametrize("read_ahead", [0, 10, 65536])
def test_until_a_message_that_starts_so(group, read_ahead):
    bodies = [b"D1", b"D22", noise(100_000), b"Z", b"D3", b"Zx" + noise(70_000), b"Y"]
    with (
        connected("unix") as (writer, source),
        sending(writer, in_pieces(b"".join(map(framed, bodies)), [999])),
    ):
        reader = group.frames(source, read_ahead=read_ahead)
        assert list(reader.until(b"Z")) == bodies[:4]
        assert list(reader.until(b"Zx")) == bodies[4:6]
        # The stream ends before.
        assert list(reader.until(b"Z")) == bodies[6:]
        assert list(reader.until(b"Z")) == []
    with connected("unix") as (writer, source), sending(writer, [framed(b"one") + framed(b"two")]):
        assert list(group.frames(source).until(b"")) == [b"one"]


MESSAGES = [b"first", b"", noise(3000), b"Z last"]


@pytest.mark.parametrize("ask", [lambda reader: reader.take(4), lambda reader: reader.until(b"Z")])
@pytest.mark.parametrize("read_ahead", [0, 100, 65536])
def test_what_has_arrived_is_kept_when_there_is_no_more_right_now(group, ask, read_ahead):
    stream = b"".join(framed(body) + b"CRC" for body in MESSAGES)
    ends = [sum(len(body) + 7 for body in MESSAGES[: index + 1]) for index in range(4)]
    # Within headers, bodies and trailers.
    for cuts in ([2, 11, 40, 3020], [4, 6, 9, 12, 14, 3022], list(range(12, 24)), [12, 19, 3026]):
        with connected("unix") as (writer, source):
            source.setblocking(False)
            reader = group.frames(source, read_ahead=read_ahead, trailer=3)
            before = 0
            for cut in cuts:
                writer.sendall(stream[before:cut])
                before = cut
                with pytest.raises(BlockingIOError):
                    ask(reader)
                assert reader.pending == sum(end <= cut for end in ends)
                assert group.stats().exports >= (reader.pending > 0)
            writer.sendall(stream[before:])
            taken = ask(reader)
            assert list(taken) == MESSAGES
            assert (reader.pending, group.stats().exports) == (0, 0)


def test_fewer_than_have_been_kept_may_be_taken(group):
    bodies = [noise(size, size) for size in (5, 0, 70_000, 12, 3, 9)]
    with connected("unix") as (writer, source), sending(writer, [b"".join(map(framed, bodies))], stall=0.2):
        source.settimeout(0.1)
        reader = group.frames(source)
        with pytest.raises(TimeoutError):
            reader.take(7)
        assert reader.pending == 6
        with pytest.raises(BufferError):
            group.reset()
        assert list(reader.take(2)) == bodies[:2]
        assert next(reader) == bodies[2]
        assert list(reader.until(bodies[4])) == bodies[3:5]
        assert reader.pending == 1
        assert list(reader.take(reader.pending)) == bodies[5:]
        group.reset()


@pytest.mark.parametrize("read_ahead", [0, 65536])
def test_a_peer_that_hangs_up_within_a_message(group, read_ahead):
    stream = (framed(b"first") + b"CRC") * 2
    for cut in range(13, len(stream)):
        with connected("unix") as (writer, source):
            writer.sendall(stream[:cut])
            writer.close()
            reader = group.frames(source, read_ahead=read_ahead, trailer=3)
            # What came before is returned first.
            assert list(reader.take(5)) == [b"first"]
            for _ in range(2):
                with pytest.raises(EOFError, match="the stream ended within"):
                    reader.take(5)
            if cut < 16:
                assert (reader.partial, reader.ahead) == (None, stream[12:cut])
            else:
                assert reader.partial == b"first"[: cut - 16]
                assert reader.missing == len(stream) - cut
            reader.close()


def test_a_stream_out_of_step_returns_what_came_before_first(group):
    with connected("unix") as (writer, source):
        writer.sendall(framed(b"one") + framed(b"two") + b"\xff" * 10)
        reader = group.frames(source)
        assert list(reader.take(5)) == [b"one", b"two"]
        for _ in range(2):
            with pytest.raises(ValueError, match="it is message 2, at byte 14"):
                reader.take(5)
        assert reader.ahead == b"\xff" * 10


def test_a_signal_ends_a_call_that_waits_and_the_next_goes_on(group):
    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with connected("tcp") as (writer, source):
            reader = group.frames(source)
            writer.sendall(framed(b"one") + framed(b"two")[:5])
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(StopError):
                reader.take(2)
            assert reader.pending == 1
            writer.sendall(framed(b"two")[5:])
            assert list(reader.take(2)) == [b"one", b"two"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_group_without_room_loses_no_message():
    bodies = [noise(1000, seed) for seed in range(300)]
    with (
        MemGroup(limit=128 * 1024) as group,
        connected("unix") as (writer, source),
        sending(writer, [b"".join(map(framed, bodies))]),
    ):
        reader, found, refused = group.frames(source), [], 0
        while len(found) < len(bodies):
            try:
                found += map(bytes, reader.take(300))
            except MemoryError:
                refused += 1
                assert reader.pending >= 50
                found += map(bytes, reader.take(reader.pending))
                group.reset()
        assert found == bodies
        assert refused >= 2


def test_other_threads_run_and_free_the_group_while_nothing_has_come(group):
    with connected("unix") as (_, source):
        reader, errors = group.frames(source), []

        def take():
            try:
                reader.take(1)
            except ValueError as error:
                errors.append(str(error))

        thread = threading.Thread(target=take)
        thread.start()
        until(lambda: is_receiving(reader))
        group.free()
        source.shutdown(2)
        thread.join()
        assert "is freed" in errors[0]


def keeping_one(group, writer, source):
    """Make a reader that has received a message of the two that were wanted."""
    source.setblocking(False)
    writer.sendall(framed(b"one"))
    reader = group.frames(source)
    with pytest.raises(BlockingIOError):
        reader.take(2)
    return reader


def test_a_reader_that_is_closed_or_dies_gives_up_what_it_kept(group):
    for end in (lambda reader: reader.close(), lambda reader: None):
        with connected("unix") as (writer, source):
            reader = keeping_one(group, writer, source)
            assert group.stats().exports == 1
            end(reader)
            del reader
            assert group.stats().exports == 0
            group.reset()


def test_a_group_freed_by_force_says_so(group):
    with connected("unix") as (writer, source):
        reader = keeping_one(group, writer, source)
        group.free(force=True)
        for use in (lambda: reader.take(1), lambda: reader.until(b"o"), lambda: next(reader)):
            with pytest.raises(ValueError, match="is freed"):
                use()


def test_an_object_that_stores_by_itself(group):
    class Source:
        def __init__(self, stream, piece):
            self.stream, self.piece = stream, piece

        def readinto(self, buffer):
            piece = self.stream[: min(self.piece, len(buffer))]
            self.stream = self.stream[len(piece) :]
            buffer[: len(piece)] = piece
            return len(piece)

    bodies = [noise(size, size) for size in (5, 0, 70_000, 100_000, 12, 300)]
    stream = b"".join(map(framed, bodies))
    for piece in (1000, 100_000):
        reader = group.frames(Source(stream, piece))
        assert list(reader.take(3)) == bodies[:3]
        assert list(reader.take(9)) == bodies[3:]
        assert list(reader.take(9)) == []


@pytest.mark.parametrize(
    ("use", "kind", "message"),
    [
        (lambda reader: reader.take(-1), ValueError, "count must not be negative, not -1"),
        (lambda reader: reader.take("1"), TypeError, "count must be an integer, not str"),
        (
            lambda reader: reader.until("Z"),
            TypeError,
            "last must be bytes or a function of a message, not str",
        ),
    ],
)
def test_invalid_arguments_are_refused(group, use, kind, message):
    with connected("unix") as (_, source), pytest.raises(kind, match=message):
        use(group.frames(source))


def test_lists_are_awaited_and_a_cancelled_call_loses_nothing(group):
    async def main():
        with connected("unix") as (writer, source):
            source.setblocking(False)
            reader = aio.frames(group, source)
            writer.sendall(framed(b"one") + framed(b"two")[:6])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.take(3), 0.05)
            assert reader.pending == 1
            writer.sendall(framed(b"two")[6:] + framed(b"three") + framed(b"Z") + framed(b"four"))
            assert list(await reader.take(3)) == [b"one", b"two", b"three"]
            assert list(await reader.until(b"Z")) == [b"Z"]
            seen = []
            waiting = asyncio.create_task(
                reader.until(lambda block: seen.append(bytes(block)) or block == b"Y")
            )
            for message in (b"5", b"6", b"Y"):
                writer.sendall(framed(message))
                await asyncio.sleep(0.02)
            assert list(await waiting) == seen == [b"four", b"5", b"6", b"Y"]
            writer.sendall(framed(b"four"))
            writer.close()
            assert list(await reader.take(3)) == [b"four"]
            assert list(await reader.take(3)) == []

    asyncio.run(main())


def test_a_child_has_what_its_parent_kept(child):
    child.output("""
        import os, socket
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        group = MemGroup()
        reader = group.frames(ours)
        peer.send(b"\\0\\0\\0\\3one" b"\\0\\0\\0\\3two")
        try:
            reader.take(3)
        except BlockingIOError:
            assert reader.pending == 2
        if os.fork() == 0:
            taken = list(map(bytes, reader.take(2)))
            group.reset()
            os._exit(0 if taken == [b"one", b"two"] else 1)
        assert os.wait()[1] == 0
        assert list(map(bytes, reader.take(2))) == [b"one", b"two"]
        assert group.stats().exports == 0
    """)


def test_other_threads_run_while_messages_are_collected(group):
    steps = 0
    done = threading.Event()

    def count():
        nonlocal steps
        while not done.is_set():
            steps += 1

    with (
        connected("unix") as (writer, source),
        sending(writer, [framed(b"x" * 100) * 1000] * 50, stall=0.002),
    ):
        thread = threading.Thread(target=count)
        thread.start()
        assert len(group.frames(source).take(50_000)) == 50_000
        done.set()
        thread.join()
    assert steps > 1000


@pytest.mark.parametrize("read_ahead", [0, 10, 65536])
def test_until_a_function_says_so(group, read_ahead):
    bodies = [b"D1", b"D22", noise(100_000), b"Z", b"D3", b"E" * 70_000, b"Y"]
    seen = []

    def is_last(message):
        seen.append(bytes(message))
        with pytest.raises(RuntimeError, match="receiving right now"):
            next(reader)
        if message == b"Z" and len(seen) == 4:
            raise KeyError(len(seen))
        return len(message) == 1

    with (
        connected("unix") as (writer, source),
        sending(writer, in_pieces(b"".join(map(framed, bodies)), [999])),
    ):
        reader = group.frames(source, read_ahead=read_ahead)
        with pytest.raises(KeyError):
            reader.until(is_last)
        assert reader.pending >= 4
        assert list(reader.until(is_last)) == bodies[:4]
        assert seen == bodies[:4] * 2
        # What was read ahead comes next.
        assert list(reader.until(is_last)) == bodies[4:]
        assert list(reader.until(is_last)) == []
    assert group.stats().exports == 0


def test_a_function_is_called_before_the_reader_waits_for_more(group):
    with connected("unix") as (writer, source):
        source.settimeout(5)
        reader = group.frames(source)
        writer.sendall(framed(b"one") + framed(b"two") + framed(b"three"))
        assert list(reader.until(lambda message: message == b"two")) == [b"one", b"two"]
        assert reader.pending == 1
        assert list(reader.until(lambda message: message == b"three")) == [b"three"]
