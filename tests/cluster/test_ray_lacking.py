"""Tasks of Ray that take blocks and lists in processes without memgroup, or without numpy and pyarrow."""

from __future__ import annotations

from typing import Any

import pytest
from memgroup import MemGroup
from support.clusters import PATIENCE, lacking_modules, without_memgroup

pytest.importorskip("ray")


def run(store: Any, modules: str, task: Any, *arguments: Any) -> Any:
    """The result of a task in a process with this PYTHONPATH."""
    environment = {"env_vars": {"PYTHONPATH": modules}}
    return store.get(store.remote(runtime_env=environment)(task).remote(*arguments), timeout=PATIENCE)


def test_a_task_without_memgroup_fails_and_names_it(store, tmp_path):
    modules = without_memgroup(tmp_path)
    group = MemGroup()
    for data in (group.copy(b"block"), group.copy(b"line\n" * 300_000).splitlines()):
        for sent in (data, store.put(data)):
            with pytest.raises(store.exceptions.RayError, match="No module named 'memgroup'"):
                run(store, modules, lambda data: len(data), sent)


def test_tasks_need_neither_numpy_nor_pyarrow(store, tmp_path):
    modules = lacking_modules(tmp_path, "pyarrow", "numpy", "pandas")
    records = MemGroup().copy(b"line\nand another\n" * 100_000).splitlines()

    def task(block: Any, records: Any) -> Any:
        for name in ("numpy", "pyarrow"):
            try:
                __import__(name)
            except ModuleNotFoundError:
                continue
            raise AssertionError(name)
        return block[1:], records[1:]

    block, taken = run(store, modules, task, store.put(records[1]), store.put(records))
    assert (block, taken) == (records[1][1:], records[1:])
