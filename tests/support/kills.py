"""A gather whose workers are killed at random: `python -m support.kills --on dask`, in the folder `tests`."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from support.clusters import Cluster, two_hosts, wait_until
from support.gathering import COMMAND
from support.rays import ENVIRONMENT, RayCluster

PER_DIRECTORY = 500


class Gather(NamedTuple):
    """How a gather went: its output, what it said, its time, and how many workers were killed meanwhile."""

    output: bytes
    errors: bytes
    seconds: float
    kills: int


def make_tree(root: Path, files: int) -> None:
    """Files of up to 4 KiB, with some lines to find in each."""
    chance = random.Random(files)
    for number in range(files):
        directory = root / f"{number // PER_DIRECTORY:04}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        lines = b"needle %d\n%b\n" % (number, b"hay" * chance.randrange(20))
        (directory / f"{number}").write_bytes(lines * chance.randrange(1, 60))


def gather(tree: Path, prefix: tuple[str, ...], *options: str) -> subprocess.Popen[bytes]:
    with open(tree.parent / "out", "wb") as out:
        return subprocess.Popen(
            [*prefix, *COMMAND, "--find=needle", "--batch=1M", *options],
            cwd=tree,
            stdout=out,
            stderr=subprocess.PIPE,
        )


def gather_with_kills(
    tree: Path,
    kills: int,
    nbytes: int,
    kill: Callable[[subprocess.Popen[bytes]], bool],
    prefix: tuple[str, ...],
    *options: str,
) -> Gather:
    """Call `kill(process)` so many times while a gather prints so many bytes. It says whether it killed."""
    start = time.monotonic()
    process = gather(tree, prefix, *options)
    out = tree.parent / "out"
    done = 0
    for number in range(kills):
        due = nbytes * (number + 1) // (kills + 1)
        while process.poll() is None and out.stat().st_size < due:
            time.sleep(0.002)
        done += kill(process)
    _, errors = process.communicate()
    return Gather(out.read_bytes(), errors, time.monotonic() - start, done)


def kill_one(process: subprocess.Popen[bytes], workers: Callable[[], list[int]]) -> bool:
    """Kill a worker, as soon as there is one; unless the gather ends before."""
    while process.poll() is None:
        if found := workers():
            os.kill(random.choice(found), signal.SIGKILL)
            return True
        time.sleep(0.01)
    return False


def kill_child(process: subprocess.Popen[bytes]) -> bool:
    """Kill one of the processes that a process has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return kill_one(process, lambda: [int(child) for child in children.read_text().split()])


class Workers:
    """The workers of a cluster, one of which can be killed; another takes its place."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._workers = [cluster.start_worker(number) for number in range(2)]

    def kill(self, process: subprocess.Popen[bytes]) -> bool:
        is_killed = kill_one(process, self._registered)
        if is_killed:
            # A busy machine takes its time to end a process.
            wait_until(self._ended, "the killed worker ends")
        for number in self._ended():
            self._workers[number] = self._cluster.begin_worker(number)
        return is_killed

    def _registered(self) -> list[int]:
        return [worker.pid for worker in self._workers if self._cluster.is_registered(worker)]

    def _ended(self) -> list[int]:
        return [number for number, worker in enumerate(self._workers) if worker.poll() is not None]


def compare(directory: Path, files: int, kills: int, on: str) -> tuple[Gather, Gather]:
    """The gather on this machine, and the one whose workers are killed."""
    tree = directory / "tree"
    make_tree(tree, files)
    alone = gather_with_kills(tree, 0, 0, kill_child, ())
    if on == "local":
        return alone, gather_with_kills(tree, kills, len(alone.output), kill_child, (), "--on=local")
    with two_hosts() as hosts:
        cluster = RayCluster(hosts) if on == "ray" else Cluster(hosts, directory)
        try:
            if isinstance(cluster, RayCluster):
                kill = partial(kill_one, workers=cluster.workers)
            else:
                kill = Workers(cluster).kill
            options = hosts[0].prefix, "--on", cluster.address
            return alone, gather_with_kills(tree, kills, len(alone.output), kill, *options)
        finally:
            cluster.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--on", choices=["local", "dask", "ray"], default="local")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as directory:
        alone, found = compare(Path(directory), options.files, options.kills, options.on)
    print(f"{options.files} files, {len(alone.output)} bytes of matches")
    print(f"one machine: {alone.seconds:.1f} s")
    print(f"{options.on}, {found.kills} kills: {found.seconds:.1f} s")
    print("the same bytes" if found[:2] == alone[:2] else f"OTHER BYTES: {found.errors.decode()}")


if __name__ == "__main__":
    main()
