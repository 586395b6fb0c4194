"""Arrow arrays of bytes or text as lists over the same memory."""

from __future__ import annotations

import contextlib
import gc
import pickle
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup

pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

RECORDS = [
    b"one",
    b"",
    b"a record that no view holds itself",
    b"",
    b"",
    b"two",
    b"another one that is long enough",
]

BYTES = [pa.binary(), pa.large_binary(), pa.binary_view()]
TEXT = [pa.string(), pa.large_string(), pa.string_view()]


@pytest.mark.parametrize("kind", [*BYTES, *TEXT], ids=str)
def test_the_records_are_shown_where_they_are(kind):
    group = MemGroup()
    array = pa.array(RECORDS, pa.binary()).cast(pa.string()).cast(kind)
    made = group.from_arrow(array)
    assert made == RECORDS
    assert (made.readonly, {slot for slot, _, _, _ in made.slots}) == (True, {-1})
    addresses = [(buffer.address, buffer.address + buffer.size) for buffer in array.buffers() if buffer]
    for record in made:
        if len(record):
            assert any(start <= record.address < end for start, end in addresses)
    assert made.contains(b"one").tolist() == [b"one" in record for record in RECORDS]
    assert made.take(made.contains(b"one")).tolist() == [record for record in RECORDS if b"one" in record]
    assert pa.array(made).to_pylist() == RECORDS
    assert pickle.loads(pickle.dumps(made)) == RECORDS
    assert group.stats().committed == 0


@given(
    records=st.lists(st.binary(max_size=20), max_size=20),
    kind=st.sampled_from(BYTES),
    start=st.integers(0, 20),
    length=st.integers(0, 20),
    cuts=st.lists(st.integers(0, 20), max_size=3),
)
def test_slices_and_chunks_are_the_records_that_they_show(records, kind, start, length, cuts):
    group = MemGroup()
    array = pa.array(records, kind)
    assert group.from_arrow(array.slice(start, length)) == records[start : start + length]
    chunked = pa.chunked_array([array, *(array[cut:] for cut in cuts)], kind)
    assert group.from_arrow(chunked) == chunked.to_pylist()
    assert group.from_arrow(chunked.slice(start, length)) == chunked.slice(start, length).to_pylist()
    series = pl.Series(records, dtype=pl.Binary)
    assert group.from_arrow(series) == records
    assert group.from_arrow(series[start : start + length]) == records[start : start + length]


def test_records_of_a_fixed_size():
    records = [bytes([n]) * 5 for n in range(9)]
    array = pa.array(records, pa.binary(5))
    group = MemGroup()
    assert group.from_arrow(array) == records
    assert group.from_arrow(array[2:7]) == records[2:7]
    assert group.from_arrow(pa.array([b"", b""], pa.binary(0))) == [b"", b""]


@pytest.mark.parametrize("kind", [*BYTES, *TEXT, pa.binary(3)], ids=str)
def test_arrays_without_records(kind):
    group = MemGroup()
    for empty in (
        pa.array([], kind),
        pa.array([b"abc"], pa.binary()).cast(pa.string()).cast(pa.binary())[:0],
    ):
        assert group.from_arrow(empty) == []
    assert group.from_arrow(pa.chunked_array([], kind)) == []


REFUSED = {
    "numbers": (pa.array([1, 2]), TypeError, 'arrays of bytes or text, not of format "l": cast'),
    "a dictionary": (
        pa.array(["a", "a"]).dictionary_encode(),
        TypeError,
        "take its column or its dictionary",
    ),
    "a table": (pa.table({"a": ["b"]}), TypeError, 'format "\\+s"'),
    "lists": (pa.array([["a"]]), TypeError, 'format "\\+l"'),
    "a list": (["a"], TypeError, r"takes an Arrow array .*, not list: use copy_many"),
    "bytes": (b"a", TypeError, "not bytes"),
    "a null": (
        pa.array([b"a", None]),
        ValueError,
        r"index 1 is null, and a list has none: call array\.drop_null",
    ),
    "a null in a view": (pa.array([None, "a"], pa.string_view()), ValueError, "index 0 is null"),
    "a null in a later chunk": (pa.chunked_array([[b"a"], [b"b", None]]), ValueError, "index 2 is null"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_is_no_array_of_bytes_or_text_is_refused(refused):
    array, error, message = refused
    group = MemGroup()
    with pytest.raises(error, match=message):
        group.from_arrow(array)
    assert group.stats().borrowed == 0


def test_nulls_outside_of_a_slice_do_not_matter():
    assert MemGroup().from_arrow(pa.array([None, b"a", b"b", None])[1:3]) == [b"a", b"b"]


def broken_offsets(offsets: list[int]) -> Any:
    table = pa.py_buffer(struct.pack(f"<{len(offsets)}i", *offsets))
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, table, pa.py_buffer(b"abcdef")])


def broken_view(*view: int) -> Any:
    table = pa.py_buffer(struct.pack("<4i", *view))
    return pa.Array.from_buffers(pa.binary_view(), 1, [None, table, pa.py_buffer(bytes(100))])


BROKEN = {
    "offsets that go back": lambda: broken_offsets([0, 4, 2]),
    "a negative length": lambda: broken_view(-1, 0, 0, 0),
    "a buffer that is not there": lambda: broken_view(50, 0, 1, 0),
    "a negative buffer": lambda: broken_view(50, 0, -1, 0),
    "a start behind the buffer": lambda: broken_view(50, 0, 0, 51),
    "a negative start": lambda: broken_view(50, 0, 0, -1),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_tables_that_cannot_be_are_refused(make):
    with pytest.raises(ValueError, match="the Arrow array is broken: the position of the record at index"):
        MemGroup().from_arrow(make())


def test_a_capsule_is_taken_once():
    class Twice:
        def __init__(self):
            self.capsules = pa.array(RECORDS).__arrow_c_array__()

        def __arrow_c_array__(self, requested_schema=None):
            return self.capsules

    twice, group = Twice(), MemGroup()
    assert group.from_arrow(twice) == RECORDS
    with pytest.raises(ValueError, match="taken already"):
        group.from_arrow(twice)


@pytest.mark.parametrize("capsules", [None, (), (1, 2), ("a", b"b")])
def test_what_is_no_capsule_is_refused(capsules):
    class Lying:
        def __arrow_c_array__(self, requested_schema=None):
            return capsules

    with pytest.raises((TypeError, ValueError)):
        MemGroup().from_arrow(Lying())


# Who keeps it


class Kept(bytearray):
    """Bytes whose end can be seen."""

    ended = 0

    def __del__(self) -> None:
        Kept.ended += 1


def column_of(lender: bytearray) -> Any:
    table = pa.py_buffer(struct.pack("<3i", 0, 3, len(lender)))
    return pa.Array.from_buffers(pa.binary(), 2, [None, table, pa.py_buffer(lender)])


ENDS = {
    "free": lambda group: group.free(),
    "free(force=True)": lambda group: group.free(force=True),
    "with": lambda group: group.__exit__(None, None, None),
    "reset": lambda group: group.reset(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_every_end_releases_the_array(end):
    Kept.ended = 0
    group = MemGroup()
    made = group.from_arrow(column_of(Kept(b"abcdef")))
    gc.collect()
    assert (made.tolist(), Kept.ended) == ([b"abc", b"def"], 0)
    end(group)
    assert Kept.ended == 1
    with pytest.raises(ValueError, match="freed"):
        made.tolist()


def test_a_view_keeps_the_array():
    Kept.ended = 0
    group = MemGroup()
    view = memoryview(group.from_arrow(column_of(Kept(b"abcdef")))[1])
    group.free(force=True)
    gc.collect()
    assert (bytes(view), Kept.ended) == (b"def", 0)
    del view
    assert Kept.ended == 1


@pytest.mark.parametrize("kind", ["binary_view", "large_binary", "binary"])
@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_what_the_group_has_already_holds_up_no_end(kind, backing):
    with MemGroup(backing=backing) as group:
        made = (
            group.copy_many(RECORDS, align=1) if backing == "memfd" else group.from_arrow(pa.array(RECORDS))
        )
        again = group.from_arrow(made.as_arrow(kind))
        assert again == RECORDS
        once_more = group.from_arrow(pa.array(again))
        assert once_more == RECORDS
        assert group.stats().exports == 0
        group.reset()
        with pytest.raises(ValueError, match="freed"):
            again.tolist()
        group.free()


def test_threads_take_arrays_while_the_group_is_reset():
    group, over = MemGroup(), threading.Event()
    failures: list[BaseException] = []
    array = pa.chunked_array([RECORDS] * 20)

    def take() -> None:
        try:
            while not over.is_set():
                with contextlib.suppress(ValueError):  # it was reset meanwhile
                    assert group.from_arrow(array).tolist() == RECORDS * 20
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        group.reset()
    over.set()
    for thread in threads:
        thread.join()
    assert not failures
