"""A list compares by content with Python's own lists of bytes."""

from __future__ import annotations

import pytest
from memgroup import MemGroup


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ([b"abc", b"", b"de"], True),
        ([bytearray(b"abc"), memoryview(b""), b"de"], True),
        ([b"abc", b""], False),
        ([b"abc", b"", b"de", b""], False),
        ([b"abc", b"", b"df"], False),
        ([b"abc", b"", "de"], False),
        ([b"abc", None, b"de"], False),
        ([], False),
        ((b"abc", b"", b"de"), False),
    ],
)
def test_a_list_is_equal_to_a_list_of_the_same_bytes(other, equal):
    group = MemGroup()
    made = group.alloc_many([3, 0, 2])
    made.fill_from(b"abcde")
    for shown in [made, group.protect(made)]:
        assert (shown == other) is equal
        assert (shown != other) is not equal
        assert (other == shown) is equal


def test_a_slice_and_an_empty_list_compare_too():
    group = MemGroup()
    made = group.alloc_many([1] * 4)
    made.fill_from(b"abcd")
    assert made[::-2] == [b"d", b"b"]
    assert made[:0] == []


def test_an_element_that_frees_the_group_is_noticed():
    group = MemGroup()

    class Frees:
        def __eq__(self, other: object) -> bool:
            group.free()
            return True

    with pytest.raises(ValueError, match="freed"):
        bool(group.alloc_many([0, 0]) == [Frees(), b""])
