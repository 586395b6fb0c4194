"""What leaves the process is what the list owns, and nothing that lies beside it.

It leaves by Arrow, pickle, writev, sendmsg and DLPack. The memory around the records is full of a canary: an
earlier user's bytes in the padding, neighbours, records that a slice skips.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup, MemList, _pickle

pa = pytest.importorskip("pyarrow")

CANARY = 0xFE
KINDS = ["binary_view", "string_view", "large_binary", "large_string", "binary", "string"]

SIZES = st.lists(
    st.integers(0, 40) | st.integers(10, 15) | st.sampled_from([100, 1000, 4001]), min_size=1, max_size=60
)


def polluted(base: int = 4096) -> MemGroup:
    """A group all of whose memory was full of the canary before."""
    group = MemGroup(base=base)
    for size in (base, 2 * base, 4 * base, 16 * base):
        block = group.alloc(size - 64)
        block[:] = bytes([CANARY]) * len(block)
        del block
    group.reset()
    return group


def list_among_others(group: MemGroup, sizes: list[int], align: int, key: slice) -> MemList:
    """The records that `key` selects, text without a canary; all others, and the neighbours, are canaries."""
    group.alloc(7)[:] = bytes([CANARY]) * 7
    made = group.alloc_many(sizes, align=align)
    for block in made:
        block[:] = bytes([CANARY]) * len(block)
    group.alloc(5000)[:] = bytes([CANARY]) * 5000
    part = made[key]
    for number, block in enumerate(part):
        block[:] = (b"%03d" % number * (len(block) // 3 + 1))[: len(block)]
    return part


def canaries(sent: bytes) -> int:
    # Two, for one may be part of a number.
    return sent.count(bytes([CANARY]) * 2)


def arrow_stream(exported) -> bytes:
    array = pa.array(exported)
    table = pa.table({"records": array})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def data_buffers(exported) -> list[bytes]:
    return [buffer.to_pybytes() for buffer in pa.array(exported).buffers()[2:]]


def pickled(blocks: MemList) -> list[bytes]:
    buffers: list[pickle.PickleBuffer] = []
    inside = [pickle.dumps(blocks, protocol) for protocol in (2, 4, 5)]
    return [
        *inside,
        pickle.dumps(blocks, 5, buffer_callback=buffers.append),
        *(bytes(b.raw()) for b in buffers),
    ]


def written(blocks: MemList) -> bytes:
    read, write = os.pipe()
    try:
        blocks.writev(write)
        os.close(write)
        with os.fdopen(read, "rb", closefd=False) as pipe:
            return pipe.read()
    finally:
        os.close(read)


def as_message(blocks: MemList) -> bytes:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        blocks.sendmsg(ours)
        return theirs.recv(1 << 20)


@given(
    sizes=SIZES,
    align=st.sampled_from([1, 16, 64]),
    key=st.slices(60),
    kind=st.sampled_from(KINDS),
    protected=st.booleans(),
)
def test_no_export_has_a_byte_that_the_list_does_not_own(sizes, align, key, kind, protected):
    group = polluted()
    part = list_among_others(group, sizes, align, key)
    if protected:
        part = group.protect(part)
    records = [bytes(block) for block in part]
    exported = part.as_arrow(kind)
    as_text = [record.decode() if "string" in kind else record for record in records]
    assert pa.array(exported).to_pylist() == as_text
    assert canaries(arrow_stream(exported)) == 0
    assert all(CANARY not in buffer for buffer in data_buffers(exported))
    assert sum(map(canaries, pickled(part))) == 0
    assert pickle.loads(pickle.dumps(part)) == part
    assert written(part) == b"".join(records)
    if records:
        assert as_message(part) == b"".join(records)


@given(sizes=SIZES, key=st.slices(60))
def test_no_polars_export_has_a_byte_of_another_owner(sizes, key):
    pl = pytest.importorskip("polars")
    part = list_among_others(polluted(), sizes, 16, key)
    frame = pl.DataFrame({"records": pl.Series(part)})
    sink = io.BytesIO()
    frame.write_ipc_stream(sink, compression="uncompressed")
    assert frame["records"].to_list() == [bytes(block) for block in part]
    assert canaries(sink.getvalue()) == 0


@given(sizes=SIZES, key=st.slices(60))
def test_no_dask_frame_has_a_byte_of_another_owner(sizes, key):
    protocol = pytest.importorskip("distributed.protocol")
    part = list_among_others(polluted(), sizes, 16, key)
    header, frames = protocol.serialize(part, serializers=("pickle",))
    assert sum(canaries(bytes(frame)) for frame in frames) == 0
    assert protocol.deserialize(header, frames) == part


def test_a_block_goes_alone():
    group = polluted()
    block = list_among_others(group, [17, 33, 17], 16, slice(1, 2))[0]
    assert bytes(pa.array(block).buffers()[1]) == bytes(block)
    assert canaries(arrow_stream(block)) == 0
    assert canaries(pickle.dumps(block)) == 0
    np = pytest.importorskip("numpy")
    assert np.from_dlpack(block).tobytes() == bytes(block)


@pytest.mark.parametrize("kind", ["binary_view", "string_view"])
@pytest.mark.parametrize("size", [0, 1, 12])
def test_records_that_views_hold_take_nothing_along(kind, size):
    part = list_among_others(polluted(), [size] * 1000, 16, slice(None))
    assert data_buffers(part.as_arrow(kind)) == []
    uniform = polluted().alloc_many(count=1000, size=size)
    uniform.fill_from(b"r" * 1000 * size)
    assert data_buffers(uniform.as_arrow(kind)) == []


def test_windows_end_where_the_outermost_records_do_that_need_one():
    group = polluted()
    made = group.alloc_many([12] * 100 + [20, 5, 30] + [12] * 100)
    made.fill_from(b"r" * made.nbytes)
    assert data_buffers(made) == [b"r" * 20 + bytes(12) + b"r" * 5 + bytes(11) + b"r" * 30]


def test_few_records_that_lie_apart_are_shown_where_they_are():
    group = polluted()
    part = list_among_others(group, [100] * 30, 16, slice(None, None, 2))
    before = group.stats().blocks
    array = pa.array(part)
    assert group.stats().blocks == before
    assert [buffer.size for buffer in array.buffers()[2:]] == [100] * 15
    addresses = [buffer.address for buffer in array.buffers()[2:]]
    assert addresses == [block.address for block in group.protect(part)]


def test_large_records_that_lie_apart_are_shown_where_they_are():
    group = polluted(1 << 20)
    part = list_among_others(group, [5000] * 400, 16, slice(1, None, 2))
    before = group.stats().blocks
    assert [buffer.size for buffer in pa.array(part).buffers()[2:]] == [5000] * 200
    assert group.stats().blocks == before


def test_many_that_lie_apart_are_copied_together():
    group = polluted(1 << 20)
    part = list_among_others(group, [100] * 5000, 16, slice(1, None, 2))
    before = group.stats().requested
    array = pa.array(part)
    assert [buffer.size for buffer in array.buffers()[2:]] == [250_000]
    assert array.to_pylist() == [bytes(block) for block in part]
    assert group.stats().requested == before + 250_000
    assert group.stats().exports == 1
    del array
    assert group.stats().exports == 0


def test_no_room_for_that_copy_is_a_memory_error():
    group = MemGroup(base=1 << 20, limit=1 << 20)
    records = group.alloc_many([600] * 1500)
    with pytest.raises(MemoryError, match="limit"):
        pa.array(records[::2])
    assert len(pa.array(records)) == 1500


def test_padding_that_ranges_were_read_over_is_cleared(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"r" * 20 + bytes([CANARY]) * 12 + b"r" * 20)
    with path.open("rb") as file:
        read = MemGroup().read_ranges(file, [0, 32], [20, 20])
    assert [bytes(block) for block in read.blocks] == [b"r" * 20] * 2
    assert canaries(arrow_stream(read.blocks)) == 0


def test_what_is_left_of_files_that_became_shorter_stays(tmp_path):
    group = polluted()
    paths = []
    for number in range(40):
        path = tmp_path / str(number)
        path.write_bytes(bytes([65 + number % 26]) * (number * 7))
        paths.append(path)
    read = group.read_files([*paths, *["/proc/self/stat"] * 30, *paths])
    sent = arrow_stream(read.blocks)
    assert canaries(sent) == 0
    assert sum(map(canaries, pickled(read.blocks))) == 0
    assert pa.array(read.blocks).to_pylist() == [bytes(block) for block in read.blocks]


@pytest.mark.parametrize("protected", [False, True])
def test_a_list_within_a_block_neither_shows_nor_changes_what_lies_between(protected):
    group = polluted()
    block = group.alloc(42)
    block[:] = b"r" * 13 + bytes([CANARY]) * 3 + b"r" * 13 + bytes([CANARY]) * 3 + b"r" * 10
    content = bytes(block)
    owner = group.protect(block) if protected else block
    within = _pickle.load_list((owner[:29],), (0,), (2, 13, 16), 16, protected)
    assert within[1] == content[16:29]
    assert canaries(arrow_stream(within)) == 0
    assert sum(map(canaries, pickled(within))) == 0
    assert bytes(owner) == content


def test_padding_is_cleared_in_memory_of_a_protected_list_only_between_records():
    group = polluted()
    made = list_among_others(group, [17, 20, 33], 16, slice(None))
    records = [bytes(block) for block in made]
    protected = group.protect(made)
    assert canaries(arrow_stream(protected)) == 0
    assert [bytes(block) for block in protected] == records
    # The second time there is nothing to clear, and a part of it is as clean.
    assert canaries(arrow_stream(protected[1:])) == 0


def test_a_list_in_many_slots_with_neighbours_in_each():
    group = polluted()
    lists = []
    for number in range(200):
        lists.append(group.alloc_many([random.Random(number).randrange(60) for _ in range(20)]))
        neighbour = group.alloc(random.Random(number).randrange(200))
        neighbour[:] = bytes([CANARY]) * len(neighbour)
    for made in lists:
        made.fill_from(b"r" * made.nbytes)
        assert canaries(arrow_stream(made)) == 0
