"""An asyncio server that takes its receive buffers from a pool, as docs/howto/pool.md has it."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from memgroup import MemGroup

PAGE = Path(__file__).parents[2] / "docs/howto/pool.md"
CLIENTS = 1000


@pytest.fixture
def descriptors():
    """Room for both ends of all connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CLIENTS + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} descriptors are needed, and {hard} may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_pool_serves_a_thousand_connections(tmp_path, descriptors):
    (server,) = re.findall(r"```python\n(import asyncio\n.*?)```", PAGE.read_text(), re.DOTALL)
    pool = MemGroup().pool(4096)
    page: dict[str, Any] = {"pool": pool}
    exec(compile(server, PAGE, "exec"), page)
    answers = asyncio.run(page["main"](str(tmp_path / "echo"), CLIENTS))
    assert answers == [True] * CLIENTS
    assert 1 <= page["Echo"].most < 10
    assert len(pool) == 0
    assert pool.stats().free < 10 * 64


def test_a_datagram_goes_into_an_object():
    pool = MemGroup().pool(1500)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        held = []
        for number in range(100):
            theirs.send(b"%d" % number)
            buffer = pool.alloc()
            held.append(buffer[: ours.recv_into(buffer)])
            del buffer
        assert held == [b"%d" % number for number in range(100)]
        assert len(pool) == 100
        held.clear()
        assert len(pool) == 0
