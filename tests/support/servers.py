"""Servers that tests start for themselves: PostgreSQL and Redis, on Unix sockets of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.streams import until


def program(name: str, *folders: Path) -> str:
    """Return the path of a program; skip the test where there is none."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, folders)]))
    return path or pytest.skip(f"{name} is not installed")


def account() -> str | None:
    """Return the account that a server runs as which refuses to run as root; None for our own."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None) or pytest.skip(
        "only root is here, and PostgreSQL does not run as root"
    )


@contextmanager
def running(command: list[str], folder: Path, user: str | None = None) -> Iterator[None]:
    """Run a server in a folder."""
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, user=user)
    try:
        yield
    finally:
        server.terminate()
        server.wait(60)


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
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb, server, ready = (program(name, *installed) for name in ("initdb", "postgres", "pg_isready"))
    user = account()
    # Not in the temporary directory of pytest, which others must not look into.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
            cwd=folder,
            user=user,
            check=True,
            capture_output=True,
        )
        options = ["-D", str(data), "-k", name, "-c", "listen_addresses=", "-c", "fsync=off"]
        with running([server, *options], folder, user):
            until(lambda: subprocess.run([ready, "-q", "-h", name], check=False).returncode == 0)
            yield folder


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a Redis server."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "socket"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    with running([program("redis-server"), *options], folder):
        connect(path).close()
        yield path
