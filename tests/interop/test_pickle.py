"""Blocks and lists that are pickled and copied: which bytes are copied, and which group receives them."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import mappings
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup, loads_into
from memgroup import _pickle as ours
from memgroup._memgroup import pieces
from support.pickles import RECORDS, SKIPPING, THINGS, block_addresses, blocks_of, bytes_of, is_same, list_of

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def out_of_band(thing) -> tuple[bytes, list[pickle.PickleBuffer]]:
    buffers: list[pickle.PickleBuffer] = []
    return pickle.dumps(thing, 5, buffer_callback=buffers.append), buffers


def is_within(block: MemBlock, ranges: list[range]) -> bool:
    return not len(block) or any(
        block.address in one and block.address + len(block) - 1 in one for one in ranges
    )


@pytest.fixture(params=THINGS)
def whole(request):
    return THINGS[request.param](MemGroup(base=4096))


# In band


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_loaded_objects_equal_the_pickled_ones(thing, protocol):
    data = pickle.dumps(thing, protocol)
    loaded = pickle.loads(data)
    assert is_same(loaded, thing)
    with MemGroup() as group, loads_into(group):
        assert is_same(pickle.loads(data), thing)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_loaded_objects_belong_to_the_receiver(protocol):
    sent = MemGroup().copy(b"hello")
    loaded = pickle.loads(pickle.dumps(sent, protocol))
    loaded[0] = ord("j")
    assert (bytes(sent), bytes(loaded)) == (b"hello", b"jello")


@given(
    records=st.lists(st.binary(max_size=100), max_size=30),
    key=st.slices(30),
    protocol=st.sampled_from(PROTOCOLS),
    align=st.sampled_from([1, 16, 512]),
    protected=st.booleans(),
)
def test_any_part_of_any_list_arrives(records, key, protocol, align, protected):
    group = MemGroup(base=4096)
    made = list_of(group, records, align)
    part = (group.protect(made) if protected else made)[key]
    loaded = pickle.loads(pickle.dumps(part, protocol))
    assert is_same(loaded, part)
    again = pickle.loads(pickle.dumps(loaded, protocol))
    assert bytes_of(again) == records[key]


# Out of band


def test_nothing_is_copied_out_of_band(whole, monkeypatch):
    np = pytest.importorskip("numpy")
    # What dask may send carries its loader.
    monkeypatch.delitem(sys.modules, "distributed", raising=False)
    data, buffers = out_of_band(whole)
    assert len(data) < 400
    arrays = [np.frombuffer(buffer, "u1") for buffer in buffers if buffer.raw().nbytes]
    ranges = [range(array.ctypes.data, array.ctypes.data + len(array)) for array in arrays]
    assert all(is_within(block, ranges) for block in blocks_of(whole))
    loaded = pickle.loads(data, buffers=buffers)
    assert is_same(loaded, whole)
    assert block_addresses(loaded) == block_addresses(whole)


def test_loading_from_the_pickled_buffers_shares_their_bytes():
    group = MemGroup()
    for sent in (group.copy(b"hello"), list_of(group, [b"hello"])[0]):
        data, buffers = out_of_band(sent)
        loaded = pickle.loads(data, buffers=buffers)
        loaded[0] = ord("j")
        assert sent == b"jello"
        assert loaded in group


@pytest.mark.parametrize("as_frame", [bytes, bytearray, memoryview], ids=lambda kind: kind.__name__)
def test_frames_from_elsewhere_are_copied_once_into_a_group_of_the_receiver(thing, as_frame):
    data, buffers = out_of_band(thing)
    frames = [as_frame(bytes(buffer)) for buffer in buffers]
    assert is_same(pickle.loads(data, buffers=frames), thing)
    with MemGroup() as group, loads_into(group):
        loaded = pickle.loads(data, buffers=frames)
        assert is_same(loaded, thing)
        assert loaded in group
        assert group.stats().requested <= sum(map(len, frames))


def large_things() -> list[Any]:
    group = MemGroup(base=4096)
    records = list_of(group, [b"%07d" % n * (n % 50) for n in range(10_000)])
    made = [group.copy(b"hello" * 400_000), records, group.alloc_many(count=3, size=1 << 20, zero=True)]
    return [*made, *map(group.protect, made)]


@pytest.mark.parametrize("number", range(6))
def test_large_objects_stay_in_the_memory_that_they_arrive_in(number):
    np = pytest.importorskip("numpy")
    sent = large_things()[number]
    for _ in range(2):  # what has arrived is sent on in the same way
        data, buffers = out_of_band(sent)
        arrays = [np.frombuffer(bytes(buffer), "u1").copy() for buffer in buffers]
        frames = [array.data.toreadonly() if sent.readonly else array.data for array in arrays]
        loaded = pickle.loads(data, buffers=frames)
        assert is_same(loaded, sent)
        ranges = [range(array.ctypes.data, array.ctypes.data + len(array)) for array in arrays]
        assert all(is_within(block, ranges) for block in blocks_of(loaded))
        sent = loaded


@pytest.mark.parametrize("number", range(6))
def test_large_objects_are_copied_where_they_would_be_other_than_they_were(number):
    np = pytest.importorskip("numpy")
    sent = large_things()[number]
    data, buffers = out_of_band(sent)
    arrays = [np.frombuffer(bytes(buffer), "u1") for buffer in buffers]
    shifted = [np.frombuffer(b"x" + bytes(array), "u1").copy()[1:] for array in arrays]
    for frames in ([array.data for array in arrays], [array.data for array in shifted]):
        loaded = pickle.loads(data, buffers=frames)
        assert is_same(loaded, sent)
        assert blocks_of(loaded)[0].address % 16 == 0
        with MemGroup() as group, loads_into(group):
            assert pickle.loads(data, buffers=frames) in group


def test_an_empty_buffer_precedes_those_of_large_objects():
    # dask receives the first buffer together with the pickle, where it is not aligned.
    for sent in large_things():
        _, buffers = out_of_band(sent)
        assert [buffer.raw().nbytes == 0 for buffer in buffers[:2]] == [True, False]


def test_frames_received_into_a_group_stay_where_they_are(whole):
    thing = whole
    data, buffers = out_of_band(thing)
    home = MemGroup(name="home")
    frames = [home.copy(buffer) for buffer in buffers]
    requested = home.stats().requested
    for received in (frames, [home.protect(frame) for frame in frames], list(map(memoryview, frames))):
        loaded = pickle.loads(data, buffers=received)
        assert loaded == thing
        assert loaded.readonly or not thing.readonly
    assert home.stats().requested == requested
    if not thing.readonly:
        ranges = [range(frame.address, frame.address + len(frame)) for frame in frames]
        loaded = pickle.loads(data, buffers=frames)
        assert all(is_within(block, ranges) for block in blocks_of(loaded))


def test_frames_in_several_groups_are_brought_together(group):
    sent = list_of(MemGroup(base=4096), [b"%d" % n * 90 for n in range(1000)])
    data, buffers = out_of_band(sent)
    homes = [MemGroup(), MemGroup()]
    frames = [homes[n % 2].copy(buffer) for n, buffer in enumerate(buffers)]
    with loads_into(group):
        loaded = pickle.loads(data, buffers=frames)
    assert is_same(loaded, sent)
    assert loaded in group


def test_frames_of_a_group_that_has_ended_are_copied_while_they_are_there(group):
    block, records = MemGroup().copy(b"hello"), list_of(MemGroup(), RECORDS)
    home, arrived = MemGroup(), []
    for thing in (block, records):
        data, buffers = out_of_band(thing)
        arrived.append((data, [memoryview(home.copy(buffer)) for buffer in buffers]))
    unseen = home.copy(b"hello")
    home.__exit__(None, None, None)
    with loads_into(group):
        assert pickle.loads(arrived[0][0], buffers=arrived[0][1]) == block
        loaded = pickle.loads(arrived[1][0], buffers=arrived[1][1])
        assert is_same(loaded, records)
        assert loaded in group
        with pytest.raises(ValueError, match="freed"):
            pickle.loads(arrived[0][0], buffers=[unseen])


def test_writable_objects_that_arrive_protected_are_not_made_writable():
    home = MemGroup()
    block = MemGroup().copy(b"hello")
    data, buffers = out_of_band(block)
    frame = home.protect(home.copy(buffers[0]))
    assert pickle.loads(data, buffers=[frame]).readonly
    data, buffers = out_of_band(list_of(MemGroup(), RECORDS))
    frames = [home.protect(home.copy(buffer)) for buffer in buffers]
    loaded = pickle.loads(data, buffers=frames)
    assert not loaded.readonly
    assert loaded not in home  # a copy, because a protected block cannot become a writable list


def test_padding_is_sent_as_zeros():
    group = MemGroup()
    group.alloc(1000)[:] = b"\xee" * 1000
    group.reset()
    made = list_of(group, [b"abc"] * 10)
    _, buffers = out_of_band(group.protect(made))
    assert bytes(buffers[0]) == (b"abc" + bytes(13)) * 9 + b"abc"


def test_bytes_of_other_lists_and_blocks_are_not_sent():
    group = MemGroup()
    made = list_of(group, [b"mine", b"yours", b"mine", b"yours"])
    for part in (made[::2], made[1:3], made[:1]):
        data, buffers = out_of_band(part)
        sent = data + b"".join(map(bytes, buffers))
        assert (b"yours" in sent) == (b"yours" in part)
    assert made == list_of(group, [b"mine", b"yours", b"mine", b"yours"])


def test_buffers_are_views(group):
    block = group.copy(b"hello")
    _, buffers = out_of_band(block)
    assert group.stats().exports == 1
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    buffers.clear()
    group.free()


# Which group


def test_a_receiving_group_ends_with_the_last_object_loaded_into_it(cold):
    gc.collect()
    before = mappings("loaded")
    ours._begin_anew()
    data = pickle.dumps([MemGroup().copy(b"x" * 100) for _ in range(100)])
    loaded = pickle.loads(data)
    assert mappings("loaded") == before + 2  # one slot for all of them
    kept = loaded[50]
    del loaded
    assert kept == b"x" * 100
    del kept
    assert mappings("loaded") == before


def test_large_objects_get_their_own_group(cold):
    before = mappings("loaded")
    sent = MemGroup().alloc(3 << 20, zero=True)
    first, second = pickle.loads(pickle.dumps([sent, sent[1:]]))
    assert mappings("loaded") == before + 4
    del first
    assert mappings("loaded") == before + 2
    assert second == sent[1:]


def test_a_small_block_keeps_few_other_blocks_alive(cold):
    ours._begin_anew()
    before = mapped("loaded")
    data = pickle.dumps(MemGroup().alloc(ours.LARGE // 2, zero=True))
    loaded = [pickle.loads(data) for _ in range(6 * ours.TOGETHER // ours.LARGE * 2)]
    all_of_them = mapped("loaded") - before
    kept = loaded[-1][:1]
    del loaded
    # Two mirrors of slots that double: a group takes up to four times what is in it.
    assert mapped("loaded") - before <= 4 * ours.TOGETHER + (1 << 20) < all_of_them
    assert kept == b"\0"


def mapped(name: str) -> int:
    """Bytes of address space in mappings of a memfd of that name."""
    ranges = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if f"/memfd:{name} " in line
    ]
    return sum(int(end, 16) - int(start, 16) for start, end in ranges)


def test_loads_into_holds_for_its_block_thread_and_innermost(group):
    data = pickle.dumps(MemGroup().copy(b"hello"))
    other = MemGroup()
    with loads_into(group) as entered:
        assert entered is group
        assert pickle.loads(data) in group
        with loads_into(other):
            assert pickle.loads(data) in other
        assert pickle.loads(data) in group
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(pickle.loads, data).result() not in group
    assert pickle.loads(data) not in group


def test_threads_load_into_groups_of_their_own_or_a_common_one(group):
    data = pickle.dumps([list_of(MemGroup(), RECORDS) for _ in range(20)])
    wrong = []

    def work(target):
        with loads_into(target):
            for _ in range(10):
                loaded = pickle.loads(data)
                wrong.extend(one for one in loaded if bytes_of(one) != RECORDS or one not in target)

    targets = [group, group, MemGroup(), MemGroup()]
    threads = [threading.Thread(target=work, args=[target]) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Wrong uses


def test_pickling_a_group_is_refused_with_a_remedy(group):
    for work in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(
            TypeError, match=r"cannot pickle or copy a MemGroup: .* pickle its blocks and lists"
        ):
            work(group)


def test_freed_objects_are_neither_pickled_nor_copied():
    for make in (*THINGS.values(), *SKIPPING.values()):
        group = MemGroup()
        thing = make(group)
        group.free()
        for work in (pickle.dumps, copy.copy, copy.deepcopy, lambda thing: pickle.dumps(thing, 5)):
            with pytest.raises(ValueError, match="freed"):
                work(thing)


@pytest.mark.parametrize("wrong", [None, "group", b"", MemGroup])
def test_loads_into_wants_a_group(wrong):
    with pytest.raises(TypeError, match="loads_into\\(\\) takes a MemGroup, not"), loads_into(wrong):
        pass


def test_loads_into_wants_an_open_group():
    group = MemGroup(name="gone")
    data = pickle.dumps(MemGroup().copy(b"abc"))
    with loads_into(group):
        group.free()
        with pytest.raises(ValueError, match='"gone" is freed: make a new one'):
            pickle.loads(data)
    with pytest.raises(ValueError, match="'gone' is freed: make a new one"), loads_into(group):
        pass


@pytest.mark.parametrize("name", ["a protected block", "a protected list", "a list backwards"])
def test_protected_objects_are_not_loaded_into_an_anonymous_group(name):
    sent = {**THINGS, **SKIPPING}[name](MemGroup())
    group = MemGroup(backing="anonymous")
    with loads_into(group), pytest.raises(ValueError, match=r'has no read-only mirror: .* backing="memfd"'):
        pickle.loads(pickle.dumps(sent))
    assert group.stats().requested == 0
    with loads_into(group):
        assert pickle.loads(pickle.dumps(MemGroup().copy(b"abc"))) in group


def test_a_group_without_room_loads_nothing_and_stays_usable():
    data = pickle.dumps([MemGroup().alloc(2 << 20), list_of(MemGroup(), [b"x" * (2 << 20)])])
    group = MemGroup(limit=1 << 20)
    with loads_into(group), pytest.raises(MemoryError, match="limit"):
        pickle.loads(data)
    assert group.copy(b"abc") == b"abc"


@pytest.mark.parametrize(
    "change",
    [
        lambda buffers, firsts, table, align: (buffers, firsts, (table[0][:-8], table[1]), align),
        lambda buffers, firsts, table, align: (buffers, firsts, (table[0][:-1], table[1][:-1]), align),
        lambda buffers, firsts, table, align: (buffers, firsts, (table[0], table[0]), align),
        lambda buffers, firsts, table, align: (buffers, firsts, (b"\xff" * len(table[0]), table[1]), align),
        lambda buffers, firsts, table, align: (buffers, firsts, (table[0], table[1][::-1]), align),
        lambda buffers, firsts, table, align: (buffers[:-1], firsts, table, align),
        lambda buffers, firsts, table, align: (buffers[:-1], firsts[:-1], table, align),
        lambda buffers, firsts, table, align: ((*buffers[:-1], buffers[-1][:-1]), firsts, table, align),
        lambda buffers, firsts, table, align: (buffers, (1, *firsts[1:]), table, align),
        lambda buffers, firsts, table, align: (buffers, (*firsts[:-1], 10**6), table, align),
        lambda buffers, firsts, table, align: (buffers, firsts, table, 3),
        lambda buffers, firsts, table, align: (buffers, firsts, table, 1 << 40),
        lambda buffers, firsts, table, align: (buffers, firsts, (10, 10, 10), align),
        lambda buffers, firsts, table, align: ((), (), table, align),
    ],
)
@pytest.mark.parametrize("in_a_group", [True, False])
def test_a_damaged_pickle_is_a_value_error(change, in_a_group):
    group = MemGroup(base=4096)
    made = list_of(group, [*RECORDS * 5, b"x" * 70_000])  # too large for sizes in 16 bits
    taken: Any = pieces(made)
    stretches, firsts, table, align = taken
    buffers = stretches if in_a_group else tuple(map(bytes, stretches))
    table = (bytes(table[0]), bytes(table[1]))
    assert ours.load_list(buffers, firsts, table, align, False) == made
    load: Any = ours.load_list
    with pytest.raises(ValueError, match="damaged"):
        load(*change(buffers, firsts, table, align), False)


# Copies


def test_a_copy_of_a_block_is_a_block_of_the_group(group):
    block = group.copy(b"hello")
    for sent in (block, group.protect(block), block[1:3]):
        for work in (copy.copy, copy.deepcopy):
            made = work(sent)
            assert is_same(made, sent)
            assert made in group
            assert made.address != sent.address
    group.free(force=True)


def test_a_copy_of_a_block_is_independent(group):
    block = group.copy(b"hello")
    made = copy.copy(block)
    made[0] = ord("j")
    protected = copy.copy(group.protect(block))
    block[:] = b"other"
    assert (bytes(block), bytes(made), bytes(protected)) == (b"other", b"jello", b"hello")


LISTS = [name for name in (*THINGS, *SKIPPING) if "block" not in name and name != "no bytes"]


@pytest.mark.parametrize("name", LISTS)
def test_a_copy_of_a_list_has_the_same_blocks_and_a_deep_one_others(name):
    thing = {**THINGS, **SKIPPING}[name](MemGroup(base=4096))
    shallow, deep = copy.copy(thing), copy.deepcopy(thing)
    assert is_same(shallow, thing)
    assert is_same(deep, thing)
    assert block_addresses(shallow) == block_addresses(thing)
    assert not set(block_addresses(deep)) & set(block_addresses(thing))


def test_a_deep_copy_keeps_identities(group):
    block = group.copy(b"hello")
    one, other = copy.deepcopy([block, block])
    assert one is other
    assert one == block


def test_copies_of_an_anonymous_group_stay_there():
    group = MemGroup(backing="anonymous")
    block, made = group.copy(b"hello"), list_of(group, RECORDS)
    assert copy.copy(block) in group
    assert copy.deepcopy(made) == made
