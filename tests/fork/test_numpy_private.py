"""numpy's own allocations in a group may hold pointers: no fork shares them, and no end takes them away."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path

import pytest
from memgroup import MemGroup

np = pytest.importorskip("numpy")

IS_TWO = np.__version__.startswith("2")
needs_strings = pytest.mark.skipif(not IS_TWO, reason="numpy 1 has no strings of variable size")

# Ways to make arrays of objects within `group.numpy()`: numpy allocates in several ways.
MAKE = {
    "objects": "np.array([text(i) for i in range(6)], object)",
    "records": "np.array([(i, text(i)) for i in range(6)], [('number', 'i4'), ('text', object)])",
    "grown": "np.append(np.array([text(i) for i in range(5)], object), text(5))",
    "resized": "resized()",
    "from an iterator": "np.fromiter((text(i) for i in range(6)), object)",
    "unpickled": "pickle.loads(pickle.dumps(np.array([text(i) for i in range(6)], object)))",
    "copied": "np.array([text(i) for i in range(6)], object)[::-1].copy()[::-1]",
    "strings": "np.array([text(i) for i in range(6)], np.dtypes.StringDType())",
}
CASES = [
    pytest.param(code, id=name, marks=[needs_strings] * (name == "strings")) for name, code in MAKE.items()
]

PRELUDE = """
    import gc, pickle
    import numpy as np

    def text(number):
        return f"text {number} " * 30

    def resized():
        made = np.array([text(i) for i in range(3)], object)
        made.resize(6, refcheck=False)
        made[3:] = [text(i) for i in range(3, 6)]
        return made

    group = MemGroup()
    with group.numpy():
        a = MAKE
    expected = a.tolist()
    assert a in group
"""

IN_CHILD = {
    "exit": "sys.exit(0)",
    "delete": "del a; gc.collect()",
    "write": "junk = [bytearray(1000) for _ in range(1000)]; overwrite()",
    "allocate": "allocate(); assert a.tolist() == expected",
}

FORK = """
    def overwrite():
        for i in range(6):
            a[i] = (i, "child's own" * 5000) if a.dtype.names else "child's own" * 5000

    def allocate():
        with group.numpy():
            return [np.array([text(i)] * 50, object) for i in range(50)]

    pid = os.fork()
    if not pid:
        BODY
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    others = allocate()
    print(status, a.tolist() == expected)
"""


@pytest.mark.parametrize("body", IN_CHILD.values(), ids=IN_CHILD)
@pytest.mark.parametrize("make", CASES)
def test_a_child_cannot_change_its_parents_arrays_of_objects(child, make, body):
    assert child.output((PRELUDE + FORK).replace("MAKE", make).replace("BODY", body)).split() == ["0", "True"]


def test_code_that_runs_while_numpy_works_may_fork(child):
    """A sort of objects calls `__lt__` while numpy holds a temporary buffer."""
    assert child.output("""
        import numpy as np

        class Key:
            def __init__(self, number): self.number = number
            def __lt__(self, other):
                if not forks and self.number == 7:
                    forks.append(os.fork())
                return self.number < other.number

        forks = []
        group = MemGroup()
        with group.numpy():
            keys = np.array([[Key((i * 7) % 50), Key(i)] for i in range(50)], object)
            keys[:, 0].sort()
        assert [key.number for key in keys[:, 0]] == sorted((i * 7) % 50 for i in range(50))
        if not forks[0]:
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(forks[0], 0)[1]))
    """).split() == ["0"]


def test_code_that_group_array_runs_does_not_allocate_in_memory_that_is_shared(child):
    assert child.output("""
        import numpy as np

        class Caching:
            def __array__(self, dtype=None, copy=None):
                self.cache = np.array([f"text {i}" * 30 for i in range(6)], object)
                return np.arange(6.0)

        group, source = MemGroup(), Caching()
        made = group.array(source)
        assert source.cache not in group and made in group
        pid = os.fork()
        if not pid:
            sys.exit(0)
        os.waitpid(pid, 0)
        print(source.cache[5] == "text 5" * 30)
    """).split() == ["True"]


@pytest.mark.parametrize("make", CASES)
def test_arrays_can_be_read_and_dropped_after_a_forced_free(child, make):
    assert child.output(
        PRELUDE.replace("MAKE", make)
        + """
    shared = group.zeros(1000)
    group.free(force=True)
    for i in range(20):
        MemGroup().alloc(60_000)[:] = b"x" * 60_000
    print(a.tolist() == expected)
    del a
    gc.collect()
    print("fine")
    """
    ).split() == ["True", "fine"]


def test_a_forced_free_still_takes_other_arrays_away(child):
    child.segfaults("""
        import numpy as np
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        group = MemGroup()
        with group.numpy():
            own = np.ones(10)
        shared = group.array(own)
        group.free(force=True)
        assert own.sum() == 10
        print("before", flush=True)
        shared.sum()
    """)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_memory_left_by_a_forced_free_goes_with_its_arrays(cold):
    group = MemGroup()
    with group.numpy():
        made = np.ones(8 << 20)  # 64 MiB
    group.free(force=True)
    assert made.sum() == 8 << 20
    before = resident()
    del made
    gc.collect()
    assert resident() < before - (48 << 20)


def test_secrets_are_overwritten_by_a_forced_free():
    group = MemGroup(secret=True)
    with group.numpy():
        made = np.full(100, 7, "u1")
        objects = np.array(["text", []], object)
    group.free(force=True)
    assert not made.any()
    assert objects.tolist() == [None, None]


def test_private_memory_is_counted_like_all_other_memory():
    group = MemGroup(limit=1 << 20)
    block = group.alloc(300_000)
    with group.numpy():
        made = np.ones(50_000)
        stats = group.stats()
        with pytest.raises(MemoryError):
            np.ones(100_000)
    assert stats.committed >= 700_000
    assert stats.committed == sum(slot.committed for slot in stats.slots)
    assert stats.allocated == sum(slot.allocated for slot in stats.slots)
    assert stats.mapped == sum(slot.mapped for slot in stats.slots)
    with pytest.raises(MemoryError):
        group.alloc(500_000)
    del made, block
    group.reset()
    assert group.stats().allocated == 0


def test_a_copy_in_the_group_can_be_protected():
    group = MemGroup()
    with group.numpy():
        made = np.arange(10)
        for shown in (made, memoryview(made), made[2:5], made[:0]):
            with pytest.raises(ValueError, match=r"protect a copy: group.protect\(group.array\(x\)\)"):
                group.protect(shown)
        protected = group.protect(group.array(made))
        again = group.protect(group.array(made, copy=None if IS_TWO else False))
    assert protected.tolist() == again.tolist() == list(range(10))
    assert not protected.flags.writeable
    made[0] = 9
    assert protected[0] == again[0] == 0
    if IS_TWO:
        with pytest.raises(ValueError, match="cannot avoid a copy"):
            group.array(made, copy=False)


def test_another_view_of_such_an_array_keeps_its_bytes():
    group = MemGroup()
    with group.numpy():
        made = np.full(100, 7, "u1")
        where = made.ctypes.data
        alias = group.unprotect(made)
        del made
        assert np.full(100, 9, "u1").ctypes.data != where
        assert (alias == 7).all()
    assert alias in group


def test_a_child_writes_into_a_copy_of_an_array_of_numbers(child):
    assert child.output("""
        import numpy as np
        group = MemGroup()
        with group.numpy():
            made = np.full(1000, 7)
        shared = group.full(1000, 7)
        pid = os.fork()
        if not pid:
            made[:] = 8
            shared[:] = 8
            os._exit(0)
        os.waitpid(pid, 0)
        print(made[0], shared[0])
    """).split() == ["7", "8"]
