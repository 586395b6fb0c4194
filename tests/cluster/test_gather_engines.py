"""Engines: tasks are spread, lost ones are sent again, and errors name a remedy."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import subprocess
from collections import deque
from pathlib import Path

import memgroup
import pytest
from memgroup.engines import dask as dask_engine
from memgroup.engines.connect import connector
from memgroup.engines.engine import (
    AHEAD,
    LACKING,
    MAX_LOST,
    Done,
    EngineError,
    LostWorker,
    Task,
    perform,
    spread,
)
from support.clusters import Cluster, Host, lacking_memgroup, lacking_modules, two_hosts
from support.gathering import COMMAND, ENOUGH, gather


def double(job: str, batch: int) -> str:
    if batch < 0:
        raise ValueError("negative")
    return f"{job}{2 * batch}"


class Fake:
    """An engine that performs tasks in any order, and loses some."""

    def __init__(self, losses: float = 0.0, slots: int = 3) -> None:
        self._chance = random.Random(1)
        self._losses = losses
        self._slots = slots
        self.under_way: deque[tuple[int, Task]] = deque()
        self.most = self.closed = 0

    def slots(self) -> int:
        return self._slots

    def submit(self, number: int, task: Task) -> None:
        self.under_way.append((number, task))
        self.most = max(self.most, len(self.under_way))

    def wait(self) -> Done:
        self.under_way.rotate(self._chance.randrange(9))
        number, task = self.under_way.popleft()
        if self._chance.random() < self._losses:
            return Done(number, LostWorker("gone"))
        try:
            return Done(number, perform("fake", task))
        except Exception as error:
            return Done(number, error)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("losses", [0, 0.3])
def test_results_are_in_order_whatever_the_engine_does(losses):
    engine = Fake(losses)
    found = [reply.result for reply in spread(engine, double, "n", range(1000))]
    assert found == [f"n{2 * number}" for number in range(1000)]
    assert engine.most <= 3 * AHEAD
    assert engine.closed == 1


def test_no_batches():
    engine = Fake()
    assert list(spread(engine, double, "", [])) == []
    assert engine.closed == 1


def test_a_batch_that_costs_every_worker_ends_the_job():
    engine = Fake(losses=1)
    with pytest.raises(
        EngineError, match=f"a batch failed: {MAX_LOST + 1} workers ended with it, the last: gone"
    ):
        list(spread(engine, double, "", [1]))
    assert engine.closed == 1


def test_an_error_of_the_work_ends_the_job():
    engine = Fake()
    with pytest.raises(ValueError, match="negative"):
        list(spread(engine, double, "", [1, -1]))
    assert engine.closed == 1


def test_another_version_is_an_error():
    with pytest.raises(
        EngineError, match=r"w has memgroup .*, and the job comes from 0.0.7: install the same"
    ):
        perform("w", Task(double, "", 1, "0.0.7"))


def test_only_addresses_and_clients_are_taken():
    for target in ("dask://", "nowhere", 7, None):
        with pytest.raises(ValueError, match=r"local, dask://HOST:PORT \(of a scheduler\) or ray://"):
            connector(target)


SLOW = """
import time

def load():
    time.sleep(0.5)
    return "loaded"

class Reply:
    def __reduce__(self):
        return load, ()

def work(job, batch):
    return Reply()
"""


def search(where: str, *arguments: str, cwd: Path, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    done = subprocess.run(
        [*prefix, *COMMAND, "--find=x", "--on", where, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=ENOUGH,
        check=False,
    )
    return done.returncode, done.stderr


class TestDask:
    @pytest.fixture(autouse=True)
    def _dask(self):
        pytest.importorskip("distributed")

    def test_where_nobody_listens(self, monkeypatch):
        monkeypatch.setattr(dask_engine, "_PATIENCE", 1)
        with pytest.raises(
            EngineError, match=r"dask://127.0.0.1:1: no dask scheduler answers there .* `dask scheduler`"
        ):
            connector("dask://127.0.0.1:1")()

    def test_workers_that_cannot_do_it(self, tmp_path):
        (tmp_path / "file").write_text("x\n")
        with two_hosts() as hosts:
            cluster = Cluster(hosts, tmp_path)
            try:
                prefix = hosts[0].prefix
                status, message = search(cluster.address, cwd=tmp_path, prefix=prefix)
                assert status == 2
                assert "its scheduler has no worker" in message
                assert f"start one with `dask worker {cluster.address.removeprefix('dask://')}`" in message
                cluster.start_worker(1, PYTHONPATH=lacking_memgroup(tmp_path))
                status, message = search(cluster.address, cwd=tmp_path, prefix=prefix)
                assert (status, message) == (2, f"memgroup gather: {LACKING}\n")
            finally:
                cluster.close()

    def test_a_reply_may_take_its_time(self, tmp_path, monkeypatch):
        """Fetching it was begun again and again."""
        monkeypatch.setattr(dask_engine, "_CHECK_INTERVAL", 0.1)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "slow.py").write_text(SLOW)
        cluster = Cluster([Host("127.0.0.1")], tmp_path)
        try:
            cluster.start_worker(0, PYTHONPATH=str(tmp_path))
            replies = spread(connector(cluster.address)(), importlib.import_module("slow").work, "", [1, 2])
            assert [reply.result for reply in replies] == ["loaded", "loaded"]
        finally:
            cluster.close()

    def test_workers_need_neither_numpy_nor_pyarrow(self, tmp_path, tree):
        distributed = pytest.importorskip("distributed")
        cluster = Cluster([Host("127.0.0.1")], tmp_path)
        try:
            cluster.start_worker(0, PYTHONPATH=lacking_modules(tmp_path, "numpy", "pyarrow", "pandas"))
            address = cluster.address.replace("dask://", "tcp://")
            with distributed.Client(address, set_as_default=False) as client:
                for name in ("numpy", "pyarrow"):
                    with pytest.raises(ModuleNotFoundError, match=name):
                        client.submit(importlib.import_module, name).result()
                expected = [(paths, files.tolist()) for paths, files in memgroup.gather(tree, find="abca")]
                found = memgroup.gather(tree, find="abca", client=client)
                assert [(paths, files.tolist()) for paths, files in found] == expected
            for options in (["--find=abca"], ["--find=abca", "-c"], ["--find=abca", "--json"]):
                assert gather(*options, "--on", cluster.address, cwd=tree) == gather(*options, cwd=tree)
            if importlib.util.find_spec("pyarrow"):
                for name, where in (("1", []), ("2", ["--on", cluster.address])):
                    table = tmp_path / f"{name}.parquet"
                    assert gather("--find=abca", "-a", "--out", table, *where, cwd=tree) == (0, b"", [])
                assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
        finally:
            cluster.close()


def test_a_directory_that_workers_have_not():
    from memgroup.engines.batches import Files
    from memgroup.engines.searching import Search, search_batch

    search = Search(b"/nowhere at all", [b"x"], [], ["lines"], 1 << 20, 1)
    with pytest.raises(EngineError, match=r"cannot open the directory /nowhere at all .*at the same paths"):
        search_batch(search, Files([], []))


def test_local_processes_are_gone_afterwards():
    engine = connector("local")()
    replies = spread(engine, double, "", range(100))
    workers = {next(replies).worker for _ in range(20)}
    replies.close()
    for worker in workers:
        assert not os.path.exists(f"/proc/{worker.removeprefix('process ')}")
