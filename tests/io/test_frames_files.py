"""Files of messages as others write them: protobuf's delimited messages, TFRecord."""

from __future__ import annotations

import struct

import pytest
from memgroup.frames import PRESETS
from support.streams import noise

SIZES = [0, 1, 126, 127, 128, 300, 16_383, 16_384, 100_000, *range(1000)]


def test_delimited_messages_that_protobuf_writes(group, tmp_path):
    proto = pytest.importorskip("google.protobuf.proto")
    wrappers = pytest.importorskip("google.protobuf.wrappers_pb2")
    messages = [wrappers.BytesValue(value=noise(size, size)) for size in SIZES]
    with open(tmp_path / "messages", "wb") as file:
        for message in messages:
            proto.serialize_length_prefixed(message, file)
    with open(tmp_path / "messages", "rb") as file:
        found = list(group.frames(file, **PRESETS["protobuf_delimited"]))
    assert [wrappers.BytesValue.FromString(bytes(block)) for block in found] == messages


def table_of_crc32c() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = table_of_crc32c()


def masked_crc(data: bytes) -> bytes:
    """The checksum of TFRecord: CRC-32C, rotated, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """A record as tensorflow/core/lib/io/record_writer.h describes it."""
    length = struct.pack("<Q", len(data))
    return length + masked_crc(length) + data + masked_crc(data)


def test_the_checksum_is_that_of_rfc_3720():
    assert masked_crc(bytes(32)) == struct.pack(
        "<I", ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )


def test_records_of_tfrecord(group, tmp_path):
    records = [noise(size, size) for size in SIZES]
    (tmp_path / "records").write_bytes(b"".join(map(record, records)))
    with open(tmp_path / "records", "rb") as file:
        assert list(group.frames(file, **PRESETS["tfrecord"])) == records
    # With the header, and the trailer as a part of the message, the checksums can be looked at.
    shown = PRESETS["tfrecord"] | {"trailer": 0, "adjust": 4, "skip": 0}
    with open(tmp_path / "records", "rb") as file:
        for block, data in zip(group.frames(file, **shown), records, strict=True):
            assert block[8:12] == masked_crc(bytes(block[:8]))
            assert block[12:-4] == data
            assert block[-4:] == masked_crc(data)
