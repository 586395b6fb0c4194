"""Helpers for the tests of pickling."""

from __future__ import annotations

import pytest
from memgroup import MemBlock, MemGroup, MemList

RECORDS = [b"short", b"a record longer than twelve", b"", b"x" * 5000, b"exactly12byt", b"0"]


def list_of(group: MemGroup, records: list[bytes], align: int = 16) -> MemList:
    made = group.alloc_many([len(record) for record in records], align=align)
    made.fill_from(b"".join(records))
    return made


def is_same(loaded, sent) -> bool:
    """Whether two objects have the same kind, bytes and protection."""
    return type(loaded) is type(sent) and loaded == sent and loaded.readonly == sent.readonly


def bytes_of(thing) -> list[bytes]:
    return [bytes(block) for block in thing] if isinstance(thing, MemList) else [bytes(thing)]


def blocks_of(thing) -> list[MemBlock]:
    return list(thing) if isinstance(thing, MemList) else [thing]


def block_addresses(thing) -> list[int]:
    return [block.address for block in blocks_of(thing)]


THINGS = {
    "a block": lambda group: group.copy(b"hello world" * 100),
    "no bytes": lambda group: group.alloc(0),
    "a protected block": lambda group: group.protect(group.copy(b"hello")),
    "a part of a block": lambda group: group.copy(b"hello world")[3:7],
    "a list": lambda group: list_of(group, RECORDS),
    "a protected list": lambda group: group.protect(list_of(group, RECORDS)),
    "a list without padding": lambda group: list_of(group, RECORDS, align=1),
    "a list of one size": lambda group: filled(group.alloc_many(count=50, size=20)),
    "an empty list": lambda group: group.alloc_many([]),
    "a slice": lambda group: list_of(group, RECORDS * 100)[7:301],
    "no part of a list": lambda group: list_of(group, RECORDS)[2:2],
    "a list over many slots": lambda group: list_of(group, [b"%d" % n * 90 for n in range(1000)]),
}


SKIPPING = {
    "every third of a list": lambda group: list_of(group, RECORDS * 10)[::3],
    "a list backwards": lambda group: group.protect(list_of(group, RECORDS))[::-1],
    "every other of one size": lambda group: filled(group.alloc_many(count=50, size=20))[::2],
    "far apart": lambda group: filled(group.alloc_many(count=100, size=1, align=4096)),
}


def filled(blocks: MemList) -> MemList:
    blocks.fill_from(bytes(n % 251 for n in range(blocks.nbytes)))
    return blocks


@pytest.fixture(params=[*THINGS, *SKIPPING])
def thing(request):
    return {**THINGS, **SKIPPING}[request.param](MemGroup(base=4096))
