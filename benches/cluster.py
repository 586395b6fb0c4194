"""Records of 16-512 bytes from one worker process of dask or Ray to another, in several forms.

    python benches/cluster.py                    a million records, five rounds of everything
    python benches/cluster.py --engine ray       one engine
    python benches/cluster.py --form MemList --form "Arrow array"
    python benches/cluster.py --rounds 1 --records 10000

Each round starts new worker processes for each form, by turns, and warms them up with a few records in that
form. Then one worker makes the records, and the other asks for them. Figures are medians of the rounds:

- put: with Ray, milliseconds that the first worker takes to put them into the object store.
- get: milliseconds until the other worker has them.
- peak: MiB by which the resident memory of both workers rises in between, at most.
- kept: MiB of these that the receiver has afterwards.

The memory of Ray's store counts for nobody: it holds the bytes of every form once.
Needs dask.distributed, Ray and pyarrow: pip install -e ".[bench,test]", and a release build of memgroup.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import memgroup
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.clusters import Cluster, Host
from support.rays import ENVIRONMENT, resident

MIB = 1 << 20
SMALLEST, LARGEST = 16, 512
STORE_BYTES = 1 << 31
WARM_UP = 1000
TOUCHED_BYTES = 1 << 31
MADV_POPULATE_WRITE = 23

BYTES, LIST, BLOCK, ARROW = FORMS = ("list of bytes", "MemList", "MemBlock", "Arrow array")
"""The block has the same bytes, and does not know the records."""

GOALS = ((BYTES, "time", 0.1), (BYTES, "peak", 1 / 3), (ARROW, "time", 1.1), (ARROW, "peak", 1.1))
"""What a MemList should take at most, as a part of what another form takes: time is that of put and get."""


class Memory(NamedTuple):
    """Resident bytes of a process: without Ray's store, of the store, and the most of both since `mark`."""

    own: int
    store: int
    most: int


class Transfer(NamedTuple):
    """What one transfer took: seconds, and bytes."""

    put: float
    get: float
    peak: int
    kept: int

    @property
    def time(self) -> float:
        """From one worker to the other."""
        return self.put + self.get


def made(form: str, records: int) -> Any:
    """Random records in one of the forms."""
    sizes = np.random.default_rng(records).integers(SMALLEST, LARGEST, records, endpoint=True)
    ends = np.cumsum(sizes)
    content = np.random.default_rng(1).bytes(int(ends[-1]))
    if form == LIST:
        found = memgroup.MemGroup(base=2 * len(content)).alloc_many(sizes)
        found.fill_from(content)
        return found
    if form == BLOCK:
        return memgroup.MemGroup(base=len(content)).copy(content)
    if form == ARROW:
        offsets = pa.py_buffer(np.concatenate([[0], ends]).astype("i4"))
        return pa.Array.from_buffers(pa.binary(), records, [None, offsets, pa.py_buffer(content)])
    return [content[end - size : end] for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)]


def seen(records: Any) -> int:
    """Look at the last record."""
    return len(str(records[len(records) - 1]))


def mark() -> Memory:
    """Give free memory back, and begin to look for the most.

    Huge pages are touched before: the host of a virtual machine takes away what is free, and whoever is the
    first to touch it again pays for that.
    """
    gc.collect()
    with mmap.mmap(-1, TOUCHED_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as touched:
        touched.madvise(mmap.MADV_HUGEPAGE)
        touched.madvise(MADV_POPULATE_WRITE)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory()


def memory() -> Memory:
    """The resident memory of this process."""
    found = resident()
    status = Path("/proc/self/status").read_text()
    return Memory(found.own + found.files, found.store, 1024 * int(status.partition("VmHWM:")[2].split()[0]))


def rise(before: Memory, after: Memory) -> int:
    """How far the resident memory rose, without Ray's store."""
    return max(after.most - before.own - after.store, after.own - before.own, 0)


def by_dask(form: str, records: int) -> Transfer:
    """From a worker of dask to another."""
    distributed = import_module("distributed")
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster([Host("127.0.0.1")], Path(directory))
        try:
            for number in range(2):
                cluster.start_worker(number)
            with distributed.Client(cluster.address.replace("dask://", "tcp://")) as client:
                dask_transfer(client, form, WARM_UP)
                return dask_transfer(client, form, records)
        finally:
            cluster.close()


def dask_transfer(client: Any, form: str, records: int) -> Transfer:
    """Make the records on one worker, and ask for them on the other."""
    sender, receiver = client.scheduler_info()["workers"]
    sent = client.submit(made, form, records, workers=[sender], pure=False)
    import_module("distributed").wait(sent)
    before = client.run(mark)
    start = time.perf_counter()
    client.submit(seen, sent, workers=[receiver], pure=False).result()
    seconds = time.perf_counter() - start
    after = client.run(memory)
    kept = after[receiver].own - before[receiver].own
    return Transfer(0, seconds, sum(rise(before[one], after[one]) for one in before), kept)


class Worker:
    """A process of Ray that has some records."""

    def make(self, form: str, records: int) -> Memory:
        """Make the records."""
        self.records = made(form, records)
        return mark()

    def put(self) -> tuple[list[Any], float, Memory]:
        """Put them into the store."""
        start = time.perf_counter()
        reference = import_module("ray").put(self.records)
        return [reference], time.perf_counter() - start, memory()

    def get(self, references: list[Any]) -> tuple[Memory, float, Memory]:
        """Get them from the store."""
        before = mark()
        start = time.perf_counter()
        self.records = import_module("ray").get(references[0])
        seen(self.records)
        return before, time.perf_counter() - start, memory()


def by_ray(form: str, records: int) -> Transfer:
    """From a worker of Ray to another: by way of the object store."""
    ray = import_module("ray")
    kind = ray.remote(num_cpus=0)(Worker)
    sender, receiver = kind.remote(), kind.remote()
    try:
        ray_transfer(sender, receiver, form, WARM_UP)
        return ray_transfer(sender, receiver, form, records)
    finally:
        ray.kill(sender)
        ray.kill(receiver)


def ray_transfer(sender: Any, receiver: Any, form: str, records: int) -> Transfer:
    """Make the records in one process, put them, and get them in the other."""
    ray = import_module("ray")
    before = ray.get(sender.make.remote(form, records))
    references, put, after = ray.get(sender.put.remote())
    receiver_before, get, receiver_after = ray.get(receiver.get.remote(references))
    peak = rise(before, after) + rise(receiver_before, receiver_after)
    return Transfer(put, get, peak, receiver_after.own - receiver_before.own)


def measure(
    transfer: Callable[[str, int], Transfer], forms: Sequence[str], records: int, rounds: int
) -> dict[str, Transfer]:
    """The medians of each form."""
    found: dict[str, list[Transfer]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form in forms:
            found[form].append(transfer(form, records))
    return {
        form: Transfer(*map(statistics.median, zip(*transfers, strict=True)))
        for form, transfers in found.items()
    }


def report(engine: str, found: dict[str, Transfer], records: int) -> None:
    """Print a table, and how near a MemList is to the goals."""
    sizes = np.random.default_rng(records).integers(SMALLEST, LARGEST, records, endpoint=True)
    print(f"\n{engine}: {records} records, {sizes.sum() / MIB:.1f} MiB\n")
    print("| | put ms | get ms | peak MiB | kept MiB | kept % |\n| --- | --- | --- | --- | --- | --- |")
    for form, (put, get, peak, kept) in found.items():
        figures = f"{put * 1e3:.1f} | {get * 1e3:.1f} | {peak / MIB:.1f} | {kept / MIB:.1f}"
        print(f"| {form} | {figures} | {100 * kept / sizes.sum():.2f} |")
    print()
    for form, name, goal in GOALS:
        if not {LIST, form} <= found.keys():
            continue
        ours, theirs = getattr(found[LIST], name), getattr(found[form], name)
        print(
            f"MemList / {form}, {name}: {ours / theirs:.3f} (goal: {goal:.2f})" if theirs else f"{name}: none"
        )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=["dask", "ray"])
    parser.add_argument("--form", action="append", choices=FORMS)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    # Workers measure themselves with what is there.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))
    how = options.form or FORMS, options.records, options.rounds
    if options.engine != "ray":
        report("dask", measure(by_dask, *how), options.records)
    if options.engine != "dask":
        os.environ.update(ENVIRONMENT)
        ray = import_module("ray")
        ray.init(
            address="local",
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
        )
        try:
            report("Ray", measure(by_ray, *how), options.records)
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
