"""Messages of which more is skipped than their header, as tokio-util and Netty allow it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from memgroup import MemGroup
from support.streams import PIECES, Pieces, connected, in_pieces, noise


def of_tokio(size, offset=0, adjustment=0, num_skip=None):
    """The options for a builder of tokio-util's codec, which counts a payload from where it is shown."""
    end = offset + size
    skip = end if num_skip is None else num_skip
    return {"length_offset": offset, "length_size": size, "adjust": adjustment + skip - end, "skip": skip}


def by_tokio(stream, size, offset=0, adjustment=0, num_skip=None):
    """What tokio-util's codec finds in a stream of whole messages, and None where it refuses a length.

    It looks at a length when all that is skipped is there; here, as soon as the header is.
    """
    found, end = [], offset + size
    skip = end if num_skip is None else num_skip
    while stream:
        shown = int.from_bytes(stream[offset:end], "big") + adjustment
        if shown < 0:
            return [*found, None]
        found.append(stream[skip : skip + shown])
        stream = stream[skip + shown :]
    return found


EXAMPLES = [
    # Those of its documentation, by their own numbers.
    ((2,), b"\x00\x0bHello world", b"Hello world"),
    ((2, 0, 2, 0), b"\x00\x0bHello world", b"\x00\x0bHello world"),
    ((2, 0, -2), b"\x00\x0dHello world", b"Hello world"),
    ((3, 0, 3 + 2, 0), b"\x00\x00\x0b\xca\xfeHello world", b"\x00\x00\x0b\xca\xfeHello world"),
    ((2, 1, 1, 3), b"\xca\x00\x0b\xfeHello world", b"\xfeHello world"),
    ((2, 1, -3, 3), b"\xca\x00\x0f\xfeHello world", b"\xfeHello world"),
    ((3, 0, 0, 4), b"\x00\x00\x0b\xffHello world", b"Hello world"),
    # Those of its tests that skip something.
    ((2, 2, 4, 0), b"xx\x00\x09abcdefghi", b"xx\x00\x09abcdefghi"),
    ((3, 0, 0, 4), b"\x00\x00\x0b\x0cHello world", b"Hello world"),
    # What is skipped reaches into what the length counts.
    ((2, 0, -6, 8), b"\x00\x0bHello world", b"world"),
    ((2, 0, -11, 13), b"\x00\x0bHello world", b""),
]


@pytest.mark.parametrize(("builder", "message", "shown"), EXAMPLES)
@pytest.mark.parametrize("read_ahead", [0, 1, 65536])
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_the_examples_of_tokio(group, builder, message, shown, read_ahead, piece):
    assert by_tokio(message * 3, *builder) == [shown] * 3
    source = Pieces(in_pieces(message * 3, [piece]))
    assert list(group.frames(source, read_ahead=read_ahead, **of_tokio(*builder))) == [shown] * 3
    again = group.frames(Pieces(in_pieces(message * 3, [piece])), read_ahead=read_ahead, **of_tokio(*builder))
    assert again.take(5) == [shown] * 3


@given(
    size=st.integers(1, 4),
    offset=st.integers(0, 4),
    behind=st.integers(-3, 3),
    skipped=st.integers(0, 12),
    sizes=st.lists(st.integers(0, 60), max_size=8),
    read_ahead=st.sampled_from([0, 1, 7, 65536]),
    pieces=PIECES,
)
@example(size=2, offset=0, behind=0, skipped=12, sizes=[12, 11], read_ahead=0, pieces=[1])
def test_messages_are_those_of_tokio(size, offset, behind, skipped, sizes, read_ahead, pieces):
    builder = (size, offset, -skipped - behind, offset + size + skipped)
    stream = b"".join(
        b"<" * offset + (count + behind).to_bytes(size, "big") + noise(count, count)
        for count in sizes
        if count + behind >= 0
    )
    expected = by_tokio(stream, *builder)
    is_refused = expected[-1:] == [None]
    whole = expected[:-1] if is_refused else expected
    with MemGroup() as group:
        reader = group.frames(Pieces(in_pieces(stream, pieces)), read_ahead=read_ahead, **of_tokio(*builder))
        assert [bytes(next(reader)) for _ in whole] == whole
        if is_refused:
            with pytest.raises(
                ValueError, match=r"does not include the .* check length_offset, byteorder, skip"
            ):
                next(reader)
        else:
            assert next(reader, None) is None


def test_what_is_skipped_of_a_payload_is_never_stored(group):
    with connected("unix") as (writer, source):
        source.setblocking(False)
        reader = group.frames(source, skip=4 + 6)
        writer.sendall(b"\x00\x00\x00\x0bHello")
        with pytest.raises(BlockingIOError):
            next(reader)
        assert (reader.partial, reader.ahead) == (None, b"\x00\x00\x00\x0bHello")
        writer.sendall(b" wor")
        with pytest.raises(BlockingIOError):
            next(reader)
        assert (reader.partial, reader.missing) == (b"wor", 2)
        writer.sendall(b"ld")
        assert next(reader) == b"world"
    assert group.stats().requested == 5


@pytest.mark.parametrize(
    ("options", "length", "counted"),
    [
        ({"skip": 6}, 1, "2 bytes"),
        ({"adjust": 1, "skip": 6}, 0, "1 byte"),
        ({"adjust": -1, "skip": 6}, 2, "3 bytes"),
    ],
)
def test_a_message_that_is_shorter_than_what_is_skipped_is_out_of_step(group, options, length, counted):
    whole = (5 - options.get("adjust", 0)).to_bytes(4, "big") + b"..abc"
    with connected("unix") as (writer, source):
        writer.sendall(whole + length.to_bytes(4, "big"))
        reader = group.frames(source, **options)
        assert next(reader) == b"abc"
        for _ in range(2):
            with pytest.raises(
                ValueError, match=f"a length of {length} does not include the {counted} that it must count"
            ):
                next(reader)
        assert reader.ahead == length.to_bytes(4, "big")
