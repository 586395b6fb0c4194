"""Helpers for the tests of transfers."""

import contextlib
import random
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import strategies as st

ENOUGH = 60  # seconds after which a call counts as hung


def content(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


def joined(blocks) -> bytes:
    return b"".join(map(bytes, blocks))


@pytest.fixture
def file(tmp_path: Path):
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        yield file


@contextlib.contextmanager
def in_thread(work, *arguments):
    """Run `work` in parallel to the body, and raise its exception here."""
    failed = []

    def run():
        try:
            work(*arguments)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(ENOUGH)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


class Interrupted(BaseException):  # as KeyboardInterrupt is called
    pass


@contextlib.contextmanager
def signals(handler, seconds: float):
    """SIGALRM again and again."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ranges(draw_size: int):
    return st.lists(
        st.tuples(st.integers(0, draw_size + 50), st.one_of(st.integers(0, 30), st.integers(0, 9000))),
        max_size=80,
    )
