"""The executor: exceptions that are too large for a pipe's atomic write travel as results do."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import select
import sys
import threading
import traceback
from concurrent.futures.process import _ExceptionWithTraceback, _ResultItem
from multiprocessing import reduction
from types import TracebackType
from typing import Any, cast

import numpy as np
import pytest
from memgroup.futures import ProcessPoolExecutor, _worker
from memgroup.futures._results import Links, RemoteError

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class DataError(Exception):
    def __init__(self, data):
        super().__init__(data)
        self.data = data


def fail(error):
    raise error


def fail_deep(depth):
    # So deep that the traceback has more than the pipe takes; each call is another line.
    code = "\n".join(f"def f{number}(): f{number + 1}()" for number in range(depth))
    names = {}
    exec(f"{code}\ndef f{depth}(): raise KeyError('deep')", names)
    names["f0"]()


@pytest.fixture(scope="module", params=["fork", "spawn"])
def method(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture(scope="module")
def pool(method):
    with ProcessPoolExecutor(1, method) as made:
        yield made


@pytest.fixture
def worker(monkeypatch):
    links = Links()
    made = _worker.Worker(links.theirs, links.id, os.getpid(), None, 60.0)
    monkeypatch.setattr(_worker, "worker", made)
    yield made
    links.close()
    if made.link is not None:
        made.link.close()


def sent_for(fn, *args):
    """What the pool writes to its pipe for a task that fails."""
    try:
        _worker.run(fn, args, {})
    except BaseException as error:
        told: Any = _ExceptionWithTraceback(error, cast("TracebackType", error.__traceback__))
        item = _ResultItem(1 << 40, exception=told)
        return reduction.ForkingPickler.dumps(item)
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("size", [1, 1000, 2000, 3000, 4000, 5000, 100_000, 200_000, 1_000_000])
def test_an_exception_of_any_size_comes_with_its_traceback(pool, size):
    error = pool.submit(fail, ValueError("x" * size)).exception(timeout=60)
    assert type(error) is ValueError
    assert error.args == ("x" * size,)
    shown = "".join(traceback.format_exception(error))
    assert "in fail\n" in shown
    assert "direct cause" in shown
    assert "memgroup.futures._worker.SentError" not in shown


def test_a_long_traceback_comes_whole(pool):
    error = pool.submit(fail_deep, 200).exception(timeout=60)
    assert isinstance(error, KeyError)
    assert all(f"in f{number}\n" in str(error.__cause__) for number in range(201))
    with pytest.raises(KeyError, match="deep"):
        list(pool.map(fail_deep, [200]))


def test_an_array_in_an_exception_goes_through_memory(pool):
    error = pool.submit(fail, DataError(np.arange(100_000))).exception(timeout=60)
    assert (error.data == np.arange(100_000)).all()
    assert not error.data.flags.writeable
    assert "in fail" in str(error.__cause__)


def test_the_pipe_carries_no_more_of_any_exception_than_is_written_at_once(worker):
    for size in range(0, 20_000, 333):
        sent = sent_for(fail, ValueError("x" * size))
        assert len(sent) + 4 <= select.PIPE_BUF
        assert pickle.loads(sent).exception.args == ("x" * size,)
    for task in [
        (fail, DataError(np.arange(100_000))),
        (fail_deep, 200),
        (fail, ValueError("x" * 1_000_000)),
    ]:
        assert len(sent_for(*task)) + 4 <= select.PIPE_BUF


def test_what_a_failed_task_had_is_not_kept(worker):
    with pytest.raises(_worker.SentError) as caught:
        _worker.run(fail, (ValueError("x" * 10_000),), {})
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_an_exception_that_takes_other_arguments_comes(pool):
    seen = pool.submit(fail, DataError("x" * 10_000)).exception(timeout=60)
    assert seen.args == ("x" * 10_000,)


def test_an_exception_that_cannot_be_pickled_is_as_there(method):
    # In pools of their own: where distributed was imported, the context of exceptions is pickled, too,
    # and the worker dies.
    seen, expected = (
        type(submitted_alone(pool, method))
        for pool in (ProcessPoolExecutor, concurrent.futures.ProcessPoolExecutor)
    )
    assert seen is expected


def submitted_alone(executor, method):
    with executor(1, method) as pool:
        return pool.submit(fail_unpicklable).exception(timeout=60)


def fail_unpicklable():
    raise ValueError("x" * 10_000, lambda: None)


def test_a_traceback_that_came_is_pickled_and_shown_again():
    shown = RemoteError("of a worker\n")
    assert str(pickle.loads(pickle.dumps(shown))) == str(shown) == '\n"""\nof a worker\n"""'


def test_whoever_waits_for_a_future_sees_the_traceback_at_once(pool):
    seen = []

    def look(future):
        try:
            future.result(60)
        except ValueError as error:
            seen.append("in fail\n" in str(error.__cause__))

    switch = sys.getswitchinterval()
    # Threads take turns in the midst of everything.
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            future = pool.submit(fail, ValueError("x" * 10_000))
            threads = [threading.Thread(target=look, args=(future,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
    finally:
        sys.setswitchinterval(switch)
    assert seen == [True] * 300
