"""Uses of a group that race with its free: they succeed or raise an error, and touch no freed slot.

Without AddressSanitizer most reads of a freed slot go unnoticed.
"""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable

import memgroup
import memgroup._pickle
import pytest

SECONDS = float(os.environ.get("MEMGROUP_STRESS_SECONDS") or 2) / 8
THREADS = 3

pytestmark = [
    pytest.mark.thread_unsafe(reason="has threads of its own"),
    pytest.mark.usefixtures("cold", "often"),
]


@pytest.fixture
def often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def repeat(use: Callable[[], object], started: threading.Barrier, failures: list[BaseException]) -> None:
    """Repeat the call until it fails."""
    started.wait()
    try:
        while True:
            use()
    except BaseException as error:
        failures.append(error)


def copied_blocks(group: memgroup.MemGroup) -> Callable[[], object]:
    block = group.protect(group.copy(b"x" * 100))
    return lambda: copy.copy(block)


def protected_blocks(group: memgroup.MemGroup) -> Callable[[], object]:
    block = group.copy(b"x" * 100)
    return lambda: group.unprotect(group.protect(block))


def loaded_blocks(group: memgroup.MemGroup) -> Callable[[], object]:
    block = group.copy(b"x" * 100)
    return lambda: memgroup._pickle.load_block(block, True)


def protected_arrays(group: memgroup.MemGroup) -> Callable[[], object]:
    np = pytest.importorskip("numpy")
    array = np.ndarray(100, "u1", group.copy(b"x" * 100))  # shows the bytes, and is no view
    return lambda: group.protect(array)


def copied_lists(group: memgroup.MemGroup) -> Callable[[], object]:
    made = group.protect(group.alloc_many([10, 20]))
    return lambda: copy.deepcopy(made)


def searched_lists(group: memgroup.MemGroup) -> Callable[[], object]:
    made = group.alloc_many([10, 20] * 20, zero=True)
    return lambda: (made.count(bytes(10)), made[7], made.slots, made == made[:], made.join())


def loaded_lists(group: memgroup.MemGroup, sizes: tuple[int, ...] = (10, 20)) -> Callable[[], object]:
    source = memgroup.MemGroup(base=4 << 20)
    made = source.alloc_many(sizes)
    made.fill_from(bytes(made.nbytes))
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(made, protocol=5, buffer_callback=buffers.append)
    raws = [bytes(buffer.raw()) for buffer in buffers]

    def load() -> object:
        with memgroup.loads_into(group):
            return pickle.loads(data, buffers=raws)

    return load


def loaded_long_lists(group: memgroup.MemGroup) -> Callable[[], object]:
    """The copy lets other threads run."""
    return loaded_lists(group, (1 << 20, 2))


@pytest.mark.parametrize(
    "uses",
    [
        copied_blocks,
        protected_blocks,
        loaded_blocks,
        protected_arrays,
        copied_lists,
        searched_lists,
        loaded_lists,
        loaded_long_lists,
    ],
)
def test_slots_are_used_only_while_they_are_kept_alive(uses):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        group = memgroup.MemGroup(name="raced")
        use = uses(group)
        failures: list[BaseException] = []
        started = threading.Barrier(THREADS + 1)

        threads = [threading.Thread(target=repeat, args=(use, started, failures)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.0005)
        try:
            group.free()
        except BufferError:
            group.free(force=True)
        for thread in threads:
            thread.join()
        said = [str(error) for error in failures if isinstance(error, ValueError)]
        assert len(said) == THREADS, failures
        assert all("freed" in text for text in said), said
