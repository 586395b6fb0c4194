"""Within `with group.numpy()` numpy itself allocates in the group."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from typing import Any

import memgroup
import pytest
from conftest import mappings
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup
from support.arrays import IS_TWO

np = pytest.importorskip("numpy")

# With a GIL the memory of dead arrays is reused; without one it stays taken until a reset.
needs_a_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL little is taken back"
)


def handler_of(array=None):
    """The name of the allocator of an array, or of the next array."""
    multiarray = np._core.multiarray if IS_TWO else np.core.multiarray
    return multiarray.get_handler_name(*([] if array is None else [array]))


# numpy allocates in the group


def test_numpy_allocates_in_the_group_within_the_block(group):
    before = np.arange(10)
    with group.numpy() as entered:
        assert entered is group
        assert handler_of() == "memgroup"
        made = [
            np.arange(1000),
            np.ones((3, 4)) * 2,
            np.fromiter(range(100), int),
            np.sort(np.zeros(50)),
            before + 1,
        ]
    assert handler_of() == "default_allocator"
    for array in made:
        assert handler_of(array) == "memgroup"
        assert array in group
        assert array.flags.owndata
        assert array.ctypes.data % 64 == 0
    assert before not in group
    assert np.arange(3) not in group
    assert group.stats().exports == len(made)


def test_blocks_of_one_group_and_of_several_nest(group):
    other = MemGroup()
    context = group.numpy()
    with context:
        with other.numpy(), context, context:
            assert np.ones(3) in group
            with other.numpy():
                assert np.ones(3) in other
            assert np.ones(3) in group
        assert np.ones(3) in group
    with context:
        assert np.ones(3) in group
    assert handler_of() == "default_allocator"


@pytest.mark.parametrize("first", [0, 1])
def test_blocks_that_end_in_another_order_leave_the_right_one(group, first):
    other = MemGroup()

    def within(which):
        with which.numpy():
            yield

    blocks = [within(group), within(other)]
    for block in blocks:
        next(block)
    next(blocks[first], None)
    assert np.ones(3) in (other, group)[first]
    next(blocks[1 - first], None)
    assert handler_of() == "default_allocator"


def test_an_exception_ends_the_block(group):
    with pytest.raises(KeyError), group.numpy():
        raise KeyError
    assert handler_of() == "default_allocator"


def test_other_threads_are_not_affected(group):
    seen = []
    with group.numpy():
        # From Python 3.14 on threads may start with the context of their starter.
        thread = threading.Thread(target=lambda: contextvars.Context().run(lambda: seen.append(np.ones(3))))
        thread.start()
        thread.join()
    assert seen[0] not in group


def test_threads_allocate_in_their_own_groups():
    failures = []

    def work():
        try:
            group = MemGroup()
            with group.numpy():
                for size in range(1, 300):
                    a = np.full(size, size)
                    assert a in group
                    assert (a + a * 2).sum() == 3 * size * size
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_share_a_group():
    group, kept = MemGroup(), []

    def work(number):
        with group.numpy():
            kept.extend(np.full(50 + number, number) for _ in range(200))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 800
    assert all(array in group and (array == len(array) - 50).all() for array in kept)
    assert group.stats().exports == 800


def test_arrays_may_die_in_another_thread(group):
    with group.numpy():
        made = [np.ones(100) for _ in range(100)]
    thread = threading.Thread(target=made.clear)
    thread.start()
    thread.join()
    assert group.stats().exports == 0


def test_tasks_have_their_own_blocks(group):
    other = MemGroup()

    async def work(which, step):
        with which.numpy():
            for _ in range(5):
                assert np.ones(3) in which
                await asyncio.sleep(0)
                assert np.ones(3) in which
        assert handler_of() == "default_allocator"

    async def inherits():
        return np.ones(3)

    async def run():
        await asyncio.gather(work(group, 1), work(other, 2), work(group, 3))
        with group.numpy():
            task = asyncio.create_task(inherits())
        assert np.ones(3) not in group
        assert await task in group

    asyncio.run(run())


def test_leaving_a_block_in_another_context_is_an_error(group):
    context = group.numpy()
    contextvars.copy_context().run(context.__enter__)
    with pytest.raises(RuntimeError, match="another context"):
        context.__exit__(None, None, None)
    assert context.__exit__(KeyError, KeyError(), None) is None
    assert handler_of() == "default_allocator"


@pytest.mark.parametrize("grow", [1.1, 2, 30])
@pytest.mark.parametrize("size", [1, 10, 1000, 20_000])
def test_a_resized_array_keeps_its_elements(group, size, grow):
    with group.numpy():
        for beside in (False, True):
            made = np.arange(size)
            other = np.full(7, -1) if beside else None
            made.resize(more := int(size * grow) + 1, refcheck=False)
            assert made in group
            assert made[:size].tolist() == list(range(size))
            assert not made[size:].any()
            made[size:] = 5
            after = np.full(100, -2)
            made.resize(less := size // 2, refcheck=False)
            assert made.tolist() == list(range(less))
            made.resize(more, refcheck=False)
            assert made[:less].tolist() == list(range(less))
            assert not made[less:].any()
            assert (after == -2).all()
            assert other is None or (other == -1).all()


@needs_a_gil
def test_the_last_array_grows_where_it_is(group):
    with group.numpy():
        made = np.arange(10)
        where = made.ctypes.data
        for size in (11, 100, 1000, 3000, 7000):
            made.resize(size, refcheck=False)
            assert made.ctypes.data == where
        used = group.stats().allocated
        made.resize(10, refcheck=False)
        assert made.ctypes.data == where
        assert np.empty(6000).ctypes.data < where + used
        assert made.tolist() == list(range(10))
    assert group.stats().requested <= 128  # in whole lines of 64 bytes


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["make", "drop", "resize", "zeros", "block", "alias", "protect"]),
            st.integers(0, 40),
            st.integers(1, 5000),
        ),
        max_size=60,
    )
)
def test_arrays_never_share_memory_while_they_are_made_dropped_and_resized(steps):
    group, arrays, others = MemGroup(base=4096), [], []
    array = other = None
    with group.numpy():
        for number, (step, which, size) in enumerate(steps):
            if step == "make":
                arrays.append(np.full(size, number % 251, "u1"))
            elif step == "zeros":
                arrays.append(np.zeros(size, "u1"))
                assert not arrays[-1].any()
                arrays[-1][:] = number % 251
            elif step == "block":
                others.append((group.copy(bytes([number % 251]) * size), number % 251))
            elif arrays:
                array = arrays.pop(which % len(arrays))
                value = int(array[0])
                if step == "resize":
                    before = len(array)
                    array.resize(size, refcheck=False)
                    array[before:] = value
                    arrays.append(array)
                elif step == "alias":
                    others.append((group.unprotect(memoryview(array) if which % 2 else array), value))
                elif step == "protect":
                    copy: Any = group.array(array)
                    others.append((group.protect(memoryview(copy) if which % 2 else copy), value))
                    del copy
                del array
            for array in arrays:
                assert (array == array[0]).all()
            for other, value in others:
                assert set(bytes(other)) <= {value}
    views = len(arrays) + sum(not isinstance(other, memgroup.MemBlock) for other, _ in others)
    assert group.stats().exports == views
    arrays.clear()
    others.clear()
    array = other = None
    assert group.stats().exports == 0
    group.reset()


@needs_a_gil
def test_temporaries_share_their_memory(group):
    with group.numpy():
        a = np.arange(10_000.0)
        for _ in range(200):
            assert ((a * a + a) / (a - -1) == a).all()
        after = group.stats()
    assert after.allocated < 20 * a.nbytes


@needs_a_gil
def test_a_loop_that_replaces_its_arrays_takes_no_more_with_every_round(group):
    with group.numpy():
        a, b = np.ones(10_000), np.ones(10_000)
        for _ in range(300):
            a, b = a * 0.5 + b, a - b * 2.0
        allocated, blocks = group.stats().allocated, group.stats().blocks
    assert allocated < 10 * a.nbytes
    assert blocks == 2


def test_memory_with_another_view_is_not_reused(group):
    with group.numpy():
        made = np.full(100, 7, "u1")
        where = made.ctypes.data
        other = group.unprotect(memoryview(made))
        del made
        assert np.full(100, 9, "u1").ctypes.data != where
        assert set(bytes(other)) == {7}
        del other
        made = np.full(100, 7, "u1")
        other = group.unprotect(made)
        del made
        np.full(100, 9, "u1")
        assert (other == 7).all()


@pytest.mark.parametrize("leave", ["end", "drop", "set"])
def test_arrays_outlive_block_and_group(cold, leave):
    group = MemGroup(name=f"np-{leave}")
    with group.numpy():
        made = np.full(1000, 7)
    if leave == "end":
        with group:
            pass
    del group
    gc.collect()
    assert made.sum() == 7000
    made[0] = 1
    made += 1
    assert made.sum() == 7994
    assert mappings(f"np-{leave}") == 0  # not in memory that a fork would share


def test_a_group_that_has_ended_gives_numpy_no_memory():
    group = MemGroup()
    with group.numpy():
        kept = np.ones(5)
        with group:
            pass
        with pytest.raises(MemoryError):
            np.ones(5)
        with pytest.raises(MemoryError):
            kept.resize(10_000, refcheck=False)
    assert kept.sum() == np.ones(5).sum() == 5
    with pytest.raises(ValueError, match="freed"):
        group.numpy()


def test_a_block_of_a_freed_group_cannot_be_entered(group):
    context = group.numpy()
    group.free()
    with pytest.raises(ValueError, match="freed"):
        context.__enter__()
    assert handler_of() == "default_allocator"


def test_a_full_group_is_a_memory_error_in_numpy():
    group = MemGroup(limit=1 << 20)
    with group.numpy():
        kept = np.ones(1000)
        for work in (
            lambda: np.empty(1 << 20),
            lambda: np.zeros(1 << 20),
            lambda: kept.resize(1 << 20, refcheck=False),
            lambda: np.add.outer(kept, kept),
            lambda: np.fromiter(range(1 << 20), float),
        ):
            with pytest.raises(MemoryError):
                work()
        assert (kept + 1).sum() == 2000
    assert kept.sum() == 1000


def test_arrays_that_numpy_allocated_stop_strict_ends(group):
    with group.numpy():
        made = np.ones(10)
        with pytest.raises(BufferError, match="1 live view"):
            group.free()
        with pytest.raises(BufferError, match="1 live view"):
            group.reset()
    del made
    group.reset()
    with group.numpy():
        assert np.ones(10).sum() == 10
    group.free()


def test_arrays_of_a_group_freed_by_force_can_be_dropped(group):
    with group.numpy():
        made = [np.ones(size) for size in (1, 1000, 100_000)]
        group.free(force=True)
        made.clear()
    assert group.freed
    group.free()


def test_numpy_manages_arrays_of_objects_itself(group):
    class Counted:
        living = 0

        def __init__(self):
            Counted.living += 1

        def __del__(self):
            Counted.living -= 1

    with group.numpy():
        made = np.array([Counted() for _ in range(10)])
        grown = np.append(made, Counted())
        strings = np.array(["a", "bc" * 100], object)
    assert made in group
    assert Counted.living == 11
    del made, grown
    gc.collect()
    assert Counted.living == 0
    assert strings.tolist() == ["a", "bc" * 100]


def test_memory_is_cleared_where_it_must_be(group):
    with group.numpy():
        for _ in range(3):
            used = np.full(5000, 0xAB, "u1")
            del used
            assert not np.zeros(5000, "u1").any()
    group.reset()
    with group.numpy():
        assert not np.zeros(100_000, "u1").any()


def test_tracemalloc_sees_what_numpy_allocates(child):
    assert child.output("""
        import tracemalloc
        import numpy as np
        tracemalloc.start()
        group = MemGroup()
        with group.numpy():
            made = np.ones(100_000)
            print(tracemalloc.get_traced_memory()[0] > 800_000)
            del made
            print(tracemalloc.get_traced_memory()[0] < 100_000)
    """).split() == ["True", "True"]


def test_forked_children_and_their_parents_share_no_arrays(child):
    assert child.output("""
        import numpy as np
        group = MemGroup()
        with group.numpy():
            kept = np.full(100, 7, "u1")
            gone = np.full(100, 8, "u1")
            where = gone.ctypes.data
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                # The parent has dropped its own, and put another in its place.
                ok = os.read(reading, 1) == b"x" and (gone == 8).all()
                mine = np.full(100, 9, "u1")
                ok = ok and mine.ctypes.data not in (where, kept.ctypes.data) and (kept == 7).all()
                kept.resize(5000, refcheck=False)
                ok = ok and (kept[:100] == 7).all()
                del kept, gone, mine
                ok = ok and group.stats().exports == 0
                os._exit(0 if ok else 1)
            del gone
            other = np.full(100, 5, "u1")
            os.write(writing, b"x")
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), (kept == 7).all(), (other == 5).all())
    """).split() == ["0", "True", "True"]


@pytest.mark.parametrize("keep", ["made", "made, group", "group", "context"])
def test_arrays_that_outlive_the_interpreter_make_no_noise(child, keep):
    child.output(f"""
        import builtins
        import numpy as np
        group = MemGroup()
        context = group.numpy()
        context.__enter__()
        made = [np.ones(n) for n in (1, 10, 100_000)] + [group.empty(5), group.protect(group.zeros(5))]
        class AtTheEnd:
            def __init__(self): self.kept = ({keep},)
            def __del__(self): made.clear(); np.ones(3)
        builtins.at_the_end = AtTheEnd()
    """)


def test_handlers_may_be_called_without_the_gil(child):
    """numpy does not promise to hold the GIL: ctypes calls the handler's functions as C code would."""
    assert (
        child.output("""
        import numpy as np
        group = MemGroup()
        multiarray = getattr(np, "_core", None) or np.core
        with group.numpy():
            made = np.ones(3)
            table = ctypes.pythonapi.PyCapsule_GetPointer
            table.restype, table.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
            api = table(multiarray._multiarray_umath._ARRAY_API, None)
            api = ctypes.cast(api, ctypes.POINTER(ctypes.c_void_p))
            get = ctypes.PYFUNCTYPE(ctypes.py_object)(api[305])
            handler = table(get(), b"mem_handler")
        context = ctypes.c_void_p.from_address(handler + 128).value
        functions = (ctypes.c_void_p * 4).from_address(handler + 136)
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        malloc = ctypes.CFUNCTYPE(pointer, pointer, size)(functions[0])
        calloc = ctypes.CFUNCTYPE(pointer, pointer, size, size)(functions[1])
        realloc = ctypes.CFUNCTYPE(pointer, pointer, pointer, size)(functions[2])
        free = ctypes.CFUNCTYPE(None, pointer, pointer, size)(functions[3])
        def work():
            for size in range(1, 500):
                first, second = malloc(context, size), calloc(context, size, 3)
                assert ctypes.string_at(second, size * 3) == bytes(size * 3)
                ctypes.memset(first, 1, size)
                first = realloc(context, first, size + 1000)
                assert ctypes.string_at(first, size) == b"\\1" * size
                free(context, first, size + 1000)
                free(context, second, size * 3)
            free(context, None, 0)
            assert realloc(context, None, 10)
            assert calloc(context, 1 << 40, 1 << 40) is None
        threads = [threading.Thread(target=work) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(group.stats().exports)
    """)
        == "5"
    )
