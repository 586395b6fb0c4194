"""Descriptions of well-known protocols; test_frames_grpc and test_frames_files have more of them."""

from __future__ import annotations

import socket
import ssl
import struct

import pytest
from memgroup.frames import PRESETS
from support.streams import connected, sending


def received(group, preset, stream):
    with connected("unix") as (writer, source), sending(writer, [stream]):
        return [bytes(block) for block in group.frames(source, **PRESETS[preset])]


def test_every_preset_describes_messages(group):
    for preset in PRESETS:
        assert received(group, preset, b"") == []
    assert not hasattr(PRESETS, "__setitem__")


def test_a_postgresql_server(group, postgres):
    parameters = b"user\0postgres\0database\0postgres\0\0"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(postgres / ".s.PGSQL.5432"))
        sock.sendall(struct.pack(">II", 8 + len(parameters), 196_608) + parameters)
        reader = group.frames(sock, **PRESETS["postgres"])
        started = reader.until(b"Z")
        assert (started[0], started[-1]) == (b"R\0\0\0\x08\0\0\0\0", b"Z\0\0\0\x05I")
        query = b"SELECT 'hello'\0"
        sock.sendall(b"Q" + struct.pack(">I", 4 + len(query)) + query)
        row = next(block for block in reader.until(b"Z") if block[:1] == b"D")
        assert row == b"D" + struct.pack(">IHI", 15, 1, 5) + b"hello"


def test_tls_records(group):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    assert received(group, "tls_record", hello + b"\x15\x03\x03\0\x02\x02\x28") == [
        hello,
        b"\x15\x03\x03\0\x02\x02\x28",
    ]


def test_dns_over_tcp(group):
    # RFC 1035, 4.2.2: two bytes of length, without themselves. A query for the address of example.org.
    query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + b"\x07example\x03org\0" + struct.pack(">2H", 1, 1)
    assert received(group, "dns_tcp", (struct.pack(">H", len(query)) + query) * 2) == [query] * 2


def test_kafka(group):
    # ApiVersions of the protocol's guide: size, then key, version, correlation id and client id.
    request = struct.pack(">hhih", 18, 0, 7, 4) + b"test"
    assert received(group, "kafka", (struct.pack(">i", len(request)) + request) * 2) == [request] * 2
