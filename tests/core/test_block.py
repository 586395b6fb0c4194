"""A block is a writable bytes-like type; the tests compare it with bytes and bytearray."""

from __future__ import annotations

import array
import ctypes
import hashlib
import io
import operator
import os
import re
import socket
import struct
import zlib

import pytest
from conftest import assign, outcome
from hypothesis import assume, given
from hypothesis import strategies as st
from memgroup import MemBlock, MemGroup
from support.blocks import HUGE, bounds

slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-5, 5).filter(bool))


data = st.binary(max_size=60)


# Few letters, so that needles occur, and overlap themselves.
words = st.text("ab", max_size=40).map(str.encode)


needles = st.text("ab", max_size=3).map(str.encode)


AS_BYTES_LIKE = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "block of its own group": lambda given: MemGroup().copy(given),
}


class Index:
    """An object with `__index__` that is no int."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Index({self.value})"

    def __index__(self) -> int:
        return self.value


def block_of(contents: bytes) -> MemBlock:
    return MemGroup().copy(contents)


# Reading


@given(data, st.integers(-70, 70) | st.sampled_from([-HUGE, HUGE]))
def test_an_index_reads_as_in_bytes(contents, index):
    block = block_of(contents)
    assert outcome(lambda: block[index]) == outcome(lambda: contents[index])


@given(data, slices)
def test_a_slice_reads_as_in_bytes(contents, key):
    part = block_of(contents)[key]
    assert bytes(part) == contents[key]
    assert isinstance(part, MemBlock if key.step in (None, 1) else memoryview)


@given(data, slices, slices)
def test_a_slice_of_a_slice_reads_as_in_bytes(contents, first, second):
    assert bytes(block_of(contents)[first][second]) == contents[first][second]


@pytest.mark.parametrize("key", [slice(2, 7), slice(None, None, 3), slice(None, None, -1)], ids=str)
def test_slices_share_bytes_both_ways(group, key):
    block, model = group.copy(range_of(10)), bytearray(range_of(10))
    part = block[key]
    block[:] = model[:] = bytes(reversed(model))
    assert bytes(part) == model[key]
    part[0] = 99
    assert block[range(10)[key][0]] == 99


def range_of(n: int) -> bytes:
    return bytes(i % 256 for i in range(n))


def test_adjoining_slices_have_adjoining_addresses(group):
    block = group.alloc(100)
    part = block[30:40]
    assert isinstance(part, MemBlock)
    assert part.address == block.address + 30


@pytest.mark.parametrize("index", [0, 9, -1, -10, 10, -21, -11, -15, -20])
def test_c_code_indexes_a_block_as_it_indexes_bytes(group, index):
    get = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_ssize_t)(
        ("PySequence_GetItem", ctypes.pythonapi)
    )
    contents = range_of(10)
    assert outcome(lambda: get(group.copy(contents), index)) == outcome(lambda: get(contents, index))


@pytest.mark.parametrize("key", ["a", 1.0, None, (0, 1), b"a"], ids=repr)
def test_an_invalid_index_is_a_type_error(group, key):
    block = group.alloc(4)
    with pytest.raises(TypeError, match="indices must be integers or slices"):
        block[key]
    with pytest.raises(TypeError, match="indices must be integers or slices"):
        block[key] = 0


def test_a_step_of_0_is_a_value_error(group):
    with pytest.raises(ValueError, match="step cannot be zero"):
        group.alloc(4)[::0]


@given(data)
def test_iteration_length_and_truth_are_those_of_bytes(contents):
    block = block_of(contents)
    assert list(block) == list(contents)
    assert list(reversed(block)) == list(reversed(contents))
    assert len(block) == block.nbytes == len(contents)
    assert bool(block) == bool(contents)


@pytest.mark.parametrize("as_needle", AS_BYTES_LIKE.values(), ids=AS_BYTES_LIKE)
@given(words, needles, bounds, bounds)
def test_find_count_and_in_are_those_of_bytes(as_needle, contents, needle, start, end):
    block, given_needle = block_of(contents), as_needle(needle)
    assert block.find(given_needle, *both(start, end)) == contents.find(needle, start, end)
    assert block.count(given_needle, *both(start, end)) == contents.count(needle, start, end)
    assert (given_needle in block) == (needle in contents)


def both(start: int | None, end: int | None) -> tuple[int, int | None]:
    return (0 if start is None else start, end)


@pytest.mark.parametrize(
    "needle",
    [104, 0, 255, 256, -1, HUGE, True, Index(104), "h", 1.5, None, [104]],
    ids=repr,
)
def test_odd_needles_are_treated_as_by_bytes(group, needle):
    block = group.copy(b"hello")
    for search in (lambda b: needle in b, lambda b: b.find(needle), lambda b: b.count(needle)):
        assert outcome(lambda s=search: s(block)) == outcome(lambda s=search: s(b"hello"))


def test_a_needle_can_be_the_block_itself_or_a_part_of_it(group):
    block = group.copy(b"abcabc")
    assert block in block
    assert block[1:3] in block
    assert block.count(block[:3]) == 2
    assert block.find(group.protect(block)) == 0


@pytest.mark.parametrize(
    "compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
)
@pytest.mark.parametrize("as_other", AS_BYTES_LIKE.values(), ids=AS_BYTES_LIKE)
@given(words, words)
def test_blocks_compare_as_bytes(compare, as_other, left, right):
    assert compare(block_of(left), as_other(right)) is compare(left, right)
    assert compare(as_other(left), block_of(right)) is compare(left, right)


@pytest.mark.parametrize("other", ["abc", 5, None, [97, 98, 99], object()], ids=lambda o: type(o).__name__)
def test_a_block_differs_from_objects_without_bytes(group, other):
    block = group.copy(b"abc")
    assert block != other
    assert (block == other) is False
    with pytest.raises(TypeError):
        _ = block < other


# Writing


@given(data, st.integers(-70, 70), st.integers(-10, 300) | st.sampled_from([HUGE, -HUGE]))
def test_an_index_is_assigned_as_in_bytearray(contents, index, value):
    assume(-len(contents) <= index < len(contents) or 0 <= value < 256)  # one mistake at a time
    block, model = block_of(contents), bytearray(contents)
    assert outcome(lambda: assign(block, index, value)) == outcome(lambda: assign(model, index, value))
    assert block == model


@given(data, slices, st.randoms(use_true_random=False))
def test_a_slice_is_assigned_as_in_bytearray(contents, key, random):
    block, model = block_of(contents), bytearray(contents)
    value = random.randbytes(len(contents[key]))
    block[key] = model[key] = value
    assert block == model


@pytest.mark.parametrize(
    "through", ["itself", "its memoryview", "its read-only mirror", "a view of that mirror"]
)
@given(st.integers(1, 5000), st.integers(0, 40), st.integers(0, 40))
def test_overlapping_assignment_copies_as_if_through_a_temporary(through, n, to, start):
    group = MemGroup()
    block, model = group.copy(range_of(n + 40)), bytearray(range_of(n + 40))
    source = {
        "itself": lambda: block,
        "its memoryview": lambda: memoryview(block),
        "its read-only mirror": lambda: group.protect(block),
        "a view of that mirror": lambda: memoryview(group.protect(block)),
    }[through]()
    block[to : to + n] = source[start : start + n]
    model[to : to + n] = model[start : start + n]
    assert block == model


@pytest.mark.parametrize("step", [2, -1, -3])
@pytest.mark.parametrize("through", ["itself", "its read-only mirror"])
def test_overlapping_stepped_assignment_copies_as_if_through_a_temporary(group, through, step):
    block, model = group.copy(range_of(9000)), bytearray(range_of(9000))
    source = block if through == "itself" else group.protect(block)
    n = len(model[::step])
    start = min(100, len(block) - n)
    block[::step] = source[start : start + n]
    model[::step] = model[start : start + n]
    assert block == model


@pytest.mark.parametrize("key", [slice(0, 4), slice(0, 8, 2), slice(2, 2), slice(None)], ids=str)
@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_slice_cannot_change_its_size(group, key, size):
    block = group.copy(range_of(10))
    with pytest.raises(ValueError, match=r"size|structure"):
        block[key] = bytes(size)
    assert block == range_of(10)


def test_a_slice_takes_the_bytes_of_typed_sources(group):
    numbers = array.array("i", [1, -1])
    block = group.alloc(8)
    block[:] = numbers
    assert block == numbers.tobytes()


@pytest.mark.parametrize("value", ["ab", 5, None, [1, 2], 1.5], ids=repr)
def test_objects_without_bytes_cannot_be_assigned_to_a_slice(group, value):
    block = group.copy(b"abcd")
    for key in (slice(0, 2), slice(0, 4, 2)):
        with pytest.raises(TypeError):
            block[key] = value
    assert block == b"abcd"


@pytest.mark.parametrize("value", ["a", b"a", None, 1.5], ids=repr)
def test_non_integers_cannot_be_assigned_to_a_byte(group, value):
    block = group.copy(b"abcd")
    with pytest.raises(TypeError, match="integer"):
        block[0] = value
    assert block == b"abcd"


def test_an_index_object_serves_as_index_and_byte(group):
    block = group.copy(b"abcd")
    block[Index(1)] = Index(120)
    assert block[Index(-3)] == 120


@pytest.mark.parametrize("key", [0, slice(0, 1), slice(None)], ids=str)
def test_bytes_cannot_be_deleted(group, key):
    block = group.copy(b"abcd")
    with pytest.raises(TypeError, match="size is fixed"):
        del block[key]


# As a bytes-like object for other libraries

CONSUMERS = {
    "bytes": bytes,
    "bytearray": lambda b: bytes(bytearray(b)),
    "memoryview": lambda b: memoryview(b).tolist(),
    "tobytes": lambda b: b.tobytes() if isinstance(b, MemBlock) else b,
    "hashlib": lambda b: hashlib.sha256(b).digest(),
    "struct": lambda b: struct.unpack_from("<IH", b, 3),
    "zlib": zlib.crc32,
    "int.from_bytes": lambda b: int.from_bytes(b, "little"),
    "join": lambda b: b"-".join([b, b]),
    "concatenation": lambda b: b"x" + b,
    "BytesIO": lambda b: io.BytesIO(b).getvalue(),
    "re": lambda b: [m.span() for m in re.finditer(rb"[a-m]+", b)],
    "array": lambda b: array.array("B", b),
    "containment in bytes": lambda b: b in b"__" + bytes(b),
    "translate": lambda b: bytes(b).translate(None, delete=b),
}


@pytest.mark.parametrize("consume", CONSUMERS.values(), ids=CONSUMERS)
@pytest.mark.parametrize("protected", [False, True], ids=["writable", "protected"])
def test_consumers_read_a_block_as_they_read_bytes(group, consume, protected):
    contents = b"The quick brown fox" + range_of(300)
    block = group.copy(contents)
    assert consume(group.protect(block) if protected else block) == consume(contents)


def fill_by_socket(block, contents):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(contents)
        return ours.recv_into(block)


def fill_by_file(block, contents, fill):
    file = os.memfd_create("source")
    with open(file, "r+b", buffering=0) as source:
        source.write(contents)
        source.seek(0)
        return fill(source, block)


FILLERS = {
    "socket.recv_into": fill_by_socket,
    "file.readinto": lambda b, c: fill_by_file(b, c, lambda file, b: file.readinto(b)),
    "os.readv": lambda b, c: fill_by_file(b, c, lambda file, b: os.readv(file.fileno(), [b[:3], b[3:]])),
    "os.preadv": lambda b, c: fill_by_file(b, c, lambda file, b: os.preadv(file.fileno(), [b], 0)),
    "buffered readinto": lambda b, c: io.BufferedReader(io.BytesIO(c)).readinto(b),  # type: ignore[arg-type]
    "struct.pack_into": lambda b, c: struct.pack_into(f"{len(c)}s", b, 0, c) or len(c),
    "memoryview": lambda b, c: assign(memoryview(b), slice(None), c) or len(c),
    "ctypes.from_buffer": lambda b, c: (
        ctypes.memmove((ctypes.c_char * len(b)).from_buffer(b), c, len(c)) and len(c)
    ),
}


@pytest.mark.parametrize("fill", FILLERS.values(), ids=FILLERS)
def test_fillers_write_straight_into_a_block(group, fill):
    neighbours = group.copy(b"<" * 16), group.alloc(11), group.copy(b">" * 16)
    assert fill(neighbours[1], b"hello world") == 11
    assert [bytes(block) for block in neighbours] == [b"<" * 16, b"hello world", b">" * 16]


@pytest.mark.parametrize("code", "cbB?hHiIlLqQnNfdP")
def test_memoryviews_cast_to_every_format(group, code):
    contents = bytes(i % 2 for i in range(64))
    block = group.copy(contents)
    view, model = memoryview(block).cast(code), memoryview(bytearray(contents)).cast(code)
    assert (view.tolist(), view.shape, view.readonly) == (model.tolist(), model.shape, False)
    view[0] = model[0] = model[1]
    assert block == model.obj


def test_a_memoryview_of_a_block_is_plain_bytes(group):
    view = memoryview(group.alloc(10))
    assert (view.format, view.itemsize, view.ndim, view.shape, view.strides) == ("B", 1, 1, (10,), (1,))
    assert view.c_contiguous
    assert memoryview(group.alloc(0)).nbytes == 0


@pytest.mark.parametrize("view", ["frombuffer", "asarray", "ndarray"])
def test_numpy_shares_the_bytes(group, view):
    np = pytest.importorskip("numpy")
    block = group.copy(b"abcdefgh")
    views = {
        "frombuffer": lambda: np.frombuffer(block, "u1"),
        "asarray": lambda: np.asarray(block),
        "ndarray": lambda: np.ndarray((8,), "u1", buffer=block),
    }
    made = views[view]()
    assert (made.dtype, made.shape, made.ctypes.data) == (np.uint8, (8,), block.address)
    made[0] = ord("X")
    block[7] = ord("Y")
    assert made.tobytes() == block == b"XbcdefgY"


@pytest.mark.parametrize("number", [104, 1, 300])
@pytest.mark.parametrize("dtype", ["u1", "i8"])
def test_numpy_integers_are_needles_as_for_bytes(group, dtype, number):
    np = pytest.importorskip("numpy")
    needle = np.int64(number).astype(dtype)
    assert outcome(lambda: needle in group.copy(b"hello\x01")) == outcome(lambda: needle in b"hello\x01")
