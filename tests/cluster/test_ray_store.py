"""Blocks and lists in the object store of Ray: what `get` returns shows the store's memory."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from memgroup import MemBlock, MemGroup, MemList, loads_into
from support.rays import STORE_BYTES, resident

pytest.importorskip("ray")

LARGE = 8 * 2**20
SIZES = [1, 70, 1000, 200_000]


def file_at(address: int) -> str:
    """What is mapped at an address of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= address < end:
            return line
    raise AssertionError(f"nothing is mapped at {address:#x}")


def mixed(group: MemGroup) -> MemList:
    blocks = group.alloc_many(SIZES)
    for number, block in enumerate(blocks):
        block[:] = bytes([number]) * block.nbytes
    return blocks


def scattered(group: MemGroup) -> MemList:
    """Many short records, each in a stretch of its own."""
    return group.copy(bytes(range(256)) * 200).split(b"\0")[::2]


def over_many_slots(group: MemGroup) -> MemList:
    """A list in many slots. Some have a short stretch of it, which Ray aligns to 8 bytes only."""
    sizes = Random(1)
    return group.alloc_many([sizes.randint(16, 512) for _ in range(40_000)])


KINDS = {
    "small block": lambda group: group.copy(b"block"),
    "large block": lambda group: group.copy(bytes(range(256)) * (LARGE // 256)),
    "protected block": lambda group: group.protect(group.copy(b"x" * LARGE)),
    "uniform list": lambda group: group.alloc_many([64] * 10_000),
    "mixed list": mixed,
    "aligned list": lambda group: group.alloc_many(SIZES, align=64),
    "list over many slots": over_many_slots,
    "scattered list": scattered,
}


def contents(thing: MemBlock | MemList) -> bytes | list[bytes]:
    return bytes(thing) if isinstance(thing, MemBlock) else thing.tolist()


def addresses(thing: MemBlock | MemList) -> list[int]:
    return [thing.address] if isinstance(thing, MemBlock) else [block.address for block in thing]


@pytest.mark.parametrize("kind", KINDS)
def test_what_get_returns_has_the_same_contents_and_cannot_be_written(store, kind):
    sent = KINDS[kind](MemGroup())
    got = store.get(store.put(sent))
    assert type(got) is type(sent)
    assert contents(got) == contents(sent)
    assert got.readonly
    block = got if isinstance(got, MemBlock) else got[0]
    assert memoryview(block).readonly
    with pytest.raises(TypeError):
        block[0:1] = b"!"


@pytest.mark.parametrize(
    "kind", ["large block", "protected block", "uniform list", "mixed list", "aligned list"]
)
def test_every_get_shows_the_same_memory_of_the_store(store, kind):
    reference = store.put(KINDS[kind](MemGroup()))
    one, two = store.get(reference), store.get(reference)
    assert addresses(one) == addresses(two)
    assert all("plasma" in file_at(address) for address in addresses(one)[:5])


def test_only_short_stretches_of_a_list_over_many_slots_are_copied(store):
    reference = store.put(over_many_slots(MemGroup()))
    one, two = addresses(store.get(reference)), addresses(store.get(reference))
    assert all(address % 16 == 0 for address in one)
    assert sum(map(int.__eq__, one, two)) > len(one) * 0.99


def test_records_are_aligned_as_they_were(store):
    got = store.get(store.put(KINDS["aligned list"](MemGroup())))
    assert all(block.address % 64 == 0 for block in got)


def test_tasks_take_and_return_blocks_and_lists(store):
    def returned(block, blocks):
        assert block.readonly
        assert blocks.readonly
        group = MemGroup()
        return group.copy(block), group.copy(b"".join(blocks.tolist()))

    block, blocks = KINDS["large block"](MemGroup()), mixed(MemGroup())
    first, second = store.get(store.remote(returned).remote(store.put(block), blocks), timeout=60)
    assert first == bytes(block)
    assert second == b"".join(blocks.tolist())
    assert "plasma" in file_at(first.address)
    assert first.readonly


def test_an_object_stays_in_the_store_for_as_long_as_it_is_shown(store):
    sent = bytes(range(256)) * (LARGE // 256)
    part = store.get(store.put(MemGroup().copy(sent)))[1:]
    # Several times what the store holds: it gives up whatever nobody uses.
    for _ in range(3 * STORE_BYTES // LARGE):
        store.put(MemGroup().copy(b"!" * LARGE))
    assert "plasma" in file_at(part.address)
    assert bytes(part) == sent[1:]


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("kind", ["block", "uniform list", "mixed list"])
def test_get_takes_less_than_a_hundredth_of_what_it_shows(store, kind):
    nbytes = 12 * LARGE
    sizes = {
        "uniform list": [256] * (nbytes // 256),
        "mixed list": [16, 512] * (nbytes // 528),
    }
    group = MemGroup(base=2 * nbytes)
    sent = group.alloc(nbytes) if kind == "block" else group.alloc_many(sizes[kind])
    reference = store.put(sent)
    store.get(store.put(KINDS["small block"](MemGroup())))
    shown = []
    growths = []
    # Threads of Ray take memory meanwhile: the least of three counts.
    for _ in range(3):
        before = resident().own
        shown.append(store.get(reference))
        growths.append(resident().own - before)
    assert shown[0].nbytes >= nbytes * 0.99
    assert min(growths) < nbytes / 100


def test_a_group_that_is_named_gets_a_copy(store):
    sent = mixed(MemGroup())
    reference = store.put(sent)
    with MemGroup() as group, loads_into(group):
        got = store.get(reference)
        assert got[0] in group
        assert not got.readonly
        assert got.tolist() == sent.tolist()
