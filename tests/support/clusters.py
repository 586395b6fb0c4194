"""Clusters of the tests' own: schedulers and workers, as processes on two hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

PATIENCE = 60  # seconds after which a cluster counts as broken


class Host(NamedTuple):
    """An address, and what runs a command there."""

    address: str
    prefix: tuple[str, ...] = ()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Two network namespaces with a cable between them; two addresses where those cannot be made."""
    with ExitStack() as stack:
        try:
            hosts = _namespaces(stack)
        except (OSError, subprocess.CalledProcessError):
            hosts = [Host("127.0.0.2"), Host("127.0.0.3")]
        yield hosts


def _namespaces(stack: ExitStack) -> list[Host]:
    names = [f"mg{os.getpid()}{end}" for end in "ab"]
    for name in names:
        ip("netns", "add", name)
        stack.callback(ip, "netns", "delete", name)
    ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1], "netns", names[1])
    hosts = [Host(f"10.213.0.{n}", ("ip", "netns", "exec", name)) for n, name in enumerate(names, 1)]
    for host, name in zip(hosts, names, strict=True):
        ip("-n", name, "address", "add", f"{host.address}/24", "dev", name)
        ip("-n", name, "link", "set", name, "up")
        ip("-n", name, "link", "set", "lo", "up")
    return hosts


def lacking_memgroup(directory: Path) -> str:
    """A PYTHONPATH with which a worker finds a memgroup that has no engines."""
    package = directory / "lacking" / "memgroup"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    # Dask fails on an entry point that leads nowhere.
    (package / "_dask.py").write_text("def register_sizeof(sizeof): ...\n")
    return str(package.parent)


def lacking_modules(directory: Path, *names: str) -> str:
    """A PYTHONPATH with which a worker does not find some modules."""
    for name in names:
        (directory / "lacking").mkdir(exist_ok=True)
        text = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        (directory / "lacking" / f"{name}.py").write_text(text)
    return str(directory / "lacking")


def without_memgroup(directory: Path) -> str:
    """A PYTHONPATH with which a worker finds no memgroup, and no entry point of it."""
    where = lacking_modules(directory, "memgroup")
    metadata = Path(where) / "memgroup-0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: memgroup\nVersion: 0\n")
    return where


def wait_until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"not in {PATIENCE} s: {what}"
        time.sleep(0.05)


class Cluster:
    """A scheduler and workers of dask, each started by its command line."""

    def __init__(self, hosts: list[Host], directory: Path) -> None:
        self.hosts = hosts
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        where = directory / "scheduler.json"
        start = ["scheduler", "--host", hosts[0].address, "--port", "0", "--scheduler-file", str(where)]
        self.scheduler = self._start(hosts[0], *start)
        wait_until(where.exists, "the scheduler starts")
        wait_until(lambda: where.read_text().endswith("}"), "the scheduler says where it is")
        self.address = json.loads(where.read_text())["address"].replace("tcp://", "dask://")

    def start_worker(self, number: int, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is one of the scheduler's."""
        worker = self.begin_worker(number, *options, **environment)
        wait_until(lambda: self.is_registered(worker) or worker.poll() is not None, "a worker starts")
        assert worker.poll() is None, self._log(worker).read_text()
        return worker

    def is_registered(self, worker: subprocess.Popen[bytes]) -> bool:
        return b"Registered to" in self._log(worker).read_bytes()

    def begin_worker(self, number: int, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker on one of the hosts, in turn."""
        host = self.hosts[number % len(self.hosts)]
        common = ["--host", host.address, "--nthreads", "1", "--memory-limit", "0", "--no-nanny"]
        return self._start(
            host, "worker", self.address.removeprefix("dask://"), *common, *options, **environment
        )

    def _log(self, process: subprocess.Popen[bytes]) -> Path:
        return self._directory / f"{self._processes.index(process)}.log"

    def _start(self, host: Host, kind: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with open(self._directory / f"{len(self._processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [*host.prefix, sys.executable, "-m", "dask", kind, *arguments, "--no-dashboard"],
                cwd=self._directory,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def cluster(hosts: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler of dask and a worker on each of two hosts."""
    pytest.importorskip("distributed")
    cluster = Cluster(hosts, tmp_path_factory.mktemp("cluster"))
    try:
        for number in range(2):
            cluster.start_worker(number)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(params=["local", "dask"])
def on(request) -> tuple[str, tuple[str, ...]]:
    """Where to search, and what runs the command there."""
    if request.param == "local":
        return "local", ()
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.address, cluster.hosts[0].prefix
