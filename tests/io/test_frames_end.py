"""Length-prefixed messages: signals, ends, and memory that runs out."""

from __future__ import annotations

import random
import signal
import socket
import time

import pytest
from conftest import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup
from support.streams import (
    BODIES,
    PIECES,
    bodies_of,
    connected,
    framed,
    in_pieces,
    is_receiving,
    next_or_none,
    noise,
    receiving,
    sending,
    until,
)


class StopError(Exception):
    pass


@pytest.fixture
def on_alarm():
    """Have alarms call a function."""
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


def test_an_unfinished_message_counts_as_a_view(backing):
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
            group.reset()  # the reader waits for a message of the new epoch
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
                    # Its memory may have a new owner now.
                    blocks += [MemGroup(backing=mirrored).copy(b"x" * 150_000)]
                    source.shutdown(socket.SHUT_RDWR)
                outcomes.add(type(found[-1]))
                assert found[-1] is None or "is freed" in str(found[-1]) or len(found) == 21
            assert all(block == b"x" * 150_000 for block in blocks)
        assert ValueError in outcomes


def test_a_gentle_end_keeps_an_unfinished_message():
    with connected("unix") as (writer, source):
        group = MemGroup()
        source.setblocking(False)
        reader = group.frames(source)
        writer.sendall(framed(noise(1000))[:500])
        assert next_or_none(reader) is None
        group.__exit__(None, None, None)
        writer.sendall(framed(noise(1000))[500:])
        with pytest.raises(ValueError, match="has ended and is freed"):
            next(reader)


@pytest.mark.parametrize("give_up", ["close", "drop"])
def test_a_dropped_reader_is_no_view(give_up):
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
def test_a_message_without_room_can_be_tried_again(size):
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
