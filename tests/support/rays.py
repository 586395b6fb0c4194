"""Clusters of Ray of the tests' own: nodes, as processes on two hosts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from support.clusters import Host, wait_until

ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

STORE_BYTES = 200 * 2**20


class Resident(NamedTuple):
    """Resident bytes of a process: its own and its groups', of files as libraries, and of Ray's store."""

    own: int
    files: int
    store: int


def resident() -> Resident:
    """Count them."""
    counts = dict.fromkeys(Resident._fields, 0)
    kind = "own"
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if " " in name:
            is_own = line.split()[4] == "0" or "/memfd:" in line
            kind = "store" if "plasma" in line else "own" if is_own else "files"
        elif name == "Rss":
            counts[kind] += 1024 * int(value.split()[0])
    return Resident(**counts)


def free_port(host: Host) -> int:
    code = "import socket, sys; s = socket.socket(); s.bind((sys.argv[1], 0)); print(s.getsockname()[1])"
    done = subprocess.run(
        [*host.prefix, sys.executable, "-c", code, host.address], check=True, capture_output=True
    )
    return int(done.stdout)


class RayCluster:
    """A head and another node, each with one processor and started by its command line."""

    def __init__(self, hosts: list[Host], **environment: str) -> None:
        self.hosts = hosts
        self._environment = environment
        # The paths of Ray's sockets are long.
        self._directory = Path(tempfile.mkdtemp(prefix="mg", dir="/tmp"))
        self._nodes: list[subprocess.Popen[bytes]] = []
        port, client_port = free_port(hosts[0]), free_port(hosts[0])
        self._start(hosts[0], "--head", f"--port={port}", f"--ray-client-server-port={client_port}")
        self._start(hosts[1], f"--address={hosts[0].address}:{port}")
        self.address = f"ray://{hosts[0].address}:{client_port}"

    def _start(self, host: Host, *options: str) -> None:
        where = self._directory / f"{len(self._nodes)}.log"
        common = ["--num-cpus=1", "--object-store-memory=80000000", "--include-dashboard=false"]
        with where.open("wb") as log:
            node = subprocess.Popen(
                [
                    *host.prefix,
                    sys.executable,
                    "-m",
                    "ray.scripts.scripts",
                    "start",
                    "--block",
                    f"--node-ip-address={host.address}",
                    *(common if "--head" in options else common[:2]),
                    *([f"--temp-dir={self._directory}"] if "--head" in options else []),
                    *options,
                ],
                env={**os.environ, **ENVIRONMENT, **self._environment},
                stdout=log,
                stderr=log,
            )
        self._nodes.append(node)
        try:
            wait_until(
                lambda: b"runtime started" in where.read_bytes() or node.poll() is not None, "a node starts"
            )
            started = node.poll() is None
        except AssertionError:
            started = False
        if not started:
            said = where.read_text()
            self.close()
            pytest.skip(f"`ray start` does not start a node here: {said[-300:]}")

    def workers(self) -> list[int]:
        """The processes that perform tasks."""
        # These replace their command lines, and with that what tells whose they are.
        titles = (b"ray::gather", b"ray::IDLE")
        nodes = self._processes()
        return [
            process
            for process, (parent, command) in processes().items()
            if parent in nodes and command.startswith(titles)
        ]

    def _processes(self) -> set[int]:
        mark = os.fsencode(self._directory)
        return {process for process, (_, command) in processes().items() if mark in command}

    def close(self) -> None:
        for node in reversed(self._nodes):
            node.terminate()
        for node in self._nodes:
            node.wait()
        for process in self._processes():
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(self._directory, ignore_errors=True)


def processes() -> dict[int, tuple[int, bytes]]:
    """The parent and the command line of each process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(entry.name)] = parent, (entry / "cmdline").read_bytes()
    return found


@pytest.fixture(scope="module")
def ray_cluster(hosts: list[Host]) -> Iterator[RayCluster]:
    """A cluster of two nodes, which commands can use."""
    pytest.importorskip("ray")
    pytest.importorskip("grpc")
    cluster = RayCluster(hosts)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def store() -> Iterator[ModuleType]:
    """Ray on this machine, with one worker."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray.init(
            address="local",
            num_cpus=1,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
        )
        yield ray
        ray.shutdown()
