"""Processes that are killed at any moment: survivors get what was sent or an error, nothing is left behind.

MEMGROUP_SHARE_KILLS sets how many are killed, MEMGROUP_SHARE_SEED the seed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from memgroup.futures import ProcessPoolExecutor
from support.clusters import wait_until

KILLS = int(os.environ.get("MEMGROUP_SHARE_KILLS") or 60)
PROGRAM = Path(__file__).parent.parent / "support" / "victims.py"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.thread_unsafe(reason="ends processes"),
]


def test_survivors_get_what_was_sent_or_an_error_and_nothing_is_left_behind():
    seed = int(os.environ.get("MEMGROUP_SHARE_SEED") or random.randrange(1 << 30))
    command = [sys.executable, str(PROGRAM), str(KILLS), str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300 + KILLS, check=False)
    print(ended.stdout)
    assert ended.returncode == 0, (seed, ended.stdout, ended.stderr[-10_000:])
    assert f"{KILLS} kills" in ended.stdout


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_end_when_their_parent_was_killed(child, method):
    ended = child.run(
        """
        import multiprocessing, time
        from memgroup.futures import ProcessPoolExecutor

        warnings.simplefilter("ignore")
        pool = ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]))
        # Those that are started as programs import this one by no name.
        futures = [pool.submit(os.getpid), *(pool.submit(time.sleep, 0.2) for _ in range(2))]
        for future in futures:
            future.result()
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        method,
    )
    assert ended.returncode == -signal.SIGKILL
    workers = [int(pid) for pid in ended.stdout.split()]
    assert workers
    wait_until(lambda: all(map(has_ended, workers)), "the workers end")


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


class KillsWhenLoaded:
    """Kills a worker when the parent unpickles it."""

    def __init__(self, pid):
        self.pid = pid

    def __reduce__(self):
        return os.kill, (self.pid, signal.SIGKILL)


def kill_another(pids, seconds):
    (other,) = set(pids) - {os.getpid()}
    time.sleep(seconds)
    return KillsWhenLoaded(other)


def test_a_worker_that_dies_with_the_queue_of_tasks_during_the_shutdown_does_not_keep_the_others():
    """The one that waits for the next task has the queue's lock, which nobody gets any more."""
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    pids = set()
    while len(pids) < 2:
        pids.update(pool.map(pid_after, [0.2, 0.2]))
    pool.submit(kill_another, pids, 0.5)
    shutdown = threading.Thread(target=pool.shutdown, daemon=True)
    shutdown.start()
    shutdown.join(30)
    assert not shutdown.is_alive()


def test_a_worker_does_its_task_before_it_follows_its_parent(child, tmp_path):
    ended = child.run(
        """
        import multiprocessing, pathlib, time
        from memgroup.futures import ProcessPoolExecutor

        def work(path):
            (path / "begun").touch()
            time.sleep(2)
            (path / "done").touch()

        path = pathlib.Path(sys.argv[1])
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
        pool.submit(work, path)
        while not (path / "begun").exists():
            time.sleep(0.01)
        print(multiprocessing.active_children()[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert ended.returncode == -signal.SIGKILL
    wait_until(lambda: has_ended(int(ended.stdout)), "the worker ends")
    assert (tmp_path / "done").exists()
