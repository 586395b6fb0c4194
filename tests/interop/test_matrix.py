"""Lists of one size as numpy matrices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup, MemList


def listed(group: MemGroup, count: int, size: int, align: int = 16) -> MemList:
    made = group.alloc_many(count=count, size=size, align=align)
    made.fill_from(bytes(n % 251 for n in range(count * size)))
    return made


def rows(made: MemList) -> list[bytes]:
    return made.tolist()


@pytest.mark.parametrize("align", [1, 16, 64])
def test_a_list_of_one_size_is_a_matrix_over_its_memory(group, align):
    made = listed(group, 100, 24, align)
    matrix = np.asarray(made)
    assert (matrix.shape, matrix.dtype, matrix.flags.writeable) == ((100, 24), np.uint8, True)
    assert [bytes(row) for row in matrix] == rows(made)
    matrix[3, 4] = 77
    made[5][6] = 88
    assert (made[3][4], matrix[5, 6]) == (77, 88)
    assert np.array(made, copy=False).ctypes.data == matrix.ctypes.data == made[0].address
    assert np.shares_memory(matrix, np.asarray(made[10]))


def test_a_matrix_of_a_protected_list_is_read_only(group):
    made = group.protect(listed(group, 10, 8))
    matrix = np.asarray(made)
    assert not matrix.flags.writeable
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        matrix.flags.writeable = True
    assert matrix.ctypes.data == made[0].address


def test_borrowed_records_are_a_matrix_too(group):
    data = b"".join(b"%03d\n" % n for n in range(500))
    lines = group.borrow(data).splitlines()
    matrix = np.asarray(lines)
    assert (matrix.shape, matrix.flags.writeable, matrix.strides) == ((500, 3), False, (4, 1))
    assert (matrix[:, 2] == np.arange(500) % 10 + ord("0")).all()


@given(
    count=st.integers(0, 30),
    size=st.integers(0, 9),
    align=st.sampled_from([1, 16]),
    start=st.integers(-30, 30),
    stop=st.integers(-30, 30),
    step=st.sampled_from([1, 2, 5, -1, -3]),
    base=st.sampled_from([1, 65536]),
)
def test_slices_are_the_rows_that_they_show(count, size, align, start, stop, step, base):
    made = listed(MemGroup(base=base), count, size, align)[start:stop:step]
    matrix = np.asarray(made)
    assert matrix.shape == (len(made), size if len(made) else matrix.shape[1])
    assert [bytes(row) for row in matrix] == rows(made)
    if len(made) and size:
        assert np.array(made, copy=False).ctypes.data == made[0].address


@given(picked=st.lists(st.integers(0, 19), max_size=25))
def test_what_is_taken_is_the_rows_that_it_shows(picked):
    made = listed(MemGroup(), 20, 7).take(picked)
    assert [bytes(row) for row in np.asarray(made)] == rows(made)


def test_sizes_in_a_table_that_are_all_the_same_will_do(group):
    made = group.copy_many([b"abc"] * 50)
    assert np.array(made, copy=False).shape == (50, 3)
    assert np.asarray(group.copy_many([b"abc"])).tolist() == [[97, 98, 99]]


def test_blocks_of_several_slots_are_copied():
    group = MemGroup(base=4096)
    made = listed(group, 100, 1000)
    assert len(made.slots) > 1
    matrix = np.asarray(made)
    assert [bytes(row) for row in matrix] == rows(made)
    with pytest.raises(
        ValueError,
        match="irregular distances or in several slots, so an array of them is a copy: pass copy=None",
    ):
        np.array(made, copy=False)


def test_types_and_copies_are_as_numpy_has_them(group):
    made = listed(group, 10, 8)
    wide = np.asarray(made, dtype="f8")
    assert (wide.dtype, wide.shape, wide[1, 2]) == (np.float64, (10, 8), 10.0)
    copy = np.array(made)
    assert not np.shares_memory(copy, np.asarray(made))
    with pytest.raises(ValueError, match="copy"):
        np.array(made, dtype="f8", copy=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array(made, copy=True).flags.owndata


def test_blocks_of_several_sizes_are_no_matrix(group):
    with pytest.raises(
        ValueError, match=r"of one size is a matrix: use list\.tolist\(\) or pyarrow\.array\(list\)"
    ):
        np.asarray(group.copy_many([b"a", b"bc"]))


def test_a_matrix_counts_as_a_view(group):
    matrix = np.asarray(listed(group, 10, 8))
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    group.__exit__(None, None, None)
    assert matrix.sum() == sum(range(80))


def test_a_freed_list_is_no_matrix(group):
    made = listed(group, 3, 3)
    group.free()
    with pytest.raises(ValueError, match="freed"):
        np.asarray(made)
