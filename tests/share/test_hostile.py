"""A sender that means harm: what comes is refused with the reason, or can be read, and nothing stays open.

MEMGROUP_HOSTILE_MESSAGES sets how many messages are tried.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import struct

import memgroup
import numpy as np
import pytest
from support.sharing import contents, resources

F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2

SIZE = 1 << 16
NUMBER = bytes(range(16))
BLOCK, VIEW, ARRAY, LIST = 1, 2, 3, 4


def message(kind, offset, length, body=b"", dimensions=0, announced=1):
    """A message whose first segment is NUMBER, and announces it."""
    announcement = (NUMBER + struct.pack("<Q", SIZE)) * announced
    body = announcement + body
    header = b"mgrp" + bytes([1, kind, dimensions, 0]) + struct.pack("<IHH", len(body), announced, 0)
    return header + NUMBER + struct.pack("<QQ", offset, length) + bytes(16) + body


def view(shape, strides, form, origin=0, item=1):
    return struct.pack("<QQ", origin, item) + struct.pack(f"<{2 * len(shape)}q", *shape, *strides) + form


class Hostile:
    """One end of a socket and a memfd of the sender's; the other end and a group of the receiver's."""

    def __init__(self):
        self.here, self.there = socket.socketpair()
        self.there.settimeout(10)
        self.file = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
        os.write(self.file, bytes(SIZE))
        fcntl.fcntl(self.file, F_ADD_SEALS, F_SEAL_SHRINK)
        self.group = memgroup.MemGroup()

    def write(self, offset, *numbers):
        os.pwrite(self.file, struct.pack(f"<{len(numbers)}Q", *numbers), offset)

    def send(self, data):
        socket.send_fds(self.here, [data], [self.file])
        return self.group.recv(self.there)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.here.close()
        self.there.close()
        os.close(self.file)
        self.group.free(force=True)


def list_message(objects, runs, uniform=(0, 0), align=16, segments=1, offset=0):
    length = (0 if uniform[1] else 16 * objects) + 24 * runs
    body = struct.pack("<QQQQQ", objects, runs, *uniform, align) + NUMBER * segments
    return message(LIST, offset, length, body)


def test_an_honest_list_in_this_form_is_taken():
    with Hostile() as sender:
        sender.write(0, 0, 16, 5, 7, 0, 0, 1000)
        os.pwrite(sender.file, b"first" + bytes(11) + b"second!", 1000)
        assert contents(sender.send(list_message(2, 1))) == [b"first", b"second!"]
        sender.write(0, 0, 0, 2000)
        assert contents(sender.send(list_message(3, 1, uniform=(5, 16)))) == [bytes(5)] * 3


@pytest.mark.parametrize(
    ("table", "arguments", "reason"),
    [
        ((0, 3, 5, 7, 0, 0, 0), (2, 1), "overlap"),
        ((16, 0, 5, 7, 0, 0, 0), (2, 1), "overlap"),
        ((0, 2**63, 5, 2**63, 0, 0, 0), (2, 1), "overlap"),
        ((0, 2**64 - 1, 2, 2**64 - 1, 0, 0, 0), (2, 1), "overlap"),
        ((0, 16, 5, 7, 1, 0, 0), (2, 1), "order"),
        ((0, 16, 5, 7, 0, 0, 0, 0, 0, 0), (2, 2), "order"),
        ((0, 16, 5, 7, 0, 0, 0, 2, 0, 0), (2, 2), "order"),
        ((0, 16, 5, 7, 0, 1, 0), (2, 1), "does not name"),
        ((0, 16, 5, 7, 0, 2**63, 0), (2, 1), "does not name"),
        ((0, 16, 5, 7, 0, 0, SIZE - 10), (2, 1), "beyond its end"),
        ((0, 16, 5, 7, 0, 0, 2**64 - 10), (2, 1), "beyond its end"),
        ((0, SIZE, 5, 7, 0, 0, 0), (2, 1), "beyond its end"),
    ],
)
def test_tables_that_lie_are_refused(table, arguments, reason):
    with Hostile() as sender:
        sender.write(0, *table)
        with pytest.raises(ValueError, match=reason):
            sender.send(list_message(*arguments))
        # The next message is the one behind it.
        assert sender.send(message(BLOCK, 0, 3)) == struct.pack("<Q", table[0])[:3]


@pytest.mark.parametrize(
    "data",
    [
        list_message(2**60, 1, uniform=(1, 16)),
        list_message(2, 1, uniform=(5, 17)),
        list_message(2, 1, align=3),
        list_message(2, 1, align=8192),
        list_message(2, 0),
        list_message(1, 2),
        message(LIST, 0, 2**63, struct.pack("<QQQQQ", 2**60, 1, 0, 0, 16)),
        message(LIST, 0, 24, struct.pack("<QQQQQ", 2**64 - 1, 2**64 - 1, 0, 0, 16)),
        message(VIEW, 0, 100, view([101], [1], b"B"), dimensions=1),
        message(VIEW, 0, 100, view([2**62], [2**62], b"B"), dimensions=1),
        message(VIEW, 0, 100, view([10], [-1], b"B"), dimensions=1),
        message(VIEW, 0, 100, view([-1], [1], b"B"), dimensions=1),
        message(VIEW, 0, 100, view([100], [1], b"B\0"), dimensions=1),
        message(VIEW, 0, 100, b"", dimensions=64),
        message(ARRAY, 0, 100, view([12], [8], b"O", item=8), dimensions=1),
        message(ARRAY, 0, 100, view([12], [8], b"[('a', '|O')]", item=8), dimensions=1),
        message(ARRAY, 0, 100, view([12], [8], b"T", item=16), dimensions=1),
        message(ARRAY, 0, 100, view([25], [4], b"<f8", item=4), dimensions=1),
        message(ARRAY, 0, 100, view([10], [8], b"no type", item=8), dimensions=1),
        message(ARRAY, 0, 100, view([10], [8], b"[" * 4000, item=8), dimensions=1),
        message(ARRAY, 0, 100, view([10], [8], b"[__import__('os')]", item=8), dimensions=1),
        message(ARRAY, 0, 100, view([1], [8], b"('<f8', (10**9,))", item=8), dimensions=1),
    ],
)
def test_layouts_that_lie_are_refused(data):
    with Hostile() as sender:
        with pytest.raises((ValueError, TypeError, MemoryError)):
            sender.send(data)
        assert sender.send(message(BLOCK, 0, 3)) == bytes(3)


def test_no_message_crashes_the_receiver_or_stays_open(child):
    many = int(os.environ.get("MEMGROUP_HOSTILE_MESSAGES", "3000"))
    root = os.path.dirname(os.path.dirname(__file__))
    out = child.output(
        """
        sys.path[:0] = [sys.argv[1], sys.argv[1] + "/share"]
        import test_hostile
        print(test_hostile.bombard(int(sys.argv[2]), int(sys.argv[3])))
        """,
        root,
        many,
        random.randrange(1 << 32),
    )
    taken, refused = map(int, out.strip("()").split(", "))
    assert taken + refused == many
    assert taken > 0
    assert refused > 0


def bombard(many, seed):
    """Send damaged messages over damaged tables; return how many were taken, and how many refused."""
    dice = random.Random(seed)
    honest = [
        (list_message(2, 1), (0, 16, 5, 7, 0, 0, 1000)),
        (list_message(3, 2), (0, 16, 32, 1, 2, 3, 0, 0, 100, 2, 0, 50)),
        (list_message(3, 1, uniform=(5, 16)), (0, 0, 2000)),
        (message(BLOCK, 10, 100), ()),
        (message(VIEW, 0, 100, view([10, 5], [10, 2], b"B"), dimensions=2), ()),
        (message(ARRAY, 0, 100, view([10], [8], b"<f8", item=8), dimensions=1), ()),
        (message(ARRAY, 8, 100, view([6], [16], b"[('a', '<i4'), ('b', '<f8')]", item=12), dimensions=1), ()),
    ]
    taken = refused = 0
    before = resources()
    while taken + refused < many:
        with Hostile() as sender:
            sender.send(message(BLOCK, 0, 1))
            for _ in range(min(50, many - taken - refused)):
                data, table = dice.choice(honest)
                data, table = bytearray(data), list(table)
                for _ in range(dice.randrange(3)):
                    data[dice.randrange(16, len(data))] = dice.choice(
                        [0, 1, 2, 127, 128, 255, dice.randrange(256)]
                    )
                for _ in range(dice.randrange(2) if table else 0):
                    table[dice.randrange(len(table))] = dice.choice(
                        [0, 1, SIZE, 2**63, 2**64 - 1, dice.getrandbits(64)]
                    )
                sender.write(0, *table)
                try:
                    arrived = sender.send(bytes(data))
                except (ValueError, TypeError, OSError, MemoryError, EOFError):
                    refused += 1
                else:
                    taken += 1
                    if getattr(arrived, "nbytes", 0) <= 1 << 20:
                        bytes(arrived) if isinstance(arrived, memgroup.MemBlock) else np.sum(arrived.nbytes)
                        if isinstance(arrived, memgroup.MemList) and len(arrived) < 1000:
                            arrived.tolist()
                        if isinstance(arrived, (np.ndarray, memoryview)):
                            arrived.tobytes()
                    del arrived
    # What is known of closed sockets is forgotten as new ones come: of the last few, it may be left.
    assert all(now <= then + 900 for now, then in zip(resources(), before, strict=True)), (
        resources(),
        before,
    )
    return taken, refused
