"""A PostgreSQL server of one's own. It imports nothing of pytest, so that benchmarks can use it, too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60  # seconds after which a server counts as broken


class MissingError(Exception):
    """A server cannot run here; the message says why."""


def program(name: str, *folders: Path) -> str:
    """Return the path of a program."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, folders)]))
    if path is None:
        raise MissingError(f"{name} is not installed")
    return path


def account() -> str | None:
    """Return the account that a server runs as which refuses to run as root; None for our own."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise MissingError("PostgreSQL does not run as root, and there is no account for it")


@contextmanager
def running(command: list[str], folder: Path, user: str | None = None) -> Iterator[None]:
    """Run a server in a folder."""
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, user=user)
    try:
        yield
    finally:
        server.terminate()
        server.wait(PATIENCE)


@contextmanager
def postgres_server() -> Iterator[Path]:
    """Run a server; yield the folder of its socket. It has a user and a database `postgres`.

    Raises:
        MissingError: PostgreSQL is not installed, or cannot run.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb, server, is_ready = (program(name, *installed) for name in ("initdb", "postgres", "pg_isready"))
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
            end = time.monotonic() + PATIENCE
            while subprocess.run([is_ready, "-q", "-h", name], check=False).returncode != 0:
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.05)
            yield folder
