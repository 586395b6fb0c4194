"""Servers that tests start for themselves: PostgreSQL and Redis, on Unix sockets of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.postgres import MissingError, postgres_server, program, running
from support.streams import until


def connect(path: Path) -> socket.socket:
    """Connect to a Unix socket as soon as a server listens there."""
    sock = socket.socket(socket.AF_UNIX)

    def is_connected() -> bool:
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    until(is_connected)
    return sock


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The folder of the socket of a PostgreSQL server, which has a user and a database `postgres`."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(postgres_server())
        except MissingError as missing:
            pytest.skip(str(missing))
        yield folder


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a Redis server."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "socket"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    try:
        server = program("redis-server")
    except MissingError as missing:
        pytest.skip(str(missing))
    with running([server, *options], folder):
        connect(path).close()
        yield path
