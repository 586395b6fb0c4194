"""The memory of dask's workers: blocks and lists go to the disk and come back, and leave with their tasks."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from memgroup import MemBlock, MemGroup, MemList
from support.clusters import Cluster, Host, wait_until

distributed = pytest.importorskip("distributed")

LIMIT = 50 * 2**20  # of which 60 % are for results in memory
PART = 10 * 2**20
LARGE = 24 * 2**20

# Large buffers go back to the kernel, and the limit is for results alone: a worker takes more than that.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**20),
    "MEMGROUP_WARM_LIMIT": "0",
    **{f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": "False" for name in ("SPILL", "PAUSE", "TERMINATE")},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The client of two workers, which keep no memory warm, and 30 MiB of results in memory."""
    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).parent
        # The functions of tasks are found by their names.
        patch.setenv("PYTHONPATH", f"{here}:{here.parent}")
        cluster = Cluster([Host("127.0.0.1")], tmp_path_factory.mktemp("cluster"))
        try:
            for number in range(2):
                options = "--memory-limit", str(LIMIT)
                cluster.start_worker(number, *options, **ENVIRONMENT)
            with distributed.Client(cluster.address.replace("dask://", "tcp://")) as client:
                yield client
        finally:
            cluster.close()


def sizes(nbytes: int) -> list[int]:
    """Of records of 16 to 512 bytes."""
    return [16 + number * 7919 % 497 for number in range(nbytes // 264)]


def filled(thing: Any, number: int) -> Any:
    content = (number.to_bytes() + bytes(range(251))) * (thing.nbytes // 252 + 1)
    if isinstance(thing, MemBlock):
        thing[:] = content[: thing.nbytes]
    else:
        thing.fill_from(content[: thing.nbytes])
    return thing


KINDS: dict[str, Callable[[MemGroup], Any]] = {
    "block": lambda group: group.alloc(PART),
    "mixed list": lambda group: group.alloc_many(sizes(PART)),
    "uniform list": lambda group: group.alloc_many([256] * (PART // 256)),
    "aligned list": lambda group: group.alloc_many([*sizes(PART), 70_000], align=64),
}


def made(kind: str, number: int, is_protected: bool) -> MemBlock | MemList:
    group = MemGroup(name="made")
    thing = filled(KINDS[kind](group), number)
    return group.protect(thing) if is_protected else thing


def described(thing: MemBlock | MemList, align: int) -> tuple[Any, ...]:
    """Kind, protection, contents, and whether all addresses are multiples of `align`."""
    blocks = [thing] if isinstance(thing, MemBlock) else thing
    are_aligned = all(block.address % align == 0 for block in blocks)
    contents = [bytes(thing)] if isinstance(thing, MemBlock) else thing.tolist()
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    return type(thing).__name__, thing.readonly, [*map(len, contents)], digest, are_aligned


def large() -> MemList:
    """A list in a group of its own, which the worker knows weakly."""
    group = MemGroup(name="large")
    distributed.get_worker().group = ref(group)
    return filled(group.alloc_many(sizes(LARGE)), 1)


def resident(dask_worker: Any) -> int:
    """The resident memory of a worker, without its libraries' code and garbage."""
    gc.collect()
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return sum(1024 * int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem"))


def test_groups_end_when_the_results_of_tasks_are_released(client):
    workers = client.scheduler_info()["workers"]
    # The first time, libraries take memory that they keep.
    sent_and_released(client, *workers)
    before, during, after = sent_and_released(client, *workers)
    for worker in workers:
        assert during[worker] - before[worker] > LARGE * 0.9
        assert after[worker] - before[worker] < LARGE * 0.1


def sent_and_released(client: Any, sender: str, receiver: str) -> list[dict[str, int]]:
    """The resident memory of both before a list is made and sent, while both have it, and afterwards."""
    memory = [client.run(resident)]
    sent = client.submit(large, workers=[sender], pure=False)
    taken = client.submit(lambda records: records[10:], sent, workers=[receiver], pure=False)
    distributed.wait([sent, taken])
    memory.append(client.run(resident))
    del sent
    wait_until(lambda: client.run(has_no_group, workers=[sender])[sender], "the group of the sender ends")
    shown = client.submit(lambda records: records.nbytes, taken, workers=[receiver], pure=False)
    assert shown.result() > LARGE * 0.99
    del taken, shown
    wait_until(lambda: client.run(results) == {sender: 0, receiver: 0}, "the results are released")
    memory.append(client.run(resident))
    return memory


def has_no_group(dask_worker: Any) -> bool:
    return dask_worker.group() is None


def results(dask_worker: Any) -> int:
    return len(dask_worker.data)


@pytest.mark.parametrize("is_protected", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_data_that_went_to_the_disk_comes_back_in_groups(client, kind, is_protected):
    worker = next(iter(client.scheduler_info()["workers"]))
    futures = [
        client.submit(made, kind, number, is_protected, workers=[worker], pure=False) for number in range(6)
    ]
    distributed.wait(futures)
    keys = [future.key for future in futures]
    ((in_memory, on_disk),) = client.run(kept, keys, workers=[worker]).values()
    assert on_disk >= 3
    assert in_memory <= 3
    align = 64 if kind == "aligned list" else 16
    for number, future in enumerate(futures):
        found = client.submit(described, future, align, workers=[worker], pure=False).result()
        assert found == described(made(kind, number, is_protected), align)
        assert found[-1]


def kept(keys: list[str], dask_worker: Any) -> tuple[int, int]:
    """How many of some results a worker has in memory, and on disk."""
    data = dask_worker.data
    return sum(key in data.memory for key in keys), sum(key in data.disk for key in keys)
