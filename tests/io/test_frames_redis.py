"""Values of a Redis server: RESP says their lengths as text, and its lines are frames."""

from __future__ import annotations

import numpy as np
from memgroup import MemGroup
from support.servers import connect

COUNT = 100_000


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def test_values_of_many_keys(redis_socket):
    keys = [b"key:%d" % number for number in range(COUNT)]
    values = [b"value %d " % number * (number % 5) for number in range(COUNT)]
    pairs = [word for pair in zip(keys, values, strict=True) for word in pair]
    with connect(redis_socket) as sock, MemGroup() as group:
        replies = group.frames(sock, delimiter=b"\r\n")
        sock.sendall(command(b"MSET", *pairs))
        assert next(replies) == b"+OK"
        sock.sendall(command(b"MGET", *keys))
        assert next(replies) == b"*%d" % COUNT
        lines = replies.take(2 * COUNT)
        found = lines[1::2]
        assert found.tolist() == values
        # No value has a line of its own in it, if each is as long as the line before says.
        said = np.array([int(line[1:]) for line in lines[::2].tolist()])
        assert (said == np.asarray(found.sizes)).all()
