"""`memgroup.gather(client=…)`: batches that workers have read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import memgroup
import pytest
from memgroup._files import split
from support.gathering import contents

LEAST = 256 * 1024


def listed(batches) -> list[tuple]:
    return [
        (paths, files.tolist(), batch.offsets, {path: str(error) for path, error in batch.errors.items()})
        for batch in batches
        for paths, files in [batch]
    ]


@pytest.fixture(scope="module", params=["local", "client"])
def client(request, tmp_path_factory):
    if request.param == "local":
        yield "local"
        return
    distributed = pytest.importorskip("distributed")
    from support.clusters import Cluster, Host

    cluster = Cluster([Host("127.0.0.1")], tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_worker(0)
        address = cluster.address.replace("dask://", "tcp://")
        with distributed.Client(address, set_as_default=False) as client:
            yield client
    finally:
        cluster.close()


@pytest.mark.parametrize("memory", [LEAST, 1 << 28])
@pytest.mark.parametrize(
    "options",
    [{}, {"find": "abca"}, {"find": ["ABCA", b"cc"], "ignore_case": True}, {"find": "^$", "regex": True}],
)
def test_batches_are_those_of_one_machine(tree, client, memory, options):
    (tree / "large").write_bytes(b"a line abca\n" * 100_000)
    (tree / "long").write_bytes(b"x" * 600_000)
    (tree / "locked").symlink_to("nowhere")
    paths = [tree, tree / "locked", tree / "nowhere"]
    found = listed(memgroup.gather(paths, memory=memory, client=client, **options))
    assert found == listed(memgroup.gather(paths, memory=memory, **options))


def test_relative_paths_and_names_of_any_bytes(tmp_path, client, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    Path(os.fsdecode(b"d/caf\xe9")).write_text("text")
    for paths in (".", "d", ["d/", "nowhere"]):
        assert listed(memgroup.gather(paths, client=client)) == listed(memgroup.gather(paths))


def test_blocks_outlast_the_batches(tree, client):
    kept = list(memgroup.gather(tree, memory=LEAST, client=client))
    found = {path: file for paths, files in kept for path, file in zip(paths, files.tolist(), strict=True)}
    assert found == contents(tree)


def test_an_early_end(tree, client):
    batches = memgroup.gather(tree, memory=LEAST, client=client)
    assert next(batches)[0]
    batches.close()


def test_files_that_vanish_are_errors(tmp_path, client, monkeypatch):
    for name in "abc":
        (tmp_path / name).write_text(name)

    def delete_b(walk, memory):
        for paths, size in split(walk, memory):
            (tmp_path / "b").unlink()
            yield paths, size

    monkeypatch.setattr("memgroup.engines.reading.split", delete_b)
    [batch] = memgroup.gather(tmp_path, client=client)
    assert batch[0] == [str(tmp_path / "a"), str(tmp_path / "c")]
    assert {
        path: (type(error), getattr(error, "filename", None)) for path, error in batch.errors.items()
    } == {str(tmp_path / "b"): (FileNotFoundError, str(tmp_path / "b"))}


def test_what_is_wrong_is_said_at_once(tmp_path):
    for client in ("nowhere", 7):
        with pytest.raises(ValueError, match="local, dask://HOST:PORT"):
            memgroup.gather(tmp_path, client=client)
    with pytest.raises(ValueError, match="unclosed group"):
        memgroup.gather(tmp_path, find="(", regex=True, client="local")


def test_batches_can_be_pickled(tree):
    batches = memgroup.gather(tree, memory=LEAST)
    batch = next(batches)
    copy = pickle.loads(pickle.dumps(batch))
    assert (listed([copy]), copy.result) == (listed([batch]), None)
