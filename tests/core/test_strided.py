"""Strided buffers: copied, assigned and compared in place."""

from __future__ import annotations

import memgroup
import pytest
from hypothesis import given
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

GROUP = memgroup.MemGroup(limit=1 << 30)


@st.composite
def views(draw):
    """An array, sliced and transposed."""
    kind = draw(st.sampled_from(["u1", "u2", "u4", "f8", "c16", "S3", [("a", "u1"), ("b", "u2")]]))
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    dtype = np.dtype(kind)
    data = draw(st.randoms()).randbytes(int(np.prod(shape)) * dtype.itemsize)
    array = np.frombuffer(data, dtype).reshape(shape)
    cut = st.slices(5).filter(lambda cut: cut.step != 0)
    array = array[tuple(draw(st.lists(cut, max_size=len(shape))))]
    return array.transpose(draw(st.permutations(range(array.ndim))))


@given(view=views())
def test_any_view_is_read_as_its_bytes_in_order(view):
    expected = view.tobytes()
    block = GROUP.copy(view)
    assert block == expected
    assert block == view
    block[:] = bytes(len(expected))
    assert (block == view) == (bytes(len(expected)) == expected)
    block[:] = view
    assert block == expected
    sizes = [len(expected) // 2, len(expected) - len(expected) // 2]
    filled = GROUP.alloc_many(sizes)
    filled.fill_from(view)
    assert filled.join() == expected


@given(view=views(), other=st.binary(max_size=40), cut=st.integers(0, 600))
def test_views_compare_as_their_bytes(view, other, cut):
    expected = view.tobytes()
    for bytes_ in (other, expected[:cut], expected + other, expected[:cut] + other):
        block = GROUP.copy(bytes_)
        assert (block == view) == (bytes_ == expected)
        assert (block < view) == (bytes_ < expected)
        assert (block >= view) == (bytes_ >= expected)


def test_elements_behind_pointers_are_taken(group):
    ndarray = pytest.importorskip("_testbuffer")
    pointers = ndarray.ndarray(list(range(12)), shape=[3, 4], format="B", flags=ndarray.ND_PIL)
    expected = memoryview(pointers).tobytes()
    block = group.copy(pointers)
    assert block == expected
    assert block == pointers
    block[:] = bytes(12)
    block[:] = pointers
    assert block == expected


@pytest.mark.parametrize("protected", [False, True])
def test_a_block_is_assigned_its_own_bytes_in_another_order(group, protected):
    block = group.copy(bytes(range(200)))
    own = memoryview(group.protect(block) if protected else block)
    block[:] = own[::-1]
    assert block == bytes(range(200))[::-1]
    part = group.copy(bytes(range(100)))
    part[10:60] = memoryview(part)[::2]
    assert part == bytes(range(10)) + bytes(range(0, 100, 2)) + bytes(range(60, 100))


def test_a_block_of_an_ended_group_is_assigned_its_own_bytes():
    with memgroup.MemGroup() as ended:
        block = ended.copy(bytes(range(100)))
        view = memoryview(block)
    block[:] = view[::-1]
    assert block == bytes(range(100))[::-1]
