"""Searching checks the type of an operand; it looks up no attribute and drops no exception."""

from __future__ import annotations

import pytest


class Watched(bytearray):
    """A bytes-like object that records lookups of its attributes."""

    looked_up: list[str]

    def __getattribute__(self, name):
        Watched.looked_up.append(name)
        return super().__getattribute__(name)


class Opaque:
    """An object without bytes that records lookups of its attributes."""

    def __getattribute__(self, name):
        Watched.looked_up.append(name)
        return super().__getattribute__(name)


SEARCHES = {
    "find": lambda block, sub: block.find(sub),
    "index": lambda block, sub: block.index(sub),
    "count": lambda block, sub: block.count(sub),
    "in": lambda block, sub: sub in block,
    "==": lambda block, sub: block == sub,
    "<": lambda block, sub: block > sub,
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_no_attribute_of_a_needle_is_looked_up(group, search):
    block = group.copy(b"a needle in a haystack")
    needle = Watched(b"needle")
    Watched.looked_up = []
    search(block, needle)
    assert Watched.looked_up == []


def test_comparing_with_an_object_without_bytes_looks_up_no_attribute(group):
    block, listed = group.copy(b"abc"), group.alloc_many([1, 2])
    other = Opaque()
    Watched.looked_up = []
    assert [block == other, block != other, listed.count(other), other in listed] == [False, True, 0, False]
    assert other not in group
    assert [name for name in Watched.looked_up if name == "__index__"] == []


@pytest.mark.parametrize(
    "needle", [b"needle", bytearray(b"needle"), memoryview(b"needle"), 110, b"", b"x" * 100]
)
def test_every_kind_of_needle_is_found_where_bytes_finds_it(group, needle):
    contents = b"a needle in a haystack" * 5
    block = group.copy(contents)
    assert block.find(needle) == contents.find(needle)
    assert block.count(needle) == contents.count(needle)
    assert (needle in block) == (needle in contents)
