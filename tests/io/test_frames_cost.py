"""What it costs to collect many messages: as much for each, however many there are."""

from __future__ import annotations

import asyncio
from time import process_time

import pytest
from memgroup import MemGroup, aio
from memgroup.aio import messages
from support.streams import connected, sending

MESSAGE = b"\x07message"
FEW = 1 << 14


def collected(count, collect):
    """Processor time for so many messages, which are waited for and read in parts of 4 KiB."""

    async def receive(source):
        reader = aio.frames(group, source, read_ahead=4096, prefix=1)
        assert len(await collect(reader, count)) == count

    with MemGroup() as group, connected("unix") as (writer, source):
        source.setblocking(False)
        with sending(writer, [MESSAGE * (count - 1), b"\x03end"]):
            start = process_time()
            asyncio.run(receive(source))
            return process_time() - start


@pytest.mark.parametrize(
    "collect",
    [
        pytest.param(lambda reader, count: reader.take(count), id="take"),
        pytest.param(lambda reader, count: reader.until(b"end"), id="until"),
        pytest.param(lambda reader, count: reader.until(lambda message: message == b"end"), id="until-test"),
    ],
)
@pytest.mark.thread_unsafe(reason="it measures processor time")
def test_the_cost_of_a_message_does_not_grow_with_those_before_it(monkeypatch, collect):
    monkeypatch.setattr(messages, "AT_ONCE", 4096)
    few = min(collected(FEW, collect) for _ in range(3))
    many = min(collected(16 * FEW, collect) for _ in range(2))
    assert many < 40 * few
