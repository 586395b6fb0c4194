"""A buffer is acquired once, and held from the first read of its size until its bytes are copied."""

from __future__ import annotations

import ctypes
import pickle
import sys

import memgroup
import pytest

needs_python_buffers = pytest.mark.skipif(sys.version_info < (3, 12), reason="no __buffer__ in Python")

SHRUNK = """
    import pickle, sys

    BIG = 16 << 20
    sys.setswitchinterval(1e-6)
    source = MemGroup(base=BIG)
    made = source.alloc_many([BIG - 4096, BIG])  # two slots, so two buffers
    made[0][:4], made[1][:4], made[1][-4:] = b"one.", b"two.", b"last"
    buffers = []
    data = pickle.dumps(made, protocol=5, buffer_callback=buffers.append)
    whole = [bytes(buffer.raw()) for buffer in buffers]
    del made, buffers
    source.free()


    def shrink(group, second):
        global refused
        while not group.stats().blocks:  # the copy of the first buffer begins without the GIL
            pass
        try:
            del second[16:]
        except BufferError:
            refused += 1


    refused = 0
    for _ in range(50):
        real = [bytearray(raw) if len(raw) > 100 else raw for raw in whole]
        group = MemGroup(base=BIG)
        thread = threading.Thread(target=shrink, args=(group, [raw for raw in real if len(raw) > 100][1]))
        thread.start()
        with memgroup.loads_into(group):
            loaded = pickle.loads(data, buffers=real)
        thread.join()
        assert (loaded[0][:4], loaded[1][:4], loaded[1][-4:]) == (b"one.", b"two.", b"last")
        if refused:
            break
"""


def test_a_bytearray_cannot_shrink_while_a_list_is_unpickled_from_it(child):
    assert child.output(SHRUNK) == ""


class Shrinking:
    """Exports all of its bytes at the first few requests, and four of them later."""

    def __init__(self, real: bytes, most: int) -> None:
        self.real, self.left = real, most

    def __buffer__(self, flags: int) -> memoryview:
        self.left -= 1
        return memoryview(self.real if self.left >= 0 else b"tiny")


@needs_python_buffers
@pytest.mark.parametrize("most", range(5))
def test_an_exporter_that_shrinks_makes_no_list_over_foreign_bytes(group, most):
    source = memgroup.MemGroup()
    made = source.alloc_many([100_000, 100_000])
    made.fill_from(b"A" * 200_000)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(made, protocol=5, buffer_callback=buffers.append)
    with memgroup.loads_into(group):
        lying = [
            Shrinking(bytes(buffer.raw()), most) if buffer.raw().nbytes > 1000 else buffer
            for buffer in buffers
        ]
        try:
            loaded = pickle.loads(data, buffers=lying)
        except ValueError:
            return
    mine = group.protect(group.copy(b"bytes of another owner, protected"))
    assert [bytes(record) for record in loaded] == [b"A" * 100_000] * 2
    loaded[0][:5] = loaded[1][-5:] = b"XXXXX"
    assert bytes(mine) == b"bytes of another owner, protected"


@needs_python_buffers
@pytest.mark.parametrize("most", range(4))
def test_an_exporter_that_shrinks_is_copied_and_assigned_at_its_first_size(group, most):
    real = b"R" * 5000
    copied = group.copy(Shrinking(real, most))
    assert bytes(copied) in (real, b"tiny")
    target, neighbour = group.alloc(5000, zero=True), group.copy(b"neighbour")
    try:
        target[:] = Shrinking(real, most)
    except ValueError:
        assert bytes(target) == bytes(5000)
    else:
        assert bytes(target) == real
    for needle in (Shrinking(b"RRR", most), Shrinking(real, most)):
        assert target.count(needle) in (0, 1, 1666)
    assert bytes(neighbour) == b"neighbour"


def test_a_view_of_the_columns_cannot_change_where_the_records_are(group):
    np = pytest.importorskip("numpy")
    made = group.alloc_many([10, 20, 30], align=1)
    made.fill_from(bytes(range(60)))
    before = [bytes(record) for record in made]
    for column in (made.sizes, made.offsets):
        # As a C consumer that does not check whether a buffer is read-only.
        address = np.asarray(column).ctypes.data
        ctypes.memset(address, 0xFF, column.nbytes)
    assert [bytes(record) for record in made] == before
    assert (made.nbytes, made[::-1].sizes.tolist()) == (60, [30, 20, 10])
    assert bytes(made.join()) == bytes(range(60))
    assert pickle.loads(pickle.dumps(made)) == made
