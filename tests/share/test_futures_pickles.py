"""The executor: large pickles go through shared memory, small arguments and kept results share it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import sys
from concurrent.futures.process import _ResultItem
from multiprocessing import reduction
from pathlib import Path

import numpy as np
import pytest
from memgroup.futures import ProcessPoolExecutor, _worker
from memgroup.futures._pickling import ATOMIC, SMALL, LargeBuffers, dumps
from memgroup.futures._results import Links, executors
from memgroup.futures._tasks import TOGETHER, Arguments, Task

RECORDS = [bytes([number % 256]) * 100 for number in range(10_000)]
LARGE = [RECORDS, b"x" * 1_000_000, "ä" * 1_000_000, 1 << 2_000_000, {"a": RECORDS, "b": np.arange(100_000)}]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def single():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as made:
        yield made


@pytest.fixture
def worker():
    links = Links()
    made = _worker.Worker(links.theirs, links.id, os.getpid(), None, 60.0)
    yield made
    links.close()
    if made.link is not None:
        made.link.close()


def same(obj):
    return obj


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def memory_of(array):
    """The inode of the memory that an array lies in."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, _, _, inode, *_ = line.split()
        start, end = (int(address, 16) for address in addresses.split("-"))
        if start <= array.ctypes.data < end:
            return inode
    raise LookupError(f"no memory at {array.ctypes.data:#x}")


@pytest.mark.parametrize("obj", LARGE, ids=lambda obj: type(obj).__name__)
def test_large_pickles_go_there_and_back(single, obj):
    assert equal(single.submit(same, obj).result(), obj)


@pytest.mark.parametrize("obj", LARGE, ids=lambda obj: type(obj).__name__)
def test_the_pipe_carries_little_of_a_large_result(worker, obj):
    sent = reduction.ForkingPickler.dumps(worker.pack(obj))
    assert len(sent) < 2000
    assert equal(pickle.loads(sent), obj)


def test_a_result_without_buffers_gives_its_memory_back_at_once(worker):
    assert pickle.loads(reduction.ForkingPickler.dumps(worker.pack(RECORDS))) == RECORDS
    worker.groups.current = None
    assert _worker.readers(worker.group().stats()) == 0
    assert len(worker.groups.groups) == 1


def test_the_pipe_carries_little_of_a_large_argument():
    task = Task(Arguments(), same, (RECORDS,), {})
    sent = reduction.ForkingPickler.dumps(task)
    assert len(sent) < 2000
    fn, args, kwargs = pickle.loads(sent).load()
    assert (fn, args, kwargs) == (same, (RECORDS,), {})


def test_small_pickles_stay_in_the_pipe(worker):
    for obj in (b"x" * (ATOMIC // 2 - 100), ["x" * (ATOMIC - 100)]):
        assert worker.pack(obj) == obj or isinstance(worker.pack(obj), _worker.Pickled)
    assert worker.sent == 0


OF_EACH_SIZE = [
    *([b"x" * size, "ä" * size, [b"x" * size], 1 << 8 * size] for size in range(0, SMALL + 500, 777)),
    [np.full(100, 1), [np.zeros(5000)] * 2, [np.full(5000, number) for number in range(100)]],
]


def test_the_pipe_carries_no_more_of_any_result_than_is_written_at_once(worker):
    for objects in OF_EACH_SIZE:
        for obj in objects:
            sent = reduction.ForkingPickler.dumps(_ResultItem(1 << 40, result=worker.pack(obj)))
            # And how long it is.
            assert len(sent) + 4 <= select.PIPE_BUF
            assert alike(pickle.loads(sent).result, obj)


def alike(one, other):
    if isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and np.array_equal(one, other)


def test_a_pickle_that_was_sent_in_part_is_not_taken_for_another(worker):
    whole = worker.pack(["x" * 10_000])
    worker.link.settimeout(0.01)
    with pytest.raises(TimeoutError):
        all(worker.pack(["y" * 20_000]) for _ in range(1000))
    after = worker.pack(["z" * 10_000])
    assert pickle.loads(reduction.ForkingPickler.dumps(after)) == ["z" * 10_000]
    assert pickle.loads(reduction.ForkingPickler.dumps(whole)) == ["x" * 10_000]
    with pytest.raises(ConnectionError):
        pickle.loads(reduction.ForkingPickler.dumps(whole))


def array_and_descriptors(size):
    """A result, and how many descriptors the worker has."""
    return np.ones(size, "u1"), len(os.listdir("/proc/self/fd"))


def test_kept_results_share_descriptors(single):
    results = [single.submit(array_and_descriptors, 1024 * 1024).result() for _ in range(96)]
    first, last = results[0][1], results[-1][1]
    # Each group in slots of 1, 2, 4 and 8 MiB took four times as many.
    assert last - first < 48
    assert all(array[0] == array[-1] == 1 for array, _ in results)


def test_small_arguments_share_memory_that_a_worker_gets_once(single):
    arguments = [np.full(TOGETHER // 40, number, "u1") for number in range(80)]
    assert 2 <= len({single.submit(memory_of, argument).result() for argument in arguments}) <= 3
    large = np.ones(TOGETHER)
    assert single.submit(np.sum, large).result() == TOGETHER


def test_arguments_that_are_kept_are_never_written_again(single):
    for number in range(100):
        single.submit(keep, np.full(SMALL, number, "f8")).result()
    assert single.submit(kept_sums).result() == [SMALL * number for number in range(100)]


kept = []


def keep(array):
    kept.append(array)


def kept_sums():
    return [int(array.sum()) for array in kept]


class Plain:
    def __init__(self, number):
        self.number = number


def test_pickling_calls_nothing_for_objects_that_are_no_groups():
    objects, calls = [Plain(number) for number in range(1000)], []
    sys.setprofile(lambda frame, event, _: event == "call" and calls.append(frame.f_code.co_name))
    try:
        data = dumps(objects, LargeBuffers(), pytest.fail)
    finally:
        sys.setprofile(None)
    assert len(calls) < 100
    assert [obj.number for obj in pickle.loads(data)] == list(range(1000))


def mappings():
    return Path("/proc/self/maps").read_text().count("/memfd:results")


def test_the_end_of_a_link_forgets_its_memory_whatever_was_not_read(worker):
    sent, before = reduction.ForkingPickler.dumps(worker.pack(np.ones(SMALL))), mappings()
    array = pickle.loads(sent)
    came = mappings() - before
    assert came > 0
    (link,) = executors[worker.executor].all()
    worker.pack(["x" * 10_000])
    worker.groups.current = None
    worker.pack(np.zeros(SMALL))
    before = mappings()
    del array
    link.close()
    assert mappings() == before - came
