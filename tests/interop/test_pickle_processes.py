"""Blocks and lists pickled between processes."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from conftest import Child
from memgroup import MemGroup
from support.pickles import RECORDS, SKIPPING, THINGS, block_addresses, bytes_of, is_same, list_of

# Other processes


def changed(thing, addition: bytes):
    """Check the received objects, and send them back with one block more."""
    group = MemGroup()
    return type(thing).__name__, thing.readonly, bytes_of(thing), thing, group.protect(group.copy(addition))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_send_each_other_blocks_and_lists(method):
    sent = {name: make(MemGroup(base=4096)) for name, make in {**THINGS, **SKIPPING}.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork where there are threads
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            for thing in sent.values():
                kind, readonly, seen, back, more = pool.submit(changed, thing, b"more").result(timeout=100)
                assert (kind, readonly, seen) == (type(thing).__name__, thing.readonly, bytes_of(thing))
                assert is_same(back, thing)
                assert (bytes(more), more.readonly) == (b"more", True)


def test_a_forked_child_loads_into_groups_of_its_own(child: Child):
    code = """
    import pickle
    from memgroup import loads_into
    data = pickle.dumps(MemGroup().copy(b"hello"))
    mine = pickle.loads(data)
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        own = pickle.loads(data)
        own[:] = b"child"
        os.write(writing, pickle.dumps(own))
        os._exit(0)
    os.waitpid(pid, 0)
    later = pickle.loads(data)
    print(bytes(mine), bytes(later), bytes(pickle.loads(os.read(reading, 1000))))
    """
    assert child.output(code) == "b'hello' b'hello' b'child'"


def test_dask_is_given_the_bytes_themselves(group):
    np = pytest.importorskip("numpy")
    protocol = pytest.importorskip("distributed.protocol")
    block, records = group.copy(b"hello" * 100_000), list_of(group, RECORDS * 1000)
    for thing in (block, records):
        _, frames = protocol.serialize(thing)
        starts = [np.frombuffer(frame, "u1").ctypes.data for frame in frames]
        assert block_addresses(thing)[0] in starts


def test_dask_workers_get_and_give_blocks_and_lists(child: Child):
    pytest.importorskip("distributed")
    code = """
    if __name__ == "__main__":
        import logging, pickle, tempfile
        import dask
        from distributed import Client, LocalCluster
        dask.config.set({"distributed.worker.daemon": True, "temporary-directory": tempfile.mkdtemp()})
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            silence_logs=logging.ERROR,
        )
        with cluster, Client(cluster) as client:
            group = MemGroup()
            block = group.copy(b"hello" * 100_000)
            records = group.alloc_many([n % 700 for n in range(5_000)])
            records.fill_from(bytes(n % 251 for n in range(records.nbytes)))
            for sent in (block, group.protect(block), records, group.protect(records), records[::7]):
                here, there = sorted(client.scheduler_info()["workers"])
                kept = client.submit(lambda thing: thing, sent, workers=[here], pure=False)
                moved = client.submit(lambda thing: (os_pid(), thing), kept, workers=[there], pure=False)
                pid, back = moved.result(timeout=100)
                print(pid != os.getpid(), back == sent, back.readonly == sent.readonly, back in group)
    """.replace("os_pid()", "__import__('os').getpid()")
    ended = child.run(code)
    assert ended.stdout.splitlines() == ["True True True False"] * 5, ended.stderr
