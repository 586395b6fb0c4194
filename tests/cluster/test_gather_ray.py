"""`memgroup gather --on ray://…`: what it prints on one machine, from the nodes of Ray."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
from memgroup.engines.connect import connector
from memgroup.engines.engine import LACKING, EngineError
from support.clusters import PATIENCE, lacking_memgroup, lacking_modules
from support.gathering import facts, gather, interrupted
from support.kills import gather_with_kills, kill_child, kill_one, make_tree
from support.rays import RayCluster

pytest.importorskip("ray")
pytest.importorskip("grpc")


@pytest.mark.parametrize(
    "question",
    [
        ["--find=abca"],
        ["--find=abca", "-c"],
        ["--find=abca", "--json"],
        ["--find=abca", "-a", "--out"],
        ["--out"],
    ],
    ids=" ".join,
)
def test_the_same_bytes(tree, ray_cluster: RayCluster, question):
    prefix = ray_cluster.hosts[0].prefix
    on = ["--on", ray_cluster.address, "--batch=100K"]
    if question[-1] != "--out":
        expected = gather(*question, cwd=tree)
        assert gather(*question, *on, cwd=tree, prefix=prefix) == expected
        return
    pytest.importorskip("pyarrow")
    tables = [tree.parent / f"{number}.parquet" for number in range(2)]
    for table, options in zip(tables, ([], on), strict=True):
        assert gather(*question, table, *options, cwd=tree, prefix=prefix) == (0, b"", [])
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_the_report_is_that_of_one_machine(tree, ray_cluster: RayCluster):
    (expected, _), (found, workers) = (
        facts(gather("--json", *on, cwd=tree, prefix=ray_cluster.hosts[0].prefix)[1])
        for on in ([], ["--on", ray_cluster.address, "--batch=100K"])
    )
    assert found == expected
    assert sum(worker["bytes"] for worker in workers) == found["bytes"]


CLIENT = """
import sys, memgroup, ray
ray.init(sys.argv[1], log_to_driver=False)
def listed(**options):
    return [(paths, files.tolist()) for paths, files in memgroup.gather(".", find="abca", **options)]
assert listed(client=ray) == listed()
assert ray.is_initialized()
"""


def test_a_connected_ray_is_a_client(tree, ray_cluster: RayCluster):
    command = [*ray_cluster.hosts[0].prefix, sys.executable, "-c", CLIENT, ray_cluster.address]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


def test_killed_workers_cost_no_byte(tmp_path, ray_cluster: RayCluster):
    tree = tmp_path / "tree"
    make_tree(tree, 6000)
    alone = gather_with_kills(tree, 0, 0, kill_child, ())
    options = ray_cluster.hosts[0].prefix, "--on", ray_cluster.address
    found = gather_with_kills(
        tree, 5, len(alone.output), partial(kill_one, workers=ray_cluster.workers), *options
    )
    assert (found.output, found.errors) == (alone.output, b"")
    assert found.kills


def test_ctrl_c_ends_it_while_workers_wait(tmp_path, ray_cluster: RayCluster):
    prefix, where = ray_cluster.hosts[0].prefix, ray_cluster.address
    *ended, seconds = interrupted(tmp_path / "fifo", prefix, "--on", where)
    assert ended == [130, b"", b"memgroup: interrupted\n"]
    assert seconds < PATIENCE / 6


def test_workers_without_memgroup(tmp_path, hosts, ray_cluster):
    (tmp_path / "file").write_text("x\n")
    lacking = RayCluster(hosts, PYTHONPATH=lacking_memgroup(tmp_path))
    try:
        status, _, messages = gather(
            "--find=x", "--on", lacking.address, cwd=tmp_path, prefix=hosts[0].prefix
        )
        assert (status, messages) == (2, [b"memgroup gather: " + LACKING.encode()])
    finally:
        lacking.close()


def test_workers_need_neither_numpy_nor_pyarrow(tree, tmp_path, hosts):
    bare = RayCluster(hosts, PYTHONPATH=lacking_modules(tmp_path, "numpy", "pyarrow", "pandas"))
    try:
        found = gather("--find=abca", "--on", bare.address, cwd=tree, prefix=hosts[0].prefix)
        assert found == gather("--find=abca", cwd=tree)
    finally:
        bare.close()


def test_where_nobody_listens():
    with pytest.raises(
        EngineError, match=r"ray://127.0.0.1:1: no Ray cluster answers there .* `ray start --head`"
    ):
        connector("ray://127.0.0.1:1")()
