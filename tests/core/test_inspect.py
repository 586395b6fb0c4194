"""Lists inspected as a whole, against Python's own answers for bytes objects."""

from __future__ import annotations

import array
import os
import pickle
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup, MemList

LETTERS = st.lists(st.sampled_from([b"a", b"b", b"ab", b"\n"]), max_size=12).map(b"".join)
RECORDS = st.lists(LETTERS, max_size=40)
NEEDLES = st.lists(st.sampled_from([b"a", b"b", b"\n"]), max_size=4).map(b"".join)
BASES = st.sampled_from([1, 4096, 65536])


def shown(made: MemList, how: int) -> MemList:
    """The list, or another that shows the same records in the same order."""
    match how:
        case 0:
            return made
        case 1:
            return made[::-1][::-1]
        case 2:
            return made.take(range(len(made)))
        case _:
            return made.take([True] * len(made)) if len(made) else made


@given(
    records=RECORDS, needle=NEEDLES, base=BASES, align=st.sampled_from([1, 16, 256]), how=st.integers(0, 3)
)
def test_answers_are_those_of_each_record(records, needle, base, align, how):
    group = MemGroup(base=base)
    made = shown(group.copy_many(records, align=align), how)
    for inspected in [made, group.protect(made)]:
        assert inspected.contains(needle).tolist() == [needle in record for record in records]
        assert inspected.startswith(needle).tolist() == [record.startswith(needle) for record in records]
        assert inspected.endswith(needle).tolist() == [record.endswith(needle) for record in records]
        assert inspected.find(needle).tolist() == [record.find(needle) for record in records]
        assert inspected.count_in(needle).tolist() == [record.count(needle) for record in records]
        assert inspected.tolist() == records


@given(
    size=st.integers(0, 5),
    count=st.integers(0, 50),
    needle=NEEDLES,
    data=st.data(),
    step=st.sampled_from([1, 2, -1, -3]),
)
def test_lists_of_one_size_and_slices_answer_too(size, count, needle, data, step):
    made = MemGroup().alloc_many(count=count, size=size)
    made.fill_from(data.draw(st.binary(min_size=size * count, max_size=size * count)))
    part = made[::step]
    records = [bytes(block) for block in part]
    assert part.contains(needle).tolist() == [needle in record for record in records]
    assert part.find(needle).tolist() == [record.find(needle) for record in records]
    assert part.count_in(needle).tolist() == [record.count(needle) for record in records]
    assert part.tolist() == records


def test_an_occurrence_across_two_records_is_none():
    group = MemGroup()
    made = group.copy_many([b"one needle", b"nee", b"dle", b"needl", b"e needle"], align=1)
    assert made.contains(b"needle").tolist() == [True, False, False, False, True]
    assert made.find(b"needle").tolist() == [4, -1, -1, -1, 2]


def test_a_hundred_megabytes_of_random_records_have_pythons_answers():
    random = np.random.default_rng(14)
    sizes = random.integers(0, 220, 100_000)
    text = random.integers(97, 105, int(sizes.sum()), dtype=np.uint8).tobytes()
    ends = np.cumsum(sizes)
    records = [text[end - size : end] for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)]
    made = MemGroup().copy_many(records)
    for needle in [b"abc", b"a", b"hgfedcba", b"aaaaaa"]:
        assert made.contains(needle).tolist() == [needle in record for record in records]
        assert made.find(needle).tolist() == [record.find(needle) for record in records]
        assert made.count_in(needle).tolist() == [record.count(needle) for record in records]


def test_answers_are_read_only_memoryviews_for_numpy_and_friends():
    made = MemGroup().copy_many([b"ab", b"b"])
    mask, offsets = made.contains(b"a"), made.find(b"b")
    assert (mask.format, mask.itemsize, mask.readonly) == ("?", 1, True)
    assert (offsets.format, offsets.itemsize, offsets.readonly) == ("q", 8, True)
    assert np.asarray(mask).dtype == bool
    assert np.asarray(offsets).dtype == np.int64
    with pytest.raises(TypeError):
        mask[0] = False


@pytest.mark.parametrize("name", ["contains", "startswith", "endswith", "find", "count_in"])
def test_what_is_looked_for_is_bytes_like(name):
    group = MemGroup()
    made = group.copy_many([b"abab", b"b"])
    wanted = getattr(made, name)(b"ab").tolist()
    for value in [
        bytearray(b"ab"),
        memoryview(b"xaxb")[1::2],
        group.copy(b"ab"),
        MemGroup().copy(b"ab"),
        made[0][:2],
    ]:
        assert getattr(made, name)(value).tolist() == wanted
    for wrong in ["ab", 97, None, [b"ab"]]:
        with pytest.raises(TypeError):
            getattr(made, name)(wrong)


@pytest.mark.parametrize("name", ["contains", "startswith", "endswith", "find", "count_in", "take", "tolist"])
def test_a_freed_list_is_not_inspected(name):
    group = MemGroup()
    made = group.alloc_many([])
    group.reset()
    with pytest.raises(ValueError, match="freed"):
        getattr(made, name)(*([] if name == "tolist" else [b""]))


def test_a_needle_of_a_freed_group_is_noticed():
    group = MemGroup()
    stale = group.copy(b"a")
    group.reset()
    with pytest.raises(ValueError, match="freed"):
        group.copy_many([b"a"]).contains(stale)


# take


@given(records=RECORDS.filter(bool), data=st.data(), base=BASES)
def test_taken_records_are_those_at_the_indices(records, data, base):
    group = MemGroup(base=base)
    made = group.copy_many(records)
    indices = data.draw(st.lists(st.integers(-len(records), len(records) - 1), max_size=60))
    wanted = [records[index] for index in indices]
    for which in [
        indices,
        tuple(indices),
        iter(indices),
        array.array("q", indices),
        np.array(indices, dtype="i2"),
    ]:
        assert made.take(which) == wanted
    mask = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    wanted = [record for record, flag in zip(records, mask, strict=True) if flag]
    for flags in [mask, np.array(mask), np.array(mask * 2)[: len(mask)], memoryview(bytes(mask)).cast("?")]:
        taken = made.take(flags)
        assert taken == wanted
        assert taken.nbytes == sum(map(len, wanted))


def test_what_is_taken_is_the_same_memory_through_the_same_mirror():
    group = MemGroup()
    made = group.copy_many([b"aa", b"bb", b"cc"])
    taken = made.take([2, 0, 2])
    assert [block.address for block in taken] == [made[at].address for at in (2, 0, 2)]
    taken[0][:] = b"zz"
    assert made == [b"aa", b"bb", b"zz"]
    protected = group.protect(made).take([1])
    assert protected.readonly
    assert protected[0].readonly
    assert group.unprotect(protected)[0].address == made[1].address
    assert group.protect(taken).take([0])[0] == b"zz"


@pytest.mark.parametrize(
    ("which", "error", "said"),
    [
        ([3], IndexError, r"indices\[0\] is 3: out of range for a list of 3 blocks"),
        ([0, -4], IndexError, r"indices\[1\] is -4"),
        ([2**70], IndexError, "out of range"),
        (np.array([0, 2**63], dtype="u8"), IndexError, r"indices\[1\]"),
        ([True, False], ValueError, "a mask of 2 does not fit a list of 3 blocks"),
        (np.zeros(4, bool), ValueError, "a mask of 4"),
        ([True, 1, 0], TypeError, "both"),
        ([1.0], TypeError, r"indices\[0\] must be an integer, not float"),
        (np.array([1.0]), TypeError, "must be integers"),
        (np.zeros((1, 3), bool), ValueError, "one dimension"),
        (b"\x00\x01\x01", TypeError, "not bytes"),
        ("012", TypeError, "not str"),
        (1, TypeError, "not int"),
    ],
)
def test_what_names_no_blocks_is_refused(which, error, said):
    made = MemGroup().copy_many([b"a", b"b", b"c"])
    with pytest.raises(error, match=said):
        made.take(which)


def test_an_index_that_frees_the_group_is_noticed():
    group = MemGroup()
    made = group.copy_many([b"a"])

    class Frees:
        def __index__(self) -> int:
            group.free()
            return 0

    with pytest.raises(ValueError, match="freed"):
        made.take([Frees()])


# Lists over parts of blocks, and of other lists, in every other use.


def parts_of_a_block(group: MemGroup) -> tuple[MemList, list[bytes]]:
    text = b"first line\nsecond, much longer line with bytes\n\nlast"
    return group.copy(text).splitlines(), text.splitlines()


def taken_records(group: MemGroup) -> tuple[MemList, list[bytes]]:
    records = [b"%d" % at * (at % 40) for at in range(300)]
    order = [at * 7 % 300 for at in range(150)]
    return group.copy_many(records).take(order), [records[at] for at in order]


@pytest.fixture(params=[parts_of_a_block, taken_records])
def made_of(request: Any) -> Any:
    return request.param


def test_such_a_list_is_a_sequence(made_of):
    made, wanted = made_of(MemGroup())
    assert len(made) == len(wanted)
    assert [bytes(block) for block in made] == wanted
    assert [bytes(block) for block in reversed(made)] == wanted[::-1]
    assert made[1:-1] == wanted[1:-1]
    assert made.index(wanted[1]) == wanted.index(wanted[1])
    assert made.count(wanted[0]) == wanted.count(wanted[0])
    assert wanted[2] in made
    assert list(made.sizes) == [len(record) for record in wanted]
    assert made.nbytes == sum(map(len, wanted))
    assert made.join() == b"".join(wanted)
    assert sum(stop - start for _, start, stop, _ in made.slots) == len(wanted)


def test_such_a_list_is_written_and_read(made_of, tmp_path):
    group = MemGroup()
    made, wanted = made_of(group)
    with open(tmp_path / "out", "w+b") as file:
        assert made.pwritev(file, 0) == made.nbytes
        assert file.read() == b"".join(wanted)
        file.seek(0)
        file.write(bytes(range(256)) * 100)
        file.flush()
        assert made.preadv(file, 0) == made.nbytes
    rest = bytes(range(256)) * 100
    assert made.join() == rest[: made.nbytes]
    made.fill_from(b"x" * made.nbytes)
    assert made.join() == b"x" * made.nbytes


@pytest.mark.parametrize("protocol", [2, 5])
def test_such_a_list_is_pickled_and_its_neighbours_stay(made_of, protocol):
    group = MemGroup()
    block = group.copy(b"a,b,,c")
    fields = block.split(b",")
    assert pickle.loads(pickle.dumps(fields, protocol)) == [b"a", b"b", b"", b"c"]
    assert block == b"a,b,,c"
    made, wanted = made_of(group)
    assert pickle.loads(pickle.dumps(made, protocol)) == wanted
    assert pickle.loads(pickle.dumps(group.protect(made), protocol)) == wanted


def test_such_a_list_is_a_column(made_of):
    pa = pytest.importorskip("pyarrow")
    group = MemGroup()
    block = group.copy(b"a longer record,another longer record,,short")
    fields = block.split(b",")
    assert pa.array(fields).to_pylist() == bytes(block).split(b",")
    assert block == b"a longer record,another longer record,,short"
    made, wanted = made_of(group)
    assert pa.array(made).to_pylist() == wanted
    assert pa.array(made.as_arrow("large_binary")).to_pylist() == wanted


def test_such_a_list_is_inspected_again(made_of):
    made, wanted = made_of(MemGroup())
    assert made.contains(b"1").tolist() == [b"1" in record for record in wanted]
    assert made.take(made.contains(b"1")) == [record for record in wanted if b"1" in record]
    assert made.tolist() == wanted


# copy_many


@given(records=RECORDS, align=st.sampled_from([1, 16, 64]))
def test_many_objects_are_copied(records, align):
    group = MemGroup()
    kinds = [bytes, bytearray, memoryview, group.copy, MemGroup().copy]
    items = [kinds[at % len(kinds)](record) for at, record in enumerate(records)]  # type: ignore[operator]
    for given_as in [items, tuple(items), iter(items)]:
        made = group.copy_many(given_as, align=align)
        assert made == records
        assert all(block.address % align == 0 for block in made)
    assert not made.readonly


def test_strided_objects_and_lists_are_copied():
    group = MemGroup()
    items: list[Any] = [
        memoryview(b"abcdef")[::2],
        np.arange(4, dtype="u1")[::-1],
        group.copy_many([b"x"])[0],
    ]
    made = group.copy_many(items)
    assert made == [b"ace", bytes([3, 2, 1, 0]), b"x"]
    assert group.copy_many(made) == made
    assert group.copy_many([]) == []


@pytest.mark.parametrize(
    "wrong", [b"abc", bytearray(b"abc"), "abc", MemGroup().copy(b"abc"), 5, [b"a", "b"], [1]]
)
def test_what_is_no_iterable_of_bytes_is_refused(wrong):
    with pytest.raises(TypeError):
        MemGroup().copy_many(wrong)


def test_an_item_that_is_wrong_is_named_and_nothing_is_allocated():
    group = MemGroup()
    items: list[Any] = [b"a", b"b", "c"]
    with pytest.raises(TypeError, match=r"items\[2\] must be a bytes-like object, not str"):
        group.copy_many(items)
    assert group.stats().blocks == 0
    with pytest.raises(TypeError, match="copy_many"):
        group.alloc_many(b"ab")


def test_a_block_of_before_a_reset_is_not_copied():
    group = MemGroup()
    stale = group.copy(b"a")
    group.reset()
    with pytest.raises(ValueError, match="freed"):
        group.copy_many([b"b", stale])


def test_items_that_change_or_free_the_group_meanwhile_are_noticed():
    group = MemGroup()
    items: list[Any] = [b"a"] * 10

    def generator() -> Any:
        yield b"a"
        items.clear()
        group.free()
        yield b"b"

    with pytest.raises(ValueError, match="freed"):
        group.copy_many(generator())


# Long work.


def test_a_group_is_freed_between_pieces_of_a_search_and_never_under_one():
    group = MemGroup()
    made = group.alloc_many(count=200_000, size=1000, zero=True)
    ends: list[object] = []

    def search() -> None:
        try:
            while True:
                assert not any(made.contains(b"never"))
        except ValueError as error:
            ends.append(str(error))

    searching = threading.Thread(target=search)
    searching.start()
    time.sleep(0.05)
    group.free()
    searching.join()
    assert len(ends) == 1
    assert "freed" in str(ends[0])


@pytest.mark.thread_unsafe(reason="signals go to the main thread")
def test_a_signal_is_heard_during_a_search():
    made = MemGroup().alloc_many(count=300_000, size=1000, zero=True)

    class HandlerError(Exception):
        pass

    def handler(*_: object) -> None:
        raise HandlerError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(HandlerError):
            sum(len(made.contains(b"never")) for _ in range(10_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_child_inspects_what_its_parent_made():
    made = MemGroup().copy_many([b"ab", b"b"])
    child = os.fork()
    if child == 0:
        os._exit(0 if made.contains(b"a").tolist() == [True, False] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_blocks_of_a_list_are_what_take_gives():
    made = MemGroup().copy_many([b"a"]).take([0])
    assert isinstance(made, MemList)
    assert isinstance(made[0], MemBlock)
