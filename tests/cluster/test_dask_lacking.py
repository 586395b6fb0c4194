"""Data of memgroup that dask sends to workers without memgroup, where tasks say so, and without numpy."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from memgroup import MemGroup
from support.clusters import PATIENCE, Cluster, Host, lacking_modules, without_memgroup

distributed = pytest.importorskip("distributed")

SAID = "No module named 'memgroup': a block or list was sent .* pip install it on every worker"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The client of three workers: one has everything, one no memgroup, and one neither numpy nor pyarrow."""
    directory, bare = tmp_path_factory.mktemp("cluster"), tmp_path_factory.mktemp("bare")
    cluster = Cluster([Host("127.0.0.1")], directory)
    try:
        cluster.start_worker(0, "--name", "full")
        cluster.start_worker(0, "--name", "lacking", PYTHONPATH=without_memgroup(directory))
        modules = lacking_modules(bare, "numpy", "pyarrow", "pandas")
        cluster.start_worker(0, "--name", "bare", PYTHONPATH=modules)
        with distributed.Client(cluster.address.replace("dask://", "tcp://")) as client:
            yield client
    finally:
        cluster.close()


def on(client: Any, worker: str, task: Any, *arguments: Any) -> Any:
    return client.submit(task, *arguments, workers=[worker], pure=False)


@pytest.fixture(params=["block", "large block", "list", "large list", "scattered list"])
def data(request) -> Any:
    group = MemGroup()
    block = group.copy(b"a line\nand another\n" * (200_000 if "large" in request.param else 10))
    if "block" in request.param:
        return block
    return block.splitlines()[:: 2 if "scattered" in request.param else 1]


@pytest.fixture(params=["from a worker", "from the client", "with a task", "in a list"])
def sent(request, client, data) -> Any:
    if request.param == "from a worker":
        # It comes out of band, and shares the memory of a group.
        return on(client, "full", lambda data: data, data)
    if request.param == "from the client":
        return client.scatter(data, workers=["full"])
    return [data, 1] if request.param == "in a list" else data


def test_a_task_that_uses_it_fails_and_says_why(client, sent):
    uses = [
        lambda data: (data[0] if type(data) is list else data).nbytes,
        lambda data: len(data[0] if type(data) is list else data),
    ]
    for use in uses:
        with pytest.raises(ModuleNotFoundError, match=SAID):
            on(client, "lacking", use, sent).result(timeout=PATIENCE)


def test_a_worker_without_memgroup_sends_it_on(client, data):
    sent = on(client, "lacking", lambda data: data, on(client, "full", lambda data: data, data))
    assert on(client, "full", type, sent).result(timeout=PATIENCE) is type(data)
    assert sent.result(timeout=PATIENCE) == data


def test_every_other_use_says_what_is_missing(client, data):
    def message(use: Any, data: Any) -> str:
        try:
            return repr(use(data))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    for use in (bytes, iter, bool, sum, lambda data: data == 1, lambda data: data[0], lambda data: 1 in data):
        said = on(client, "lacking", message, use, data).result(timeout=PATIENCE)
        assert said.startswith("ModuleNotFoundError: No module named 'memgroup'")
    said = on(client, "lacking", message, memoryview, data).result(timeout=PATIENCE)
    assert "NeedsMemgroup" in said or "No module named 'memgroup'" in said
    said = on(client, "lacking", repr, data).result(timeout=PATIENCE)
    assert said == "<a block or list of memgroup, which is not installed here>"


def test_processes_that_are_none_of_dask_get_the_usual_error(data):
    program = "import pickle, sys; sys.modules['memgroup'] = None; pickle.load(sys.stdin.buffer)"
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(data), capture_output=True, check=False
    )
    assert b"ModuleNotFoundError: " in done.stderr.splitlines()[-1]


def test_the_loader_travels_once():
    block = MemGroup().copy(b"block")
    assert len(pickle.dumps([block] * 2)) < 5000
    blocks = [MemGroup().copy(b"block") for _ in range(1000)]
    assert pickle.dumps(blocks).count(b"class NeedsMemgroup") == 1


def test_workers_need_neither_numpy_nor_pyarrow(client, data):
    def lacks(name: str) -> bool:
        try:
            __import__(name)
        except ModuleNotFoundError:
            return True
        return False

    for name in ("numpy", "pyarrow"):
        assert on(client, "bare", lacks, name).result(timeout=PATIENCE)
    made = on(client, "bare", lambda data: data[1:], on(client, "full", lambda data: data, data))
    taken = on(client, "full", lambda data: data[1:], made)
    assert on(client, "bare", lambda data: data[1:], taken).result(timeout=PATIENCE) == data[3:]
