"""`memgroup gather --on` outlasts its workers, and Ctrl-C ends it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.clusters import PATIENCE, Cluster, Host, wait_until
from support.gathering import after, interrupted
from support.kills import compare, gather, make_tree


@pytest.mark.parametrize(("on", "files", "kills"), [("local", 4000, 10), ("dask", 3000, 5)])
def test_killed_workers_cost_no_byte(tmp_path, on, files, kills):
    """In full: `python -m support.kills`."""
    if on == "dask":
        pytest.importorskip("distributed")
    alone, found = compare(tmp_path, files, kills, on)
    assert (found.output, found.errors) == (alone.output, b"")
    assert found.kills


def test_the_end_of_a_scheduler_is_said(tmp_path):
    pytest.importorskip("distributed")
    make_tree(tmp_path / "tree", 4000)
    cluster = Cluster([Host("127.0.0.1")], tmp_path)
    try:
        cluster.start_worker(0)
        process = gather(tmp_path / "tree", (), "--on", cluster.address)
        wait_until((tmp_path / "out").read_bytes, "the gather goes on")
        cluster.scheduler.kill()
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        cluster.close()
    assert process.returncode == 2
    assert errors.startswith(b"memgroup gather: the dask scheduler has ended, or cancelled the job (")


@pytest.mark.parametrize("on", ["local", "dask"])
def test_ctrl_c_ends_it_while_workers_wait(tmp_path, on, request):
    where, prefix = "local", ()
    if on == "dask":
        cluster: Cluster = request.getfixturevalue("cluster")
        where, prefix = cluster.address, cluster.hosts[0].prefix
    *ended, seconds = interrupted(tmp_path / "fifo", prefix, "--on", where)
    assert ended == [130, b"", b"memgroup: interrupted\n"]
    assert seconds < PATIENCE / 6


def test_local_workers_end_with_a_killed_command(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x\n")
    process = subprocess.Popen(after("", "--find=x", "--on=local", "--batch=1", "file", "fifo"), cwd=tmp_path)
    writer = os.open(tmp_path / "fifo", os.O_WRONLY)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.wait()
    os.close(writer)
    wait_until(lambda: not any(os.path.exists(f"/proc/{child}") for child in children), "the workers end")
