"""The methods that a block has as bytes do, against those of bytes: arguments, parts, errors."""

from __future__ import annotations

import codecs
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup

GROUP = MemGroup()

# Few letters, so that what is looked for is there.
TEXT = st.lists(
    st.sampled_from([b"a", b"b", b"ab", b" ", b"\n", b"\r", b"\x0b", b"\xc3\xa9", b"\x00"]), max_size=40
).map(b"".join)
SHORT = st.lists(st.sampled_from([b"a", b"b", b" ", b"\n"]), max_size=3).map(b"".join)
BOUND = st.none() | st.integers(-50, 50) | st.sampled_from([-(2**70), 2**70])
BOUNDS = st.tuples() | st.tuples(BOUND) | st.tuples(BOUND, BOUND)


def outcome(method: Any, *args: Any, **names: Any) -> object:
    """What a call gives, with blocks as bytes, or the type of what it raises."""
    try:
        found = method(*args, **names)
    except (TypeError, ValueError, LookupError) as error:
        return type(error)
    if isinstance(found, tuple):
        return tuple(map(bytes, found))
    return bytes(found) if isinstance(found, MemBlock) else found


def agree(data: bytes, name: str, *args: Any, **names: Any) -> None:
    block = GROUP.copy(data)
    assert outcome(getattr(block, name), *args, **names) == outcome(getattr(data, name), *args, **names)


@pytest.mark.parametrize("name", ["find", "rfind", "index", "rindex", "count"])
@given(data=TEXT, sub=SHORT | st.integers(-1, 256) | st.sampled_from(["a", None, 1.5]), bounds=BOUNDS)
def test_a_search_gives_what_it_gives_for_bytes(name, data, sub, bounds):
    agree(data, name, sub, *bounds)


@pytest.mark.parametrize("found", [b"", b"ab", b"abab"])
@pytest.mark.parametrize("false_starts", range(10))
@pytest.mark.parametrize("name", ["find", "rfind", "count", "partition", "rpartition", "__contains__"])
def test_a_search_goes_on_where_one_end_of_the_needle_stands_alone(name, false_starts, found):
    data = b"a-" * false_starts + found + b"-b" * false_starts
    for needle in (b"ab", b"aba", b"a" * 20 + b"b"):
        agree(data, name, needle)


@pytest.mark.parametrize("name", ["startswith", "endswith"])
@given(
    data=TEXT,
    affix=SHORT
    | st.lists(SHORT | st.sampled_from([1, "a"]), max_size=3).map(tuple)
    | st.sampled_from([97, "a", None]),
    bounds=BOUNDS,
)
def test_what_a_block_begins_or_ends_with_is_what_bytes_do(name, data, affix, bounds):
    agree(data, name, affix, *bounds)


@pytest.mark.parametrize("name", ["strip", "lstrip", "rstrip"])
@given(data=TEXT, args=st.tuples() | st.tuples(st.none() | TEXT | st.sampled_from([97, "a"])))
def test_stripping_leaves_what_it_leaves_of_bytes(name, data, args):
    agree(data, name, *args)


@pytest.mark.parametrize("name", ["removeprefix", "removesuffix", "partition", "rpartition"])
@given(data=TEXT, arg=SHORT | st.sampled_from([97, "a", None]))
def test_parts_are_those_of_bytes(name, data, arg):
    agree(data, name, arg)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000])
def test_decode_and_hex_give_what_bytes_give(size):
    data = (b"text \xc3\xa9 " * 1000)[:size]
    for args in [
        (),
        ("utf-8",),
        ("latin-1",),
        ("ascii", "replace"),
        ("no-such-encoding",),
        (None,),
        ("utf-8", "x", 1),
    ]:
        agree(data, "decode", *args)
    agree(data, "decode", errors="ignore")
    for hex_args in [(), (":",), (b"-", 2), ("::",), (":", "x")]:
        agree(data, "hex", *hex_args)
    agree(data, "hex", sep="_", bytes_per_sep=-3)
    agree(data, "hex", no_such=1)


def test_an_error_of_decode_shows_the_bytes():
    with pytest.raises(UnicodeDecodeError, match="position 2") as caught:
        GROUP.copy(b"ab\xff").decode()
    assert caught.value.object == b"ab\xff"


@pytest.mark.parametrize("name", ["find", "rfind", "count", "partition", "strip", "removeprefix"])
def test_any_bytes_like_object_will_do(name):
    data = b"b-abcabcab-"
    block = GROUP.copy(data)
    wanted = outcome(getattr(data, name), b"b-")
    for sub in [
        bytearray(b"b-"),
        memoryview(b"xb-")[1:],
        GROUP.copy(b"b-"),
        MemGroup().copy(b"b-"),
        block[:2],
    ]:
        assert outcome(getattr(block, name), sub) == wanted


@pytest.mark.parametrize("name", ["strip", "removeprefix", "rpartition"])
def test_parts_are_blocks_over_the_same_bytes(name):
    for protect in [False, True]:
        block = GROUP.copy(b"a-b-a")
        shown = GROUP.protect(block) if protect else block
        found = getattr(shown, name)(b"a-")
        part = found[-1] if isinstance(found, tuple) else found
        assert shown.address <= part.address <= shown.address + len(shown)
        assert part.readonly == protect
        block[:] = b"zzzzz"
        assert bytes(part) == b"z" * len(part)


@pytest.mark.parametrize(
    "name",
    [
        "find",
        "rindex",
        "count",
        "startswith",
        "strip",
        "removesuffix",
        "partition",
        "decode",
        "hex",
        "rfind",
        "lstrip",
    ],
)
def test_a_freed_block_has_no_methods(name):
    group = MemGroup()
    block = group.copy(b"ab")
    group.free()
    args = () if name in {"decode", "hex", "lstrip"} else (b"a",)
    with pytest.raises(ValueError, match="freed"):
        getattr(block, name)(*args)


class Frees:
    """An argument whose reading frees the group."""

    def __init__(self, group: MemGroup, answer: object) -> None:
        self.group, self.answer = group, answer

    def __index__(self) -> Any:
        self.group.free()
        return self.answer


@pytest.mark.parametrize("name", ["find", "rfind", "count", "startswith", "endswith"])
def test_a_group_that_is_freed_by_an_argument_is_noticed(name):
    group = MemGroup()
    block = group.copy(b"ab" * 100)
    with pytest.raises(ValueError, match="freed"):
        getattr(block, name)(group.copy(b"ab"), Frees(group, 0))


def test_an_error_handler_that_frees_the_group_finds_a_copy_decoded():
    group = MemGroup()
    block = group.copy(b"\xff" * 1000)

    def free(error: UnicodeError) -> tuple[str, int]:
        group.free()
        return "?", error.end  # type: ignore[attr-defined]

    codecs.register_error("memgroup-test-free", free)
    assert block.decode("ascii", "memgroup-test-free") == "?" * 1000


def test_a_million_bytes_are_searched_like_bytes():
    data = (b"The quick brown fox. " * 50_000) + b"needle" + b"x" * 1000
    block = GROUP.copy(data)
    for sub in [b"needle", b"x", b"fox. The", b"absent", b"q", b"e"]:
        for name in ["find", "rfind", "count"]:
            agree(data, name, sub)
        assert (sub in block) == (sub in data)


def test_weak_references_know_when_a_block_is_gone():
    gone: list[object] = []
    block = GROUP.alloc(10)
    reference = weakref.ref(block, gone.append)
    by_block = weakref.WeakValueDictionary({"it": block})
    assert reference() is block
    assert by_block["it"] is block
    assert weakref.getweakrefcount(block) == 2
    del block
    gc.collect()
    assert reference() is None
    assert gone == [reference]
    assert "it" not in by_block


def test_memory_of_dead_blocks_remembers_no_weak_references():
    def references() -> Iterator[weakref.ref[MemBlock]]:
        for _ in range(100):
            block = GROUP.alloc(1)
            assert weakref.getweakrefcount(block) == 0
            yield weakref.ref(block)

    assert all(reference() is None for reference in list(references()))
