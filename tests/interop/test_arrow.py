"""Lists and blocks as Arrow arrays: the same bytes at the same addresses, as long as an array lives."""

from __future__ import annotations

import ctypes
import gc
import random
import threading
from typing import Any

import pytest
from conftest import mappings, memory_available
from hypothesis import given
from hypothesis import strategies as st
from memgroup import ArrowArray, MemGroup, MemList

pa = pytest.importorskip("pyarrow")

BINARY: list[Any] = ["binary_view", "large_binary", "binary"]
TEXT: list[Any] = ["string_view", "large_string", "string"]
COPIED: list[Any] = ["large_binary", "binary", "large_string", "string"]

RECORDS = [b"short", b"a record longer than twelve", b"", b"x" * 5000, b"exactly12byt", b"thirteenbytes"]


def list_of(group: MemGroup, records: list[bytes], align: int = 16) -> MemList:
    made = group.alloc_many([len(record) for record in records], align=align)
    made.fill_from(b"".join(records))
    return made


def taken(exporter, kind=None):
    """The pyarrow array of the object, validated in full."""
    array = pa.array(exporter, type=kind)
    array.validate(full=True)
    return array


def addresses(array) -> list[int]:
    """The address of each record that its view does not contain inline."""
    views = array.buffers()[1]
    windows = [buffer.address for buffer in array.buffers()[2:]]
    words = memoryview(views).cast("B").cast("i")
    return [
        windows[words[4 * i + 2]] + words[4 * i + 3]
        for i in range(array.offset, array.offset + len(array))
        if words[4 * i] > 12
    ]


def read_only_addresses(group: MemGroup, records: MemList) -> list[int]:
    return [block.address for block in group.protect(records) if len(block) > 12]


@given(
    records=st.lists(st.binary(max_size=40) | st.binary(min_size=3000, max_size=6000), max_size=30),
    key=st.slices(30),
    protected=st.booleans(),
    align=st.sampled_from([1, 16, 64]),
)
def test_an_array_shows_the_records_where_they_are(records, key, protected, align):
    group = MemGroup(base=4096)
    made = list_of(group, records, align)
    part = (group.protect(made) if protected else made)[key]
    array = taken(part)
    assert array.type == pa.binary_view()
    assert array.null_count == 0
    assert array.to_pylist() == records[key]
    assert addresses(array) == read_only_addresses(group, part)


@given(st.lists(st.text(max_size=30), max_size=20), st.sampled_from(TEXT), st.slices(20))
def test_text_is_exported_as_text(texts, kind, key):
    group = MemGroup()
    made = list_of(group, [text.encode() for text in texts])
    array = taken(made[key].as_arrow(kind))
    assert array.type == getattr(pa, kind)()
    assert array.to_pylist() == texts[key]


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("size", [0, 1, 12, 13, 16, 100])
def test_lists_of_one_size_have_no_table_and_are_exported_all_the_same(group, kind, size):
    made = group.alloc_many(count=50, size=size)
    made.fill_from(random.Random(size).randbytes(50 * size))
    array = taken(made[5:45:3].as_arrow(kind))
    assert array.to_pylist() == [bytes(block) for block in made[5:45:3]]


def test_a_list_over_many_slots_is_few_buffers():
    group = MemGroup(base=4096)
    made = list_of(group, [random.Random(n).randbytes(n % 700) for n in range(3000)])
    assert len(made.slots) > 5
    array = taken(made)
    assert len(array.buffers()) == 2 + len(made.slots)
    assert addresses(array) == read_only_addresses(group, made)


def test_files_read_into_a_list_are_exported(group, tmp_path):
    contents = [bytes([65 + n]) * (n * 37) for n in range(20)]
    for n, content in enumerate(contents):
        (tmp_path / f"{n:02}").write_bytes(content)
    read = group.read_files([*sorted(tmp_path.iterdir()), "/proc/self/status", *sorted(tmp_path.iterdir())])
    array = taken(read.blocks)
    assert array.to_pylist() == [bytes(block) for block in read.blocks]
    assert addresses(array) == read_only_addresses(group, read.blocks)


@pytest.mark.parametrize("kind", COPIED)
def test_offsets_need_no_copy_where_records_adjoin(group, kind):
    adjoining = list_of(group, [b"a" * 16, b"b" * 32, b"c" * 7])
    array = taken(adjoining.as_arrow(kind))
    assert array.buffers()[2].address == group.protect(adjoining)[0].address
    before = group.stats().requested
    assert array.type == getattr(pa, kind)()
    assert group.stats().requested == before


@pytest.mark.parametrize("kind", COPIED)
def test_offsets_are_one_copy_into_the_group_where_they_do_not(group, kind):
    padded = list_of(group, RECORDS)
    before = group.stats()
    array = taken(padded.as_arrow(kind))
    assert [bytes(record.as_buffer()) for record in array] == RECORDS
    assert group.stats().requested == before.requested + padded.nbytes
    assert group.stats().blocks == before.blocks + 1
    data = array.buffers()[2]
    assert memoryview(data)[:5] == b"short"
    assert data in group


# The end


@pytest.mark.parametrize("kind", BINARY + TEXT)
def test_an_array_is_a_view(group, kind):
    made = list_of(group, RECORDS)
    array = pa.array(made.as_arrow(kind))
    assert group.stats().exports == 1
    for end in (group.free, group.reset):
        with pytest.raises(BufferError, match="1 live view"):
            end()
    part = array[2:4]
    del array
    assert group.stats().exports == 1
    del part
    assert group.stats().exports == 0
    group.free()
    with pytest.raises(ValueError, match="freed"):
        pa.array(made.as_arrow(kind))


def test_an_array_outlives_its_group_and_its_list():
    with MemGroup() as group:
        array = pa.array(list_of(group, RECORDS))
    assert array.to_pylist() == RECORDS
    group = MemGroup()
    array = pa.array(list_of(group, RECORDS))
    del group
    gc.collect()
    array.validate(full=True)
    assert array.to_pylist() == RECORDS


def test_an_array_keeps_only_the_slots_that_it_shows(cold):
    group = MemGroup(base=4096, name="kept-by-arrow")
    made = list_of(group, [b"x" * 1000] * 100)
    array = pa.array(made[:2])
    with group:
        pass
    assert array.to_pylist() == [b"x" * 1000] * 2
    assert mappings("kept-by-arrow") == 2


def test_unused_capsules_are_released(group):
    made = list_of(group, RECORDS)
    capsules = made.__arrow_c_array__()
    assert group.stats().exports == 1
    del capsules
    assert group.stats().exports == 0
    assert made.__arrow_c_schema__() is not None
    with pytest.raises(ValueError, match="UTF-8"):
        list_of(group, [b"ok", b"\xff"]).as_arrow("string_view").__arrow_c_array__()
    assert group.stats().exports == 0


def test_a_thread_unknown_to_python_releases_an_array(group):
    class Array(ctypes.Structure):
        _fields_ = [
            ("numbers", ctypes.c_int64 * 5),
            ("pointers", ctypes.c_void_p * 3),
            ("release", ctypes.c_void_p),
        ]

    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = list_of(group, RECORDS).__arrow_c_array__()
    array = Array.from_address(address(capsules[1], b"arrow_array"))
    libc = ctypes.CDLL(None)
    thread = ctypes.c_void_p()
    assert (
        libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(array.release), ctypes.byref(array))
        == 0
    )
    assert libc.pthread_join(thread, None) == 0
    assert array.release is None
    assert group.stats().exports == 0
    group.free()
    del capsules


def test_arrays_are_released_at_exit_in_a_child_and_over_a_forced_end(child):
    code = """
    import pyarrow as pa
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads of pyarrow's
    group = MemGroup()
    found = group.alloc_many([5, 50])
    found.fill_from(b"x" * 55)
    array = pa.array(found)
    sys.modules["kept"] = array # outlives the interpreter's own modules
    pid = os.fork()
    if pid == 0:
        print(array.to_pylist() == [b"x" * 5, b"x" * 50], group.stats().exports, flush=True)
        del array, sys.modules["kept"]
        print(group.stats().exports, flush=True)
        group.free()
        sys.exit()
    print(os.waitpid(pid, 0)[1], group.stats().exports, array.to_pylist() == [b"x" * 5, b"x" * 50])
    group.free(force=True)
    """
    assert child.output(code).splitlines() == ["True 1", "0", "0 1 True"]


def test_arrays_are_made_while_other_threads_allocate_and_release(group):
    made = list_of(group, [b"%d" % n * 7 for n in range(20_000)])
    expected = taken(made)
    wrong = []

    def work():
        for _ in range(5):
            group.alloc(100)
            if not pa.array(made).equals(expected):
                wrong.append(made)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert group.stats().exports == 1


# Types


def test_the_type_that_is_requested_is_given(group):
    made = list_of(group, RECORDS)
    for kind in BINARY + TEXT:
        wanted = getattr(pa, kind)()
        assert taken(made, wanted).type == wanted
        assert taken(made.as_arrow(), wanted).type == wanted
        assert taken(made.as_arrow(kind)).type == wanted
        assert pa.DataType._import_from_c_capsule(made.as_arrow(kind).__arrow_c_schema__()) == wanted


def test_an_arrow_array_shows_its_type_and_length(group):
    made = list_of(group, RECORDS)
    array = made.as_arrow("large_binary")
    assert isinstance(array, ArrowArray)
    assert (array.type, len(array)) == ("large_binary", len(RECORDS))
    assert repr(array) == f"<ArrowArray, large_binary, of {made!r}>"
    assert made.as_arrow().type == "binary_view"


@pytest.mark.parametrize("kind", [None, *BINARY])
def test_an_empty_list_is_an_empty_array(group, kind):
    array = taken(group.alloc_many([]) if kind is None else group.alloc_many([]).as_arrow(kind))
    assert (len(array), array.type) == (0, getattr(pa, kind or "binary_view")())
    assert len(taken(list_of(group, RECORDS)[3:3])) == 0


# Wrong uses


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("bad", [0, 3, 5])
def test_a_record_that_is_not_utf_8_is_named(group, kind, bad):
    records = list(RECORDS)
    records[bad] = "héé".encode() * 9 + b"\xc3"
    before = group.stats().blocks
    with pytest.raises(ValueError, match=rf"index {bad} is not UTF-8 from byte 45 on: .*binary_view"):
        pa.array(list_of(group, records).as_arrow(kind))
    assert group.stats().blocks == before + len(records)  # nothing was copied for it
    assert taken(list_of(group, records).as_arrow("binary_view"))[bad].as_py() == records[bad]


@pytest.mark.parametrize(
    ("kind", "error", "match"),
    [
        ("utf8", ValueError, 'no list can be exported as "utf8": name one of "binary_view", "string_view"'),
        (pa.binary(), TypeError, "named by a str, one of .*, not DataType"),
        (None, TypeError, "not NoneType"),
    ],
)
def test_an_unknown_type_is_an_error_that_names_the_known_ones(group, kind, error, match):
    with pytest.raises(error, match=match):
        list_of(group, RECORDS).as_arrow(kind)


def test_another_type_than_bytes_or_text_is_refused(group):
    for exporter in (list_of(group, RECORDS), list_of(group, RECORDS).as_arrow()):
        with pytest.raises(
            ValueError, match='cannot be exported as an Arrow array of format "l": ask for one of'
        ):
            pa.array(exporter, type=pa.int64())
    with pytest.raises(ValueError, match='an Arrow array of uint8, not of format "l"'):
        pa.array(group.copy(b"abc"), type=pa.int64())
    assert group.stats().exports == 0


def test_a_request_must_be_a_capsule_of_a_schema(group):
    made = list_of(group, RECORDS)
    exporters: list[Any] = [made, made.as_arrow(), made[0]]
    for exporter in exporters:
        for wrong in (pa.binary_view(), exporter.__arrow_c_array__()[1]):
            with pytest.raises(TypeError, match='a capsule named "arrow_schema" or None'):
                exporter.__arrow_c_array__(wrong)
        with pytest.raises(TypeError, match=r"arguments? "):
            exporter.__arrow_c_array__(None, None)
        with pytest.raises(TypeError, match="unexpected keyword"):
            exporter.__arrow_c_array__(schema=None)
        used = pa.binary_view().__arrow_c_schema__()
        pa.DataType._import_from_c_capsule(used)
        with pytest.raises(ValueError, match="was released"):
            exporter.__arrow_c_array__(requested_schema=used)


def test_an_anonymous_group_has_no_mirror_to_show():
    group = MemGroup(backing="anonymous")
    for exporter in (
        list_of(group, RECORDS),
        list_of(group, RECORDS).as_arrow("large_binary"),
        group.copy(b"abc"),
    ):
        with pytest.raises(ValueError, match='anonymous group has none: make the group with backing="memfd"'):
            exporter.__arrow_c_array__()
    assert group.stats().exports == 0


def test_freed_lists_and_blocks_are_not_exported():
    group = MemGroup()
    made, block = list_of(group, RECORDS), group.copy(b"abc")
    array = made.as_arrow()
    group.free()
    for work in (
        made.as_arrow,
        made.__arrow_c_schema__,
        made.__arrow_c_array__,
        array.__arrow_c_array__,
        array.__len__,
        block.__arrow_c_array__,
        block.__arrow_c_schema__,
    ):
        with pytest.raises(ValueError, match="freed"):
            work()


def test_a_list_from_before_a_reset_is_not_exported(group):
    made = list_of(group, RECORDS)
    group.reset()
    with pytest.raises(ValueError, match="reset"):
        pa.array(made)


# Large


def test_records_too_large_for_a_view():
    if memory_available() < 7 << 30:
        pytest.skip("needs 7 GiB of memory, of which it touches next to nothing")
    group = MemGroup(base=6 << 30, limit=6 << 30)
    sizes = [1 << 30, 20, (1 << 30) - 100, 300, 1 << 30, 50, 1 << 20, 1000]
    made = group.alloc_many(sizes)
    for n, block in enumerate(made):
        block[:13] = b"record no. %02d" % n
    array = pa.array(made)
    array.validate()  # a full validation would read gigabytes
    assert len(array.buffers()) == 2 + 2  # two windows of one slot
    assert all(buffer.size < 1 << 31 for buffer in array.buffers()[2:])
    assert addresses(array) == read_only_addresses(group, made)
    views = memoryview(array.buffers()[1]).cast("B")
    assert [views[16 * n : 16 * n + 8] for n in range(8)] == [
        size.to_bytes(4, "little") + b"reco" for size in sizes
    ]
    with pytest.raises(
        ValueError, match=r"offsets of 32 bits reach 2147483647: export it as_arrow\(\"large_binary\"\)"
    ):
        pa.array(made.as_arrow("binary"))
    large = pa.array(group.alloc_many(count=2, size=1 << 30).as_arrow("large_binary"))
    assert large.buffers()[1].size >= 24
    del array, views, large
    group.free()
    too_large = MemGroup(base=4 << 30).alloc_many([5, 1 << 31, 7])
    with pytest.raises(ValueError, match=r"index 1 has 2147483648 bytes, .* as_arrow\(\"large_binary\"\)"):
        pa.array(too_large)
    assert len(pa.array(too_large[::2])) == 2


# Blocks


def test_a_block_is_an_arrow_buffer(group):
    block = group.copy(b"hello world")
    buffer, protected = pa.py_buffer(block), pa.py_buffer(group.protect(block))
    assert (buffer.address, buffer.size, buffer.is_mutable) == (block.address, 11, True)
    assert (protected.address, protected.is_mutable) == (group.protect(block).address, False)
    assert buffer.equals(protected)
    assert group.stats().exports == 2
    with pytest.raises(BufferError, match="2 live views"):
        group.free()
    part = pa.py_buffer(block[6:])
    array = pa.Array.from_buffers(pa.uint8(), 5, [None, part])
    array.validate(full=True)
    assert array.to_pylist() == list(b"world")


@pytest.mark.parametrize("contents", [b"", b"hello"])
def test_a_block_is_an_array_of_bytes(group, contents):
    block = group.copy(contents)
    for exporter in (block, group.protect(block)):
        array = taken(exporter)
        assert (array.type, array.to_pylist()) == (pa.uint8(), list(contents))
        if contents:
            assert array.buffers()[1].address == group.protect(block).address
            assert not array.buffers()[1].is_mutable
        assert taken(exporter, pa.uint8()).equals(array)
    assert group.stats().exports == 1
    assert pa.DataType._import_from_c_capsule(block.__arrow_c_schema__()) == pa.uint8()


# Other consumers


@given(st.lists(st.binary(max_size=30), max_size=20), st.slices(20))
def test_polars_shows_the_records(records, key):
    pl = pytest.importorskip("polars")
    group = MemGroup(base=4096)
    part = list_of(group, records)[key]
    series = pl.Series("found", part.as_arrow())
    assert series.dtype == pl.Binary
    assert series.to_list() == records[key]
    back = series.to_arrow(compat_level=pl.CompatLevel.newest())
    assert addresses(back) == read_only_addresses(group, part)
    if records[key]:
        assert group.stats().exports == 1
    del series, back
    assert group.stats().exports == 0


def test_polars_computes_on_text_of_a_group(group):
    pl = pytest.importorskip("polars")
    words = ["alpha", "beta", "a word of more than twelve letters", "", "ümlaut"] * 100
    frame = pl.DataFrame({"word": list_of(group, [word.encode() for word in words]).as_arrow("string_view")})
    assert frame.schema == {"word": pl.String}
    assert frame.filter(pl.col("word").str.contains("word"))["word"].to_list() == [words[2]] * 100
    assert sorted(frame.group_by("word").len()["len"].to_list()) == [100] * 5
    assert frame["word"].str.to_uppercase().to_list() == [word.upper() for word in words]
    del frame
    gc.collect()
    assert group.stats().exports == 0


def test_duckdb_reads_a_column(group):
    duckdb = pytest.importorskip("duckdb")
    made = list_of(group, RECORDS * 500)
    connection = duckdb.connect()
    for kind in ("binary_view", "large_binary"):
        connection.register("found", pa.table({"record": pa.array(made.as_arrow(kind))}))
        query = "select record, count(*) from found group by record order by record"
        assert connection.execute(query).fetchall() == [(record, 500) for record in sorted(RECORDS)]
        connection.unregister("found")
    texts = list_of(group, [b"ten", b"a text that is longer than a view"] * 10)
    connection.register("texts", pa.table({"text": pa.array(texts.as_arrow("string_view"))}))
    assert connection.execute("select sum(length(text)) from texts").fetchone() == (360,)
    connection.close()
    del connection
    gc.collect()
    assert group.stats().exports == 0
