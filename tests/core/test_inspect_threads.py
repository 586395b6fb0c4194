"""Lists inspected by several threads, in rounds between which others are heard."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup

METHODS = ("contains", "startswith", "endswith", "find", "count_in")


def records(count: int, seed: int = 0) -> list[bytes]:
    chosen = random.Random(seed)
    return [chosen.randbytes(chosen.randrange(200)) for _ in range(count)]


@pytest.fixture(scope="module")
def many() -> list[bytes]:
    return records(60_000)


@pytest.mark.parametrize("threads", [None, 1, 2, 7, 1000])
@pytest.mark.parametrize("how", ["copied", "borrowed"])
def test_answers_are_the_same_by_however_many_threads(many, threads, how):
    with MemGroup() as group:
        made = group.copy_many(many) if how == "copied" else group.borrow(b"\n".join(many)).split(b"\n")
        expected = made.tolist()
        for needle in (b"ab", b"\0", b"", b"\xff\xfe"):
            assert made.contains(needle, threads=threads).tolist() == [needle in it for it in expected]
            assert made.startswith(needle, threads=threads).tolist() == [
                it.startswith(needle) for it in expected
            ]
            assert made.endswith(needle, threads=threads).tolist() == [it.endswith(needle) for it in expected]
            assert made.find(needle, threads=threads).tolist() == [it.find(needle) for it in expected]
            assert made.count_in(needle, threads=threads).tolist() == [it.count(needle) for it in expected]


@given(
    data=st.lists(st.binary(max_size=30), max_size=50),
    needle=st.binary(max_size=2),
    threads=st.integers(1, 5),
)
def test_small_lists_take_threads_too(data, needle, threads):
    made = MemGroup().copy_many(data)
    assert made.find(needle, threads=threads).tolist() == [record.find(needle) for record in data]
    assert made[::-1].contains(needle, threads=threads).tolist() == [
        needle in record for record in data[::-1]
    ]


@pytest.mark.parametrize("method", METHODS)
def test_threads_is_a_number_from_one_on(group, method):
    search = getattr(group.copy_many([b"abc"]), method)
    assert search(b"a", threads=None).tolist() == search(b"a", threads=1).tolist()
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"threads must be at least 1, not {wrong}"):
            search(b"a", threads=wrong)
    with pytest.raises(TypeError, match="threads must be an integer or None"):
        search(b"a", threads="2")
    with pytest.raises(TypeError, match="progress must be a function or None"):
        search(b"a", progress=1)


@pytest.mark.parametrize("method", METHODS)
def test_progress_is_told_up_to_the_end(many, method):
    made = MemGroup().copy_many(many)
    told: list[tuple[int, int]] = []
    getattr(made, method)(b"a", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(many), len(many))
    assert told == sorted(told)


def test_a_callback_may_end_the_search():
    made = MemGroup().alloc_many(count=100, size=100, zero=True)

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        made.contains(b"\1", progress=stop)


def test_a_callback_may_end_the_group():
    group = MemGroup()
    made = group.alloc_many(count=3_000_000, size=100, zero=True)
    told = []

    def free(done, total):
        told.append(done)
        group.free(force=True)

    with contextlib.suppress(ValueError):  # unless it was done before anybody was told
        made.count_in(b"\0", threads=1, progress=free)
    assert len(told) == 1
    with pytest.raises(ValueError, match="freed"):
        made.count_in(b"\0")


def test_a_signal_is_heard_soon():
    group = MemGroup()
    made = group.alloc_many(count=4_000_000, size=100, zero=True)

    def hear(number, frame):
        raise InterruptedError

    def search() -> None:
        while True:
            made.count_in(b"\0", threads=2)

    before = signal.signal(signal.SIGALRM, hear)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        begin = time.monotonic()
        with pytest.raises(InterruptedError):
            search()
        assert time.monotonic() - begin < 2  # a round takes 50 ms; the machine may be busy
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_others_run_and_end_the_group_meanwhile():
    group = MemGroup()
    made = group.alloc_many(count=2_000_000, size=100, zero=True)
    outcome: list[object] = []

    def search() -> None:
        try:
            while True:
                made.count_in(b"\0")
        except ValueError as error:
            outcome.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    time.sleep(0.05)
    begin = time.monotonic()
    group.free()
    assert time.monotonic() - begin < 2
    thread.join()
    assert "freed" in str(outcome[0])
