"""Lists: protecting, filling, joining, room, ends, threads and forks."""

from __future__ import annotations

import array
import ctypes
import gc
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup, MemList
from support.lists import KIB, check_slots, figures, filled, numbered

MIB = 1024 * KIB


# Protecting, filling, joining


def test_a_list_is_protected_as_a_whole(mirrored):
    group = MemGroup(backing=mirrored)
    made, model = filled(group, [5, 0, 1000, 20_000, 100_000])
    protected = group.protect(made)
    assert isinstance(protected, MemList)
    assert (protected.readonly, made.readonly) == (True, False)
    assert [bytes(block) for block in protected] == model
    for block in (*protected, *protected[::-2]):
        assert block.readonly
        with pytest.raises(TypeError, match="protected"):
            block[:] = bytes(len(block))
    with pytest.raises(TypeError, match="this list is protected: the group's unprotect"):
        protected.fill_from(bytes(protected.nbytes))
    made[0][:] = b"other"
    assert protected[0] == b"other"
    writable = group.unprotect(protected)
    assert not writable.readonly
    assert [block.address for block in writable] == [block.address for block in made]
    writable[0][:] = b"again"
    assert made[0] == b"again"
    assert group.protect(protected)[0] == group.unprotect(made)[0] == b"again"
    joined = protected.join()
    assert not joined.readonly
    assert joined.address not in {block.address for block in made}


def test_a_protected_list_cannot_be_written_to(child):
    child.segfaults(
        """
        import ctypes
        group = MemGroup()
        made = group.alloc_many([100, 200])
        address = group.protect(made)[1].address
        print("before", flush=True)
        ctypes.memset(address, 1, 1)
        """
    )


def test_lists_that_cannot_be_protected_are_refused(group):
    made = MemGroup().alloc_many([1, 2])
    for work in (group.protect, group.unprotect):
        with pytest.raises(ValueError, match="does not live in this group"):
            work(made)
    anonymous = MemGroup(backing="anonymous")
    for sizes in ([1, 2], []):
        with pytest.raises(ValueError, match="memfd"):
            anonymous.protect(anonymous.alloc_many(sizes))
    assert not anonymous.unprotect(anonymous.alloc_many([1])).readonly


def test_filling_takes_any_bytes_of_the_right_number(group):
    np = pytest.importorskip("numpy")
    made = group.alloc_many([3, 0, 5, 16, 16])
    data = numbered(40)
    shapes = [data, bytearray(data), memoryview(data), group.copy(data), group.protect(group.copy(data))]
    shapes += [MemGroup().copy(data), np.frombuffer(data, "u4"), np.frombuffer(data, "u1").reshape(4, 10)]
    for source in shapes:
        made.fill_from(bytes(40))
        made.fill_from(source)
        assert made.join() == data
    strided = np.arange(80, dtype="u1")[::2]
    made.fill_from(strided)
    assert made.join() == strided.tobytes()
    for number in (0, 39, 41):
        with pytest.raises(ValueError, match=f"cannot fill a list of 40 bytes from {number}:"):
            made.fill_from(bytes(number))
    for wrong in ("a" * 40, 40, None, [0] * 40, made):
        with pytest.raises(TypeError, match="bytes-like"):
            made.fill_from(wrong)
    assert made.join() == strided.tobytes()


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=30),
    data=st.data(),
    through=st.sampled_from(["read-write", "read-only"]),
)
def test_filling_from_its_own_bytes_is_as_from_a_copy(sizes, data, through):
    """The source is a view over several blocks of the list and the bytes between, through either mirror."""
    group = MemGroup()
    made, _ = filled(group, sizes, align=data.draw(st.sampled_from([1, 16])))
    part = made[:: data.draw(st.sampled_from([1, 2, -1]))]
    start, stop = made[0].address, made[-1].address + len(made[-1])
    n = part.nbytes
    shift = data.draw(st.integers(0, stop - start - n))
    source = memoryview((ctypes.c_uint8 * n).from_address(start + shift)).cast("B")
    if through == "read-only":
        source = group.protect(source) if n else memoryview(b"")
    expected = bytes(source)
    part.fill_from(source)
    assert part.join() == expected


def test_filling_from_its_own_blocks_is_as_from_copies(group):
    made, model = filled(group, [7, 7, 7])
    made[:1].fill_from(made[1])
    made[1:2].fill_from(group.protect(made)[2])
    assert [bytes(block) for block in made] == [model[1], model[2], model[2]]


def test_long_lists_are_filled_joined_and_searched(group):
    sizes = [1 + n * 7919 % 997 for n in range(20_000)]
    made, model = filled(group, sizes)
    data = b"".join(model)
    assert made.join() == data
    assert made == group.protect(made)
    assert made.index(model[-1]) == model.index(model[-1])
    assert made.count(model[7]) == model.count(model[7])
    assert b"never" not in made
    packed = group.alloc_many(count=10_000, size=64)
    packed.fill_from(data[:640_000])
    assert packed.join() == data[:640_000]
    assert packed[9_999] == data[639_936:640_000]


# Room


def test_zeroed_lists_are_zero_after_a_reset_too(group):
    for _ in range(2):
        made = group.alloc_many([3, 1000, 0, 100_000, 7], zero=True)
        assert not any(made.join())
        uniform = group.alloc_many(count=1000, size=33, zero=True)
        assert uniform.join() == bytes(33_000)
        made.fill_from(b"\xff" * made.nbytes)
        uniform.fill_from(b"\xff" * uniform.nbytes)
        group.reset()


def test_tiny_and_huge_blocks_lie_apart():
    group = MemGroup(base=64 * KIB)
    # The small blocks between are more than an eighth of the large ones.
    sizes = [100] * 50 + [40 * MIB] + [100] * 100_000 + [20 * MIB] + [100] * 5
    made = group.alloc_many(sizes)
    assert made.sizes.tolist() == sizes
    check_slots(group, made[:60])
    large = [(slot.capacity, slot.allocated) for slot in group.stats().slots if slot.capacity >= 16 * MIB]
    assert large == [(32 * MIB, 20 * MIB), (64 * MIB, 40 * MIB)]
    assert group.stats().committed < 73 * MIB
    assert len(made.slots) < 20
    assert len(group.alloc_many([100] * 1000).slots) <= 2


def test_a_base_of_one_page_makes_few_runs():
    group = MemGroup(base=1)
    made, model = filled(group, [n * 7919 % 3001 for n in range(5000)])
    assert len(made.slots) < 200
    check_slots(group, made[::50])
    assert [bytes(block) for block in made] == model


def test_blocks_allocated_between_lists_share_no_byte_with_them():
    group = MemGroup(base=1)
    singles, lists = [], []
    for n in range(300):
        lists.append(filled(group, [n * k % 701 for k in range(20)]))
        singles.append((group.copy(numbered(n)), numbered(n)))
    assert all([bytes(block) for block in made] == model for made, model in lists)
    assert all(block == model for block, model in singles)


@pytest.mark.parametrize("limit", [1 * MIB, 3 * MIB])
def test_a_list_is_allocated_whole_or_not_at_all(limit):
    group = MemGroup(limit=limit)
    kept, model = filled(group, [100] * 1000)
    before = group.stats()
    for sizes in ([limit], [KIB] * (limit // KIB), [10, limit - 200 * KIB, 10, 10, 150 * KIB], [2**40]):
        with pytest.raises(MemoryError):
            group.alloc_many(sizes)
        after = group.stats()
        assert (after.blocks, after.requested, after.allocated) == (
            before.blocks,
            before.requested,
            before.allocated,
        )
        assert after.committed <= limit
    with pytest.raises(MemoryError):
        group.alloc_many(count=limit, size=1)
    assert [bytes(block) for block in kept] == model
    assert group.alloc_many([100] * 1000).nbytes == 100_000


def test_no_memory_for_the_table_is_an_error_that_says_so(child):
    printed = child.output(
        """
        import resource
        sizes = memoryview(bytes(50_000_000))
        group = MemGroup()
        group.alloc(1)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20),) * 2)
        print(outcome(group.alloc_many, sizes))
        print(outcome(group.alloc_many, (0 for _ in range(10**9))))
        print(group.stats().blocks, len(group.alloc_many(sizes[:1000])))
        """
    )
    one, other, after = printed.splitlines()
    for line in (one, other):
        assert line.startswith("MemoryError: no memory for a table of ")
        assert "a count and a size if all are of one size" in line
    assert after == "1 1000"


def test_a_list_that_cannot_be_joined_stays_as_it_was():
    group = MemGroup(limit=MIB)
    made, model = filled(group, [300 * KIB, 300 * KIB])
    before = figures(group)
    with pytest.raises(MemoryError, match="limit"):
        made.join()
    assert figures(group) == before
    assert [bytes(block) for block in made] == model


def test_a_list_that_can_never_fit_commits_nothing():
    group = MemGroup(limit=MIB)
    with pytest.raises(MemoryError, match="limit"):
        group.alloc_many([KIB] * 2000)
    assert group.stats().committed == 0
    with pytest.raises(MemoryError):
        MemGroup().alloc_many([2**30] * 10_000)


def test_blocks_and_bytes_are_counted_once(group):
    group.alloc(5)
    group.alloc_many([1, 2, 3])
    group.alloc_many(count=10, size=7)
    group.alloc_many([])
    stats = group.stats()
    assert (stats.blocks, stats.requested) == (14, 81)
    group.reset()
    assert (group.stats().blocks, group.stats().requested) == (0, 0)


# The end


def test_a_list_keeps_its_group():
    made, model = filled(MemGroup(), [3, 400, 0])
    gc.collect()
    assert [bytes(block) for block in made] == model
    part = made[::-1]
    del made
    assert bytes(part[1]) == model[1]


USES = [
    len,
    repr,
    iter,
    list,
    reversed,
    lambda made: made[0],
    lambda made: made[99],
    lambda made: made[:1],
    lambda made: made.nbytes,
    lambda made: made.sizes,
    lambda made: made.offsets,
    lambda made: made.slots,
    lambda made: made.readonly,
    lambda made: made == made,
    lambda made: made != 5,
    lambda made: b"a" in made,
    lambda made: made.index(b"a"),
    lambda made: made.count(b"a"),
    lambda made: made.join(),
    lambda made: made.fill_from(b""),
]


def end_gently(group: MemGroup) -> None:
    with group:
        pass


@pytest.mark.parametrize("end", [MemGroup.reset, MemGroup.free, end_gently])
def test_every_use_of_a_freed_list_is_an_error(end):
    group = MemGroup(name="over")
    made, _ = filled(group, [3, 5])
    protected, part, started = group.protect(made), made[:1], iter(made)
    end(group)
    for use in USES:
        for one in (made, protected, part):
            if use is repr:
                assert repr(one) == "<MemList, freed>"
                continue
            with pytest.raises(ValueError, match=r'"over".*freed|freed.*"over"'):
                use(one)
    with pytest.raises(ValueError, match="freed"):
        next(started)
    for verb in (group.protect, group.unprotect):
        with pytest.raises(ValueError, match="freed"):
            verb(made)
    if not group.freed:
        assert made not in group


def test_lists_do_not_stop_free_but_views_of_their_blocks_do():
    group = MemGroup()
    made, model = filled(group, [3, 500])
    block = made[1]
    view = memoryview(block)
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    end_gently(group)
    assert bytes(view) == bytes(block) == model[1]
    with pytest.raises(ValueError, match="freed"):
        len(made)
    view.release()
    group.free()


@pytest.mark.parametrize(
    "arguments", [{"sizes": [1]}, {"sizes": []}, {"count": 0, "size": 0}, {"sizes": "wrong"}, {}]
)
def test_no_list_can_be_allocated_after_the_end(arguments):
    group = MemGroup()
    group.free()
    with pytest.raises(ValueError, match="freed"):
        group.alloc_many(**arguments)


# Threads and forks


def test_threads_that_make_lists_share_no_byte():
    group = MemGroup(base=1)
    failures: list[int] = []
    sizes = array.array("H", [n * 7919 % 501 for n in range(3000)])

    def work(owner: int) -> None:
        kept = []
        for turn in range(15):
            part = sizes[turn * 10 :]
            made = group.alloc_many(part if turn % 2 else part.tolist())
            made.fill_from(bytes([owner]) * made.nbytes)
            single = group.alloc(turn)
            single[:] = bytes([owner]) * turn
            kept.append((made, single))
        for made, single in kept:
            if made.join() != bytes([owner]) * made.nbytes or single != bytes([owner]) * len(single):
                failures.append(owner)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_sizes_that_change_while_they_are_read_give_a_sound_list(group):
    np = pytest.importorskip("numpy")
    sizes = np.zeros(300_000, "u2")
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            sizes[:] = 0
            sizes[:] = 100

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            made = group.alloc_many(sizes)
            read = np.asarray(made.sizes)
            assert set(np.unique(read)) <= {0, 100}
            ends = np.asarray(made.offsets)[:-1] + np.maximum(read[:-1], 1)
            assert (np.asarray(made.offsets)[1:] >= ends).all()
            assert made.nbytes == read.sum()
    finally:
        stop.set()
        thread.join()


def test_a_child_uses_the_lists_it_inherits(child):
    printed = child.output(
        """
        import os
        group = MemGroup()
        made = group.alloc_many([3, 4])
        made.fill_from(b"abcdefg")
        pid = os.fork()
        if pid == 0:
            other = group.alloc_many([3, 4])
            other.fill_from(b"ABCDEFG")
            os._exit(made[1] != b"defg" or other.join() != b"ABCDEFG")
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bytes(made.join()))
        """
    )
    assert printed == "0 b'abcdefg'"
