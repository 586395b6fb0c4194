"""Arrays over the objects of a pool."""

from __future__ import annotations

import pytest
from memgroup import MemGroup

np = pytest.importorskip("numpy")


@pytest.fixture
def pool():
    return MemGroup().pool(4096, align=64)


def test_an_array_is_scratch_that_is_reused(pool):
    array = pool.empty((16, 16), "f4")
    assert (array.shape, array.dtype, array.flags.writeable) == ((16, 16), np.float32, True)
    array[:] = 7
    address = array.ctypes.data
    assert address % 64 == 0
    assert len(pool) == 1
    view = array[3:, ::2].T
    del array
    assert len(pool) == 1
    assert (view == 7).all()
    del view
    assert len(pool) == 0
    assert pool.empty(10).ctypes.data == address


def test_an_array_of_any_order_and_type(pool):
    assert pool.empty(512).dtype == np.float64
    assert pool.empty((3, 4), "u1", "F").flags.f_contiguous
    assert pool.empty((0, 5)).shape == (0, 5)
    with pytest.raises(ValueError, match="an array of 4104 bytes does not fit into an object of 4096"):
        pool.empty(513)
    with pytest.raises(TypeError, match="refer to objects"):
        pool.empty(3, "O")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'shape'"):
        pool.empty()
    assert len(pool) == 0


def test_an_array_is_a_view(pool):
    array = pool.empty(10)
    with pytest.raises(BufferError, match="1 live view"):
        pool.group.free()
    del array
    assert pool.group.free() == 0


def test_an_array_over_a_block_holds_the_object(pool):
    block = pool.alloc()
    array = np.ndarray(4096, "u1", buffer=block)
    array[:] = 5
    pool.free(block)
    del block
    assert len(pool) == 1
    other = None
    for other in pool.alloc_many(20):
        other[:] = bytes(4096)
    assert (array == 5).all()
    del array, other
    assert len(pool) == 0


def test_a_protected_array_holds_the_object(pool):
    array = pool.empty(100, "u1")
    array[:] = 3
    protected = pool.group.protect(array[10:20])
    del array
    other = None
    for other in pool.alloc_many(20):
        other[:] = bytes(4096)
    del other
    assert (protected == 3).all()
    assert len(pool) == 1
    del protected
    assert len(pool) == 0
