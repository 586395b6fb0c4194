"""Lists sent as messages: what a reader of the same description finds."""

from __future__ import annotations

import asyncio
import io
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup, aio
from support.streams import connected, noise

DESCRIPTIONS = [
    {},
    {"length_size": 3},
    {"length_size": 8, "byteorder": "little"},
    {"prefix": 4, "counts_prefix": True},
    {"length_size": 3, "adjust": -7},
    {"length": "varint"},
    {"length": "varint", "adjust": -1},
    {"delimiter": b"\n"},
    {"delimiter": b"--end--"},
]
SIZES = st.lists(st.sampled_from([0, 1, 126, 127, 128, 300]) | st.integers(0, 40_000), max_size=30)


def filled(group, sizes):
    """A list of blocks without any delimiter in them."""
    blocks = group.alloc_many(sizes)
    for number, block in enumerate(blocks):
        block[:] = noise(len(block), number).replace(b"\n", b"-").replace(b"--", b"ab")
    return blocks


@settings(max_examples=80)
@given(
    sizes=SIZES,
    description=st.sampled_from(DESCRIPTIONS),
    step=st.sampled_from([1, 2, -1]),
    protects=st.booleans(),
)
def test_a_reader_finds_what_was_framed(sizes, description, step, protects):
    with MemGroup() as group:
        blocks = filled(group, sizes)[::step]
        if protects:
            blocks = group.protect(blocks)
        framed = blocks.framed(**description)
        assert len(framed) == 2 * len(blocks)
        stream = framed.join()
        assert list(group.frames(io.BytesIO(stream), **description)) == list(blocks)
        # The blocks are not copied.
        if not protects and len(blocks) > 0 and len(blocks[0]) > 0:
            index = 0 if "delimiter" in description else 1
            assert framed[index].address == blocks[0].address


@pytest.mark.parametrize("kind", ["tcp", "unix", "pipe"])
def test_a_list_is_sent_as_messages(group, kind):
    blocks = filled(group, [100] * 5000 + [1_000_000, 0])
    with connected(kind) as (writer, source):
        framed = blocks.framed(length_size=3)

        def send():
            assert framed.writev(writer) == framed.nbytes == blocks.nbytes + 3 * len(blocks)
            writer.close()

        thread = threading.Thread(target=send)
        thread.start()
        assert group.frames(source, length_size=3).take(10_000) == blocks
        thread.join()


def test_a_list_is_sent_by_asyncio(group):
    async def main():
        blocks = filled(group, [100] * 5000 + [1_000_000, 0])
        with connected("unix") as (writer, source):
            writer.setblocking(False)
            source.setblocking(False)
            receiving = asyncio.create_task(aio.frames(group, source).take(len(blocks)))
            await aio.sendmsg(blocks.framed(), writer)
            assert await receiving == blocks

    asyncio.run(main())


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"length_size": 1}, "block 1: the length of 300 bytes cannot be written as 1 bytes"),
        ({"limit": 299}, "block 1: 300 bytes are more than the limit of 299"),
        ({"adjust": 6}, "block 0: the length of 5 bytes cannot be written as 4 bytes"),
        ({"length_offset": 1}, "length_offset describes a part that is no length"),
        ({"header": 5}, "header describes a part that is no length"),
        ({"skip": 0}, "skip describes a part that is no length"),
        ({"trailer": 4}, "trailer describes a part that is no length"),
        ({"delimiter": b"ell"}, "block 0 has the delimiter in it"),
        ({"delimiter": b""}, "delimiter must not be empty"),
    ],
)
def test_what_cannot_be_framed_is_refused(group, description, message):
    blocks = group.alloc_many([5, 300])
    blocks[0][:] = b"hello"
    before = group.stats().as_dict()
    with pytest.raises(ValueError, match=message):
        blocks.framed(**description)
    assert group.stats().as_dict() == before


def test_a_freed_list_is_refused(group):
    blocks = group.alloc_many([5])
    group.reset()
    with pytest.raises(ValueError, match="reset"):
        blocks.framed()
    with pytest.raises(TypeError, match=r"framed\(\) got an unexpected keyword argument 'size'"):
        group.alloc_many([5]).framed(size=4)
