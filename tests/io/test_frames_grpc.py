"""A stream of gRPC from its own server: messages within the frames of HTTP/2."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from memgroup import MemGroup
from memgroup.frames import PRESETS
from support.streams import noise

grpc = pytest.importorskip("grpc")
h2 = pytest.importorskip("h2.connection")
events = pytest.importorskip("h2.events")

BODIES = [noise(size, size) for size in (0, 5, 16_384, 100_000, 1, 3_000_000, *range(2000))]
DATA = 0


@pytest.fixture(scope="module")
def address():
    """The address of a server whose method streams the bodies."""
    method = grpc.unary_stream_rpc_method_handler(lambda request, context: iter(BODIES))
    handler = grpc.method_handlers_generic_handler("Test", {"Stream": method})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield "127.0.0.1", port
    server.stop(None).wait()


class Payloads:
    """What the DATA frames of a connection carry; a source of the messages in them."""

    def __init__(self, group, sock):
        self.connection = h2.H2Connection()
        self.sock = sock
        self.frames = group.frames(sock, **PRESETS["http2"] | {"limit": 1 << 24})
        self.rest = memoryview(b"")
        self.ended = False

    def recv_into(self, buffer):
        while not self.rest and not self.ended:
            frame = next(self.frames)
            # The library keeps the windows open, and answers what is to be answered.
            for event in self.connection.receive_data(frame.tobytes()):
                if isinstance(event, events.DataReceived):
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.ended |= isinstance(event, events.StreamEnded)
            self.sock.sendall(self.connection.data_to_send())
            if frame[3] == DATA:
                self.rest = memoryview(frame)[9:]
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


def test_a_stream_of_messages(address):
    with socket.create_connection(address) as sock, MemGroup() as frames, MemGroup() as messages:
        payloads = Payloads(frames, sock)
        connection = payloads.connection
        connection.initiate_connection()
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/Test/Stream",
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        connection.send_headers(1, headers.items())
        connection.send_data(1, b"\0\0\0\0\0", end_stream=True)
        sock.sendall(connection.data_to_send())
        found = list(messages.frames(payloads, **PRESETS["grpc"]))
        # A byte says whether a message is compressed, and four its length.
        assert [block[5:] for block in found] == BODIES
        assert all(block[0] == 0 for block in found)
        payloads.rest.release()
