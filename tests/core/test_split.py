"""Blocks cut into lists over their bytes, against bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup

GROUP = MemGroup()
TEXT = st.lists(
    st.sampled_from(
        [b"a", b"b", b"ab", b" ", b"\t", b"\n", b"\r", b"\r\n", b"\x0b", b"\x0c", b"\x1c", b"\x85", b","]
    ),
    max_size=40,
).map(b"".join)
SEPARATORS = st.none() | st.sampled_from([b",", b"a", b"ab", b"\r\n", b"aa"])
MOST = st.integers(-2, 5) | st.sampled_from([2**70, -(2**70)])


@given(text=TEXT, keepends=st.booleans())
def test_lines_are_those_of_bytes(text, keepends):
    block = GROUP.copy(text)
    for shown in [block, GROUP.protect(block)]:
        lines = shown.splitlines(keepends)
        assert lines == text.splitlines(keepends)
        assert lines.readonly == shown.readonly
    assert block.splitlines(keepends=keepends) == text.splitlines(keepends)


@pytest.mark.parametrize("name", ["split", "rsplit"])
@given(text=TEXT, sep=SEPARATORS, most=MOST)
def test_fields_are_those_of_bytes(name, text, sep, most):
    block = GROUP.copy(text)
    bounded = max(-1, min(most, 100))
    assert getattr(block, name)(sep, most) == getattr(text, name)(sep, bounded)
    assert getattr(block, name)(sep=sep, maxsplit=most) == getattr(text, name)(sep, bounded)
    assert getattr(block, name)(sep) == getattr(text, name)(sep)
    assert getattr(block, name)() == getattr(text, name)()


@pytest.mark.parametrize("name", ["split", "rsplit"])
@pytest.mark.parametrize("sep", [b"", "a", 1])
def test_what_separates_nothing_raises_what_bytes_raise(name, sep):
    with pytest.raises((TypeError, ValueError)) as wanted:
        getattr(b"ab", name)(sep)
    with pytest.raises(wanted.type):
        getattr(GROUP.copy(b"ab"), name)(sep)


@pytest.mark.parametrize("name", ["split", "rsplit", "splitlines"])
def test_a_freed_block_is_not_cut(name):
    group = MemGroup()
    block = group.copy(b"a b")
    group.free()
    with pytest.raises(ValueError, match="freed"):
        getattr(block, name)()


def test_parts_are_the_same_memory():
    block = GROUP.copy(b"one\ntwo")
    first, second = block.splitlines()
    assert (first.address, second.address) == (block.address, block.address + 4)
    block[4:] = b"new"
    assert second == b"new"
    assert GROUP.copy(b"x one two")[2:].split()[1].tobytes() == b"two"


def test_parts_of_a_part_lie_where_it_does():
    block = GROUP.copy(b"k1=v1;k2=v2;;k3=v3")
    fields = block.split(b";")
    assert [field.split(b"=").tolist() for field in fields] == [
        [b"k1", b"v1"],
        [b"k2", b"v2"],
        [b""],
        [b"k3", b"v3"],
    ]


def test_a_hundred_megabytes_are_cut():
    line = b"a line of some length, with a CR LF\r\n"
    text = line * 3_000_000
    lines = GROUP.copy(text).splitlines()
    assert len(lines) == 3_000_000
    assert lines[2_999_999] == line[:-2]
    assert set(lines.sizes) == {len(line) - 2}
    assert len(GROUP.copy(text).split(b"CR")) == 3_000_001


def test_what_an_argument_frees_is_noticed():
    group = MemGroup()
    block = group.copy(b"a b")

    class Frees:
        def __index__(self) -> int:
            group.free()
            return 1

    with pytest.raises(ValueError, match="freed"):
        block.split(b" ", Frees())
