"""Messages of all descriptions: where the length is, what it counts, what is shown, what ends them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup import MemGroup
from support.streams import PIECES, Pieces, connected, in_pieces, next_or_none, noise, sending

# What tokio-util's LengthDelimitedCodec and Netty's LengthFieldBasedFrameDecoder document: options, message,
# and what is shown of it. Both count what follows the length; so does a description without `header`.
TOKIO = [
    ({"length_size": 2, "skip": 0}, b"\x00\x0bHello world", b"\x00\x0bHello world"),
    ({"length_size": 2}, b"\x00\x0bHello world", b"Hello world"),
    ({"length_size": 2, "adjust": -2, "skip": 0}, b"\x00\x0dHello world", b"\x00\x0dHello world"),
    (
        {"length_size": 3, "adjust": 2, "skip": 0},
        b"\0\0\x0b\xca\xfeHello world",
        b"\0\0\x0b\xca\xfeHello world",
    ),
    (
        {"length_size": 2, "length_offset": 1, "adjust": 1, "skip": 3},
        b"\xca\x00\x0b\xfeHello world",
        b"\xfeHello world",
    ),
    (
        {"length_size": 2, "length_offset": 1, "adjust": -3, "skip": 3},
        b"\xca\x00\x0f\xfeHello world",
        b"\xfeHello world",
    ),
    ({"length_size": 3, "header": 4}, b"\x00\x00\x0b\xffHello world", b"Hello world"),
]
NETTY = [
    ({"length_size": 2, "skip": 0}, b"\x00\x0cHELLO, WORLD", b"\x00\x0cHELLO, WORLD"),
    ({"length_size": 2, "skip": 2}, b"\x00\x0cHELLO, WORLD", b"HELLO, WORLD"),
    ({"length_size": 2, "adjust": -2, "skip": 0}, b"\x00\x0eHELLO, WORLD", b"\x00\x0eHELLO, WORLD"),
    (
        {"length_offset": 2, "length_size": 3, "skip": 0},
        b"\xca\xfe\x00\x00\x0cHELLO, WORLD",
        b"\xca\xfe\x00\x00\x0cHELLO, WORLD",
    ),
    (
        {"length_size": 3, "adjust": 2, "skip": 0},
        b"\x00\x00\x0c\xca\xfeHELLO, WORLD",
        b"\x00\x00\x0c\xca\xfeHELLO, WORLD",
    ),
    (
        {"length_offset": 1, "length_size": 2, "adjust": 1, "skip": 3},
        b"\xca\x00\x0c\xfeHELLO, WORLD",
        b"\xfeHELLO, WORLD",
    ),
    (
        {"length_offset": 1, "length_size": 2, "adjust": -3, "skip": 3},
        b"\xca\x00\x10\xfeHELLO, WORLD",
        b"\xfeHELLO, WORLD",
    ),
    # The same by the size of the header.
    (
        {"length_size": 3, "header": 5, "skip": 0},
        b"\x00\x00\x0c\xca\xfeHELLO, WORLD",
        b"\x00\x00\x0c\xca\xfeHELLO, WORLD",
    ),
    (
        {"length_offset": 1, "length_size": 2, "header": 4, "skip": 3},
        b"\xca\x00\x0c\xfeHELLO, WORLD",
        b"\xfeHELLO, WORLD",
    ),
]
# What those two do not have: varints, delimiters and trailers.
OTHERS = [
    ({"length": "varint"}, b"\x0bHello world", b"Hello world"),
    ({"length": "varint", "skip": 0}, b"\xac\x02" + noise(300), b"\xac\x02" + noise(300)),
    ({"length": "varint", "length_offset": 2, "adjust": -1}, b"..\x0cHello world", b"Hello world"),
    ({"trailer": 4}, b"\x00\x00\x00\x0bHello worldDONE", b"Hello world"),
    ({"trailer": 4, "adjust": -4}, b"\x00\x00\x00\x0fHello worldDONE", b"Hello world"),
    ({"delimiter": b"\n"}, b"Hello world\n", b"Hello world"),
    ({"delimiter": b"\r\n"}, b"Hello\rworld\n\r\n", b"Hello\rworld\n"),
    ({"length_size": 5, "byteorder": "little"}, b"\x0b\0\0\0\0Hello world", b"Hello world"),
    ({"prefix": 7, "counts_prefix": True}, b"\0\0\0\0\0\0\x12Hello world", b"Hello world"),
]
DOCUMENTED = pytest.mark.parametrize(("options", "message", "shown"), TOKIO + NETTY + OTHERS)


@DOCUMENTED
@pytest.mark.parametrize("read_ahead", [0, 1, 65536])
@pytest.mark.parametrize("piece", [1, 1000])
def test_documented_messages(group, options, message, shown, read_ahead, piece):
    with connected("unix") as (writer, source), sending(writer, in_pieces(message * 3, [piece])):
        assert list(group.frames(source, read_ahead=read_ahead, **options)) == [shown] * 3


@DOCUMENTED
@pytest.mark.parametrize("read_ahead", [0, 1, 65536])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_documented_messages_that_an_object_stores(group, options, message, shown, read_ahead, piece):
    source = Pieces(in_pieces(message * 3, [piece]))
    assert list(group.frames(source, read_ahead=read_ahead, **options)) == [shown] * 3


@DOCUMENTED
@pytest.mark.parametrize("read_ahead", [0, 65536])
def test_a_peer_that_hangs_up_anywhere(group, options, message, shown, read_ahead):
    header = message.index(shown) + (
        message.index(b"H") if shown[:1] == message[:1] and b"Hello" in shown else 0
    )
    for cut in range(1, len(message)):
        with connected("unix") as (writer, source):
            writer.sendall(message + message[:cut])
            writer.close()
            reader = group.frames(source, read_ahead=read_ahead, **options)
            assert next(reader) == shown
            for _ in range(2):
                with pytest.raises(EOFError, match="the stream ended within"):
                    next(reader)
            partial = b"" if reader.partial is None else bytes(reader.partial)
            # What arrived is in the block, but for the header and trailer, or is shown as it came.
            assert shown.startswith(partial)
            assert reader.ahead == (
                message[:cut] if reader.partial is None else message[header + len(shown) : cut]
            )
            if reader.partial is not None:
                assert reader.missing == len(message) - cut
            reader.close()


@DOCUMENTED
def test_a_reader_goes_on_behind_every_byte(group, options, message, shown):
    with connected("unix") as (writer, source):
        source.setblocking(False)
        reader = group.frames(source, **options)
        for _ in range(2):
            for byte in message[:-1]:
                writer.sendall(bytes([byte]))
                assert next_or_none(reader) is None
            writer.sendall(message[-1:])
            assert next(reader) == shown


def varint(number):
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


@st.composite
def descriptions(draw):
    """Options, and a function that makes a message and what is shown of it out of a payload."""
    size = draw(st.sampled_from([None, 2, 3, 4, 5, 6, 7, 8]))
    before, trailer = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    behind = draw(st.integers(0, 5)) if size else 0
    order = draw(st.sampled_from(["big", "little"]))
    counted = draw(st.sampled_from([0, 1, trailer, before + behind + trailer + (size or 0)]))
    options = {"length_offset": before, "trailer": trailer, "adjust": -counted}
    options |= (
        {"length_size": size, "byteorder": order, "header": before + size + behind}
        if size
        else {"length": "varint"}
    )
    skip = draw(st.none() | st.integers(0, before))

    def framed(payload):
        length = len(payload) + counted
        number = length.to_bytes(size, order) if size else varint(length)
        header = b"<" * before + number + b"-" * behind
        return header + payload + b">" * trailer, (b"" if skip is None else header[skip:]) + payload

    return options | ({} if skip is None else {"skip": skip}), framed


@settings(max_examples=150)
@given(
    description=descriptions(),
    sizes=st.lists(st.integers(0, 40) | st.integers(0, 5000) | st.just(65_000), max_size=10),
    read_ahead=st.sampled_from([0, 1, 7, 100, 65536]),
    pieces=PIECES,
)
def test_messages_of_all_descriptions_come_out_as_they_went_in(description, sizes, read_ahead, pieces):
    options, framed = description
    messages = [framed(noise(size, seed)) for seed, size in enumerate(sizes)]
    stream = b"".join(message for message, _ in messages)
    least = len(stream) // 300
    with (
        MemGroup() as group,
        connected("unix") as (writer, source),
        sending(writer, in_pieces(stream, [size + least for size in pieces])),
    ):
        reader = group.frames(source, read_ahead=read_ahead, **options)
        assert [bytes(block) for block in reader] == [shown for _, shown in messages]
        assert (reader.partial, reader.missing, reader.ahead) == (None, 0, b"")


@settings(max_examples=50)
@given(
    records=st.lists(st.binary(max_size=200), max_size=20),
    delimiter=st.sampled_from([b"\n", b"\0", b"\r\n", b"--end--", b"aab"]),
    read_ahead=st.sampled_from([0, 1, 7, 65536]),
    pieces=PIECES,
)
def test_records_come_out_whatever_ends_them(records, delimiter, read_ahead, pieces):
    stream = b"".join(record + delimiter for record in records)
    with (
        MemGroup() as group,
        connected("unix") as (writer, source),
        sending(writer, in_pieces(stream, pieces)),
    ):
        found = b"".join(
            bytes(block) + delimiter
            for block in group.frames(source, delimiter=delimiter, read_ahead=read_ahead)
        )
        assert found == stream


OUT_OF_STEP = [
    ({"limit": 9}, b"\0\0\0\x0a", "a message of 10 bytes is larger than the limit of 9"),
    ({"limit": 9, "skip": 0}, b"\0\0\0\x06", "a message of 10 bytes is larger than the limit of 9"),
    ({"length_size": 8, "adjust": 1}, b"\xff" * 8, f"a message of {2**64 - 1} bytes is larger"),
    ({"length_size": 8, "adjust": -1}, b"\xff" * 8, f"a message of {2**64 - 2} bytes is larger"),
    ({"adjust": -5}, b"\0\0\0\4", "a length of 4 does not include the 5 bytes that it must count"),
    ({"length": "varint"}, b"\xff" * 10, "a varint of more than 64 bits is no length"),
    (
        {"length": "varint", "limit": 300},
        b"\xad\x02",
        "a message of 301 bytes is larger than the limit of 300",
    ),
    (
        {"delimiter": b"\n", "limit": 9},
        b"0123456789",
        "no delimiter in its first 10 bytes, the limit is 9",
    ),
    (
        {"delimiter": b"\n", "limit": 9},
        b"0123456789\n",
        "a message of 10 bytes is larger than the limit of 9",
    ),
]


@pytest.mark.parametrize(("options", "header", "message"), OUT_OF_STEP)
def test_a_header_that_cannot_be_one_is_told_with_its_place_and_allocates_nothing(
    group, options, header, message
):
    empty = {"varint": b"\0", "fixed": b"\n"}[options.get("length", "fixed")]
    if "delimiter" not in options:
        size, counted = options.get("length_size", 4), max(0, -options.get("adjust", 0))
        empty = (
            empty
            if "length" in options
            else counted.to_bytes(size, "big") + bytes(max(0, options.get("adjust", 0)))
        )
    with connected("unix") as (writer, source):
        writer.sendall(empty * 2 + header)
        reader = group.frames(source, **options)
        assert len(next(reader)) == len(next(reader)) < 10
        before = group.stats().as_dict()
        for _ in range(2):
            with pytest.raises(ValueError, match=f"{message}.*it is message 2, at byte {2 * len(empty)} "):
                next(reader)
        assert group.stats().as_dict() == before
        assert reader.ahead == header


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"length_size": 0}, ValueError, "length_size must be from 1 to 8, not 0"),
        ({"length_size": 9}, ValueError, "length_size must be from 1 to 8, not 9"),
        ({"length_size": -1}, ValueError, "length_size must not be negative, not -1"),
        ({"length_size": "4"}, TypeError, "length_size must be an integer, not str"),
        ({"length_size": 2, "prefix": 4}, ValueError, "two names of one size"),
        ({"length": "fix"}, ValueError, 'length must be "fixed" or "varint", not \'fix\''),
        ({"length": 4}, TypeError, 'length must be "fixed" or "varint", not int'),
        ({"length": "varint", "length_size": 4}, ValueError, "leave them out for varints"),
        ({"length": "varint", "counts_prefix": True}, ValueError, "leave them out for varints"),
        (
            {"length": "varint", "header": 4},
            ValueError,
            "header does not apply to such messages: leave it out",
        ),
        ({"length_offset": -1}, ValueError, "length_offset must not be negative, not -1"),
        ({"length_offset": None}, TypeError, "length_offset must be an integer, not NoneType"),
        ({"length_offset": 5000}, ValueError, "length_offset must be at most 4096 bytes long, not 5000"),
        (
            {"length_offset": 1, "header": 4},
            ValueError,
            "header=4 ends before its length does: pass header=5 or more",
        ),
        ({"header": 5000}, ValueError, "header must be at most 4096 bytes long, not 5000"),
        ({"header": -1}, ValueError, "header must not be negative, not -1"),
        ({"skip": 4097}, ValueError, "skip must be at most 4096 bytes long, not 4097"),
        (
            {"length": "varint", "skip": 1},
            ValueError,
            "skip must be at most 0, where the varint begins, not 1",
        ),
        ({"skip": 1.5}, TypeError, "skip must be an integer, not float"),
        ({"adjust": "-4"}, TypeError, "adjust must be an integer, not str"),
        ({"trailer": -1}, ValueError, "trailer must not be negative, not -1"),
        ({"trailer": 5000}, ValueError, "trailer must be at most 4096 bytes long, not 5000"),
        ({"delimiter": ""}, TypeError, "delimiter must be bytes, not str"),
        ({"delimiter": b""}, ValueError, "delimiter must not be empty"),
        ({"delimiter": bytes(5000)}, ValueError, "delimiter must be at most 4096 bytes long, not 5000"),
        ({"delimiter": b"\n", "length": "varint"}, ValueError, "records with a delimiter have no length"),
        ({"delimiter": b"\n", "length_offset": 1}, ValueError, "records with a delimiter have no length"),
        ({"delimiter": b"\n", "prefix": 4}, ValueError, "leave them out for varints and delimiters"),
        ({"delimiter": b"\n", "trailer": 1}, ValueError, "trailer does not apply to such messages"),
        ({"delimiter": b"\n", "adjust": 1}, ValueError, "adjust does not apply to such messages"),
        ({"delimiter": b"\n", "skip": 0}, ValueError, "skip does not apply to such messages"),
        ({"preset": "http2"}, TypeError, r"frames\(\) got an unexpected keyword argument 'preset'"),
    ],
)
def test_invalid_descriptions_are_refused(group, options, kind, message):
    with connected("unix") as (_, source), pytest.raises(kind, match=message):
        group.frames(source, **options)


def test_a_secret_group_takes_messages_that_have_a_length():
    message = b"\x00\x00\x00\x0bHello worldDONE"
    with MemGroup(secret=True) as group, connected("unix") as (writer, source):
        with pytest.raises(ValueError, match="a secret group takes messages that have a length"):
            group.frames(source, delimiter=b"\n")
        writer.sendall(message * 2)
        reader = group.frames(source, trailer=4)
        assert [next(reader), next(reader)] == [b"Hello world"] * 2
