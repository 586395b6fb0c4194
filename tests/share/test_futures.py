"""The executor: what concurrent.futures promises, and results and arguments through shared memory."""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import operator
import os
import signal
import threading
import time
from pathlib import Path

import memgroup
import numpy as np
import pytest
from memgroup import _memgroup
from memgroup.futures import BrokenProcessPool, ProcessPoolExecutor, _worker, result_group
from memgroup.futures._results import GATHER

METHODS = ["fork", "spawn", "forkserver"]
LARGE = 100_000

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

mark = None


def set_mark(value):
    global mark
    mark = value


def get_mark(_=None):
    return mark


@pytest.fixture(scope="module", params=METHODS)
def pool(request):
    context = multiprocessing.get_context(request.param)
    with ProcessPoolExecutor(2, context, initializer=set_mark, initargs=("set",)) as made:
        yield made


@pytest.fixture
def single():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as made:
        yield made


def same(obj):
    return obj


def arrays(count, size):
    return {"arrays": [np.full(size, number) for number in range(count)], "nested": [{"x": (1, "y")}]}


def test_it_is_the_standard_librarys(pool):
    assert isinstance(pool, concurrent.futures.ProcessPoolExecutor)
    assert pool.submit(pow, 2, 10).result() == 1024
    assert pool.submit(int, "ff", base=16).result() == 255
    assert list(pool.map(operator.add, range(100), range(100), chunksize=7)) == list(range(0, 200, 2))
    assert pool.submit(get_mark).result() == "set"
    assert all(value == "set" for value in pool.map(get_mark, [np.zeros(2)] * 3))


def test_results_with_arrays_at_any_depth(pool):
    result = pool.submit(arrays, 5, LARGE).result()
    assert result["nested"] == [{"x": (1, "y")}]
    for number, array in enumerate(result["arrays"]):
        assert (array == number).all()
        assert not array.flags.writeable
        assert array.ctypes.data % 64 == 0


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 4096, 4097, LARGE])
def test_arrays_of_every_size_go_there_and_back(pool, size):
    sent = np.arange(size, dtype="f8")
    np.testing.assert_array_equal(pool.submit(same, sent).result(), sent)
    np.testing.assert_array_equal(pool.submit(same, sent[::-2]).result(), sent[::-2])
    sent = np.arange(3 * size).reshape(3, size, order="F")
    np.testing.assert_array_equal(pool.submit(same, [sent]).result()[0], sent)


def build(size):
    group = result_group()
    array = group.full((size,), 7)
    block = group.copy(b"a block")
    return [
        array,
        array[1:],
        array[::2],
        block,
        group.copy_many([b"one", b"", b"three"]),
        memoryview(block)[2:],
    ]


def test_objects_of_the_result_group_arrive_as_they_were(pool):
    array, part, strided, block, records, view = pool.submit(build, LARGE).result()
    assert (array == 7).all()
    assert (array.size, part.size, strided.size) == (LARGE, LARGE - 1, LARGE // 2)
    assert isinstance(block, memgroup.MemBlock)
    assert isinstance(records, memgroup.MemList)
    assert isinstance(view, memoryview)
    assert block == b"a block"
    assert [bytes(record) for record in records] == [b"one", b"", b"three"]
    assert bytes(view) == b"block"
    assert block.readonly
    assert records.readonly
    assert view.readonly


def test_result_groups_elsewhere_are_groups_of_their_own():
    assert (build(10)[0] == 7).all()


def test_objects_of_a_shared_group_as_arguments(pool):
    group = memgroup.MemGroup(shared=True)
    table = group.array(np.ones(LARGE))
    assert list(pool.map(np.sum, [table] * 10)) == [LARGE] * 10
    assert bytes(pool.submit(bytes, group.copy(b"some bytes")).result()) == b"some bytes"


def test_an_argument_that_changed_is_sent_as_it_is_now(single):
    array = np.zeros(LARGE)
    for number in range(5):
        array[LARGE // 2] = number
        assert single.submit(np.sum, array).result() == number


def test_the_same_table_goes_over_once(single):
    table = np.ones(8 * 1024 * 1024)
    sums = [single.submit(np.sum, table) for _ in range(20)]
    before = memgroup_bytes()
    assert {done.result() for done in sums} == {table.size}
    assert before <= 2 * table.nbytes


def memgroup_bytes():
    """Bytes of this process's mappings of shared groups for arguments."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/memfd:arguments" in line and " rw-s " in line:
            start, end = (int(address, 16) for address in line.split()[0].split("-"))
            total += end - start
    return total


def fails(_):
    raise LookupError("what went wrong")


def unpicklable(_):
    return lambda: None


def unloadable(_):
    return Unloadable()


class Unloadable:
    def __reduce__(self):
        return fails, (0,)


@pytest.mark.parametrize("argument", [1, np.zeros(LARGE)], ids=["plain", "array"])
def test_exceptions_come_with_the_workers_traceback(pool, argument):
    error = pool.submit(fails, argument).exception()
    assert isinstance(error, LookupError)
    assert "in fails" in str(error.__cause__)
    with pytest.raises(LookupError, match="what went wrong"):
        list(pool.map(fails, [argument]))


def test_what_cannot_be_pickled_is_that_tasks_error(pool):
    assert pool.submit(unpicklable, 1).exception() is not None
    assert pool.submit(same, lambda: None).exception() is not None
    assert pool.submit(same, [Unloadable()]).exception() is not None
    assert pool.submit(same, 3).result() == 3


def test_a_result_that_cannot_be_loaded_breaks_the_pool_as_there():
    for kind in (concurrent.futures.ProcessPoolExecutor, ProcessPoolExecutor):
        with kind(1, multiprocessing.get_context("fork")) as pool:
            future = pool.submit(unloadable, 1)
            assert isinstance(future.exception(), (BrokenProcessPool, LookupError))


def test_results_outlive_the_executor_and_its_workers():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        kept = [pool.submit(arrays, 2, LARGE).result() for _ in range(3)]
    for result in kept:
        assert all((array == number).all() for number, array in enumerate(result["arrays"]))


def die(obj):
    os.kill(os.getpid(), signal.SIGKILL)


class DiesWhenPickled:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)
        return same, (0,)


class DiesWhenLoaded:
    def __reduce__(self):
        return die, (0,)


def large_then_dies(size):
    return [np.zeros(size), DiesWhenPickled()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", [(die, 1), (same, DiesWhenLoaded()), (large_then_dies, LARGE)])
def test_a_worker_that_is_killed_breaks_the_pool(method, task):
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        kept = pool.submit(arrays, 2, LARGE).result()
        with pytest.raises(BrokenProcessPool):
            pool.submit(*task).result(timeout=60)
        with pytest.raises(BrokenProcessPool):
            pool.submit(same, np.zeros(LARGE)).result(timeout=60)
    assert (kept["arrays"][1] == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_initializer_that_fails_breaks_the_pool(method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method), fails, (1,)) as pool:
        assert isinstance(pool.submit(same, 1).exception(timeout=60), BrokenProcessPool)
    with pytest.raises(TypeError):
        ProcessPoolExecutor(1, initializer=3)  # pyright: ignore[reportArgumentType]


def process_and_array(_):
    return os.getpid(), np.zeros(LARGE)


def test_workers_end_after_so_many_tasks():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=2) as pool:
        ids = [pool.submit(process_and_array, 0).result()[0] for _ in range(5)]
    assert len(set(ids)) == 3


def test_shutdown_without_waiting_delivers_what_was_submitted():
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    futures = [pool.submit(arrays, 1, LARGE) for _ in range(5)]
    pool.shutdown(wait=False)
    assert all((future.result(timeout=60)["arrays"][0] == 0).all() for future in futures)
    with pytest.raises(RuntimeError):
        pool.submit(same, 1)


def test_shutdown_cancels_what_has_not_begun():
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
    futures = [pool.submit(time.sleep, 0.1) for _ in range(20)]
    pool.shutdown(cancel_futures=True)
    assert any(future.cancelled() for future in futures)
    assert all(future.done() for future in futures)


def worker_memory(size):
    """A result, and how much memory the worker's groups have mapped."""
    return np.full(size, 1.0), sum(1 for line in open("/proc/self/maps") if "/memfd:results" in line)


def used_bytes():
    """How much of the worker's memory the parent uses, as far as it has told."""
    worker = _worker.worker
    assert worker is not None
    _memgroup.recv_releases(worker.sock())
    return worker.groups.under_way()


def test_memory_is_flat_over_many_results(single):
    mapped = []
    for _ in range(500):
        array, maps = single.submit(worker_memory, 1024 * 1024 // 8).result()
        assert array[0] == array[-1] == 1
        mapped.append(maps)
        del array
        # Until the worker has been told: how many results are under way at once depends on the machine.
        until = time.monotonic() + 60
        while single.submit(used_bytes).result():
            assert time.monotonic() < until
            time.sleep(GATHER)
    assert max(mapped[100:]) <= max(mapped[:100]) <= 100
    descriptors = len(os.listdir("/proc/self/fd"))
    assert descriptors < 200


def test_results_that_are_kept_are_never_written_again(single):
    kept = [single.submit(arrays, 1, LARGE).result()["arrays"][0] for _ in range(20)]
    for number in range(20):
        single.submit(np.full, LARGE, number + 100.0).result()
    assert all((array == 0).all() for array in kept)


def test_max_bytes_holds_workers_back():
    size = 1024 * 1024
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), max_bytes=8 * size) as pool:
        done = pool.map(np.ones, [size // 8] * 50)
        time.sleep(0.2)
        count = 0
        for array in done:
            assert array.sum() == size // 8
            del array
            count += 1
        assert count == 50


def test_a_wait_that_does_not_end_names_who_holds_results():
    size = 1024 * 1024
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context, max_bytes=8 * size, max_wait=0.3) as pool:
        futures = [pool.submit(np.ones, size // 8) for _ in range(20)]
        errors = [error for future in futures if (error := future.exception(timeout=60))]
        assert errors
        assert all(isinstance(error, MemoryError) for error in errors)
        assert str(os.getpid()) in str(errors[0])
        error = pool.submit(np.ones, size).exception(timeout=60)
        assert isinstance(error, MemoryError)
        assert "max_bytes" in str(error)
    with pytest.raises(ValueError, match="max_bytes"):
        ProcessPoolExecutor(2, max_bytes=1000)


def test_nothing_stays_open():
    def whole_life():
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            assert (pool.submit(arrays, 1, LARGE).result()["arrays"][0] == 0).all()

    whole_life()
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("/memfd:results")
    for _ in range(5):
        whole_life()
    gc.collect()
    after = len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("/memfd:results")
    assert all(now <= then + 2 for now, then in zip(after, before, strict=True))


def test_many_threads_submit_at_once(pool):
    errors = []

    def work():
        try:
            for number in range(20):
                assert (pool.submit(np.full, LARGE, number).result() == number).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def frame(rows):
    import pandas as pd

    return pd.DataFrame({"a": np.arange(rows), "b": np.arange(rows) / 2})


def test_frames_of_pandas(pool):
    pytest.importorskip("pandas")
    made = pool.submit(frame, LARGE).result()
    assert made.equals(frame(LARGE))
    assert pool.submit(same, made).result().equals(made)


def table(rows):
    import pyarrow as pa

    return pa.table({"a": np.arange(rows), "b": [str(row) for row in range(rows)]})


def test_tables_of_pyarrow(pool):
    pytest.importorskip("pyarrow")
    made = pool.submit(table, LARGE).result()
    assert made.equals(table(LARGE))
    assert pool.submit(same, made).result().equals(made)
