"""Making groups, allocating, and the statistics and repr of a group."""

from __future__ import annotations

import array
import inspect
import os
import subprocess
import sys
from pathlib import Path

import memgroup
import pytest
from conftest import mappings, memory_available
from memgroup import MemBlock, MemGroup

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
PAGE = os.sysconf("SC_PAGE_SIZE")
WINDOW = 2 * MIB  # the largest window that is committed ahead of small requests: a huge page

needs_memory = pytest.mark.skipif(memory_available() < 7 * GIB, reason="needs 7 GiB of available memory")


def check_sums(group: MemGroup) -> None:
    """The statistics of the group are the sums of those of its slots."""
    stats = group.stats()
    for name in ("allocated", "committed", "huge", "mapped"):
        assert getattr(stats, name) == sum(getattr(slot, name) for slot in stats.slots), name
    for slot in stats.slots:
        assert slot.capacity == group.base << slot.index
        assert max(slot.allocated, slot.huge) <= slot.committed <= slot.capacity
        assert slot.mapped == slot.capacity * (1 if group.backing == "anonymous" else 2)
    assert [slot.index for slot in stats.slots] == sorted({slot.index for slot in stats.slots})
    assert stats.requested <= stats.allocated
    assert group.limit is None or stats.committed <= group.limit


# Making


def test_the_defaults(group):
    assert (group.base, group.limit, group.backing, group.name, group.freed) == (
        64 * KIB,
        None,
        "memfd",
        "memgroup",
        False,
    )


def test_a_new_group_holds_nothing(backing):
    stats = MemGroup(backing=backing).stats()
    assert stats.slots == ()
    assert {stats.requested, stats.allocated, stats.committed, stats.mapped, stats.blocks, stats.exports} == {
        0
    }


@pytest.mark.parametrize(
    ("base", "rounded"), [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), (10 * MIB, 10 * MIB)]
)
def test_a_base_is_rounded_up_to_pages(base, rounded):
    group = MemGroup(base)
    group.alloc(1)
    assert group.base == group.stats().slots[0].capacity == rounded


@pytest.mark.parametrize("as_directory", [str, os.fsencode, Path], ids=["str", "bytes", "Path"])
def test_a_directory_can_be_named_in_every_way(tmp_path, as_directory):
    with MemGroup(backing=as_directory(tmp_path)) as group:
        assert group.copy(b"abc") == b"abc"
        assert group.backing == str(tmp_path)
        assert os.listdir(tmp_path) == []


def test_a_directory_with_an_undecodable_name_serves(tmp_path):
    directory = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(directory)
    assert MemGroup(backing=os.fsdecode(directory)).copy(b"abc") == b"abc"


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("name", ["results", "", "a b", "größe", "x" * 200])
def test_a_group_shows_its_name_everywhere(name):
    group = MemGroup(name=name)
    group.alloc(1)
    assert group.name == name
    assert name in repr(group)
    assert mappings(name) >= 2


@pytest.mark.thread_unsafe(reason="other threads have descriptors open")
def test_no_descriptor_is_left_open(backing):
    before = os.listdir("/proc/self/fd")
    group = MemGroup(base=1, backing=backing)
    blocks = [group.alloc(n) for n in (1, 5000, 50000, 500000)]
    assert os.listdir("/proc/self/fd") == before
    assert len(group.stats().slots) > 2
    del blocks


def test_importing_loads_neither_numpy_nor_pyarrow(child):
    assert child.output("print({'numpy', 'pyarrow'} & set(sys.modules))") == "set()"


def test_the_module_runs_its_command_line():
    ended = subprocess.run(
        [sys.executable, "-m", "memgroup", "--help"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    assert "gather" in ended.stdout


def test_the_names_that_the_package_exports_exist():
    assert all(hasattr(memgroup, name) for name in memgroup.__all__)
    assert (Path(memgroup.__file__).parent / "py.typed").exists()


# Allocating


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, PAGE, 64 * KIB, 64 * KIB + 1, 5 * MIB])
def test_a_block_has_the_size_asked_for_and_is_writable(backing, n):
    group = MemGroup(backing=backing)
    block = group.alloc(n)
    assert len(block) == block.nbytes == n
    assert not block.readonly
    block[:] = b"\xa5" * n
    assert block == b"\xa5" * n
    check_sums(group)


def test_empty_blocks_are_blocks(group):
    first, second = group.alloc(0), group.alloc(0)
    assert first == second == b""
    assert first.address != second.address
    assert bytes(group.protect(first)) == b""
    assert group.copy(b"") == first[:]
    assert (group.stats().blocks, group.stats().requested) == (3, 0)


@pytest.mark.parametrize("align", [2**i for i in range(13)])
def test_blocks_begin_at_multiples_of_their_alignment(backing, align):
    group = MemGroup(backing=backing)
    for n in (1, 3, 100, 5000, 70000):
        assert group.alloc(n, align=align).address % align == 0
        assert group.copy(bytes(n), align=align).address % align == 0
    assert group.alloc(7).address % 16 == 0
    check_sums(group)


def test_a_protected_block_is_as_aligned_as_a_writable_one(mirrored):
    group = MemGroup(backing=mirrored)
    assert group.protect(group.alloc(1, align=4096)).address % 4096 == 0


def test_small_alignments_pack_blocks(group):
    first, second = group.alloc(3, align=1), group.alloc(3, align=1)
    assert second.address == first.address + 3


@pytest.mark.parametrize("n", [10, 100 * KIB, 3 * MIB])
def test_zero_clears_what_was_used_before(backing, n):
    group = MemGroup(backing=backing)
    group.alloc(n)[:] = b"\xff" * n
    group.reset()
    assert group.alloc(n, zero=True) == bytes(n)


@pytest.mark.parametrize("as_size", [int, bool, "index"])
def test_sizes_are_what_operator_index_takes(group, as_size):
    class Index:
        def __index__(self):
            return 1

    assert len(group.alloc(Index() if as_size == "index" else as_size(1))) == 1


def test_numpy_integers_are_sizes(group):
    np = pytest.importorskip("numpy")
    assert len(group.alloc(np.uint16(700), align=np.int8(64))) == 700


def test_the_unused_end_of_an_earlier_slot_is_used_again():
    group = MemGroup(base=64 * KIB)
    first = group.alloc(10 * KIB)
    beyond = group.alloc(100 * KIB)  # slot 1: slot 0 has not enough room
    after = group.alloc(40 * KIB)
    assert group.stats().slots[0].allocated == 50 * KIB
    assert first.address < after.address < first.address + 64 * KIB
    assert not first.address < beyond.address < first.address + 64 * KIB


def test_look_back_finds_room_in_slots_before_the_current_one():
    group = MemGroup(base=64 * KIB)
    for _ in range(7):
        group.alloc(8 * KIB)  # 56 KiB: slot 0 is nearly full
    group.alloc(8 * KIB + 1)  # does not fit: slot 1 becomes the current one
    group.alloc(90 * KIB)
    group.alloc(200 * KIB)
    before = group.stats().slots[0].allocated
    for _ in range(4):
        group.alloc(1024)
    stats = group.stats()
    assert before == 56 * KIB
    assert sum(slot.allocated for slot in stats.slots[:2]) >= 56 * KIB + 102 * KIB + 1
    check_sums(group)


def test_each_slot_holds_twice_the_one_before():
    group = MemGroup(base=1)
    for _ in range(3000):
        group.alloc(1000)
    slots = group.stats().slots
    assert [slot.index for slot in slots] == list(range(len(slots)))
    assert len(slots) == 10
    assert sum(slot.allocated for slot in slots[:-1]) >= sum(slot.capacity * 7 // 8 for slot in slots[:-1])
    check_sums(group)


@pytest.mark.skipif(memory_available() < 3 * GIB, reason="needs 3 GiB of available memory")
def test_huge_tiny_huge_commits_little_more_than_was_requested():
    group = MemGroup(base=64 * KIB)
    for n in (GIB, 100, GIB):
        group.alloc(n)
    for _ in range(1_000_000):
        group.alloc(100)
    stats = group.stats()
    assert stats.requested == 2 * GIB + 100_000_100
    assert stats.allocated - stats.requested <= 1_000_002 * 12  # 100 bytes take 112
    assert stats.committed <= stats.allocated + WINDOW + PAGE * len(stats.slots)
    for slot in stats.slots:
        if slot.capacity >= GIB:
            assert slot.allocated in (0, GIB)
    check_sums(group)


@needs_memory
@pytest.mark.parametrize("kind", ["memfd", "anonymous"])
def test_single_objects_beyond_4_gib(kind):
    group = MemGroup(backing=kind)
    n = 4 * GIB + 12345
    block = group.alloc(n)
    probes = {0: 1, 2**31: 2, 2**32 - 1: 3, 2**32: 4, n - 1: 5}
    for at, value in probes.items():
        block[at] = value
    assert len(block) == len(memoryview(block)) == n
    shown = block if kind == "anonymous" else group.protect(block)
    assert {at: shown[at] for at in probes} == probes
    assert shown[-1] == 5
    assert bytes(shown[2**32 - 2 : 2**32 + 2]) == bytes([0, 3, 4, 0])
    assert block.find(5, 2**32 + 1) == n - 1
    assert group.copy(b"tiny").address not in range(block.address, block.address + n)
    check_sums(group)


def test_untouched_memory_takes_only_address_space(child):
    touched = child.output("""
        group = MemGroup()
        resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        warnings.simplefilter("ignore")
        before = resident()
        block = group.alloc(200 << 20)
        print((resident() - before) >> 20)
    """)
    assert int(touched) < 5


# Copying

SOURCES = {
    "bytes": lambda: b"abc",
    "empty": lambda: b"",
    "bytearray": lambda: bytearray(b"abc"),
    "array": lambda: array.array("d", [1.5, -2.0]),
    "every third byte": lambda: memoryview(bytes(range(100)))[::3],
    "backwards": lambda: memoryview(bytes(range(100)))[::-1],
    "two dimensions": lambda: memoryview(bytes(range(24))).cast("B", (4, 6)),
    "typed and strided": lambda: memoryview(array.array("i", range(50)))[10:40:7],
    "block": lambda: MemGroup().copy(b"abc"),
    "protected": lambda: (lambda g: g.protect(g.copy(b"abc")))(MemGroup()),
    "large": lambda: bytes(range(256)) * 5000,
    "large and strided": lambda: memoryview(bytes(range(256)) * 5000)[::-2],
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_copy_takes_the_bytes_of_any_source(backing, source):
    group = MemGroup(backing=backing)
    block = group.copy(source())
    assert block == memoryview(source()).tobytes()
    assert not block.readonly
    block[:] = bytes(len(block))
    assert source() == source()


@pytest.mark.parametrize("layout", ["fortran", "transposed", "negative", "scalar", "0-d", "empty", "record"])
def test_copy_takes_numpy_arrays_in_c_order(group, layout):
    np = pytest.importorskip("numpy")
    base = np.arange(24, dtype="i4").reshape(4, 6)
    arrays = {
        "fortran": np.asfortranarray(base),
        "transposed": base.T[::2],
        "negative": base[::-1, ::-2],
        "scalar": np.float64(1.5),
        "0-d": np.array(7, "i8"),
        "empty": base[:0],
        "record": np.zeros(3, [("a", "u1"), ("b", ">f8")]),
    }
    assert group.copy(arrays[layout]) == arrays[layout].tobytes()


def test_copy_is_a_copy(group):
    source = bytearray(b"abc")
    block = group.copy(source)
    source[0] = 120
    block[1] = 120
    assert (block, source) == (b"axc", b"xbc")


# Membership


def test_in_says_whether_an_object_lives_in_a_group(mirrored):
    group, other = MemGroup(backing=mirrored), MemGroup(backing=mirrored)
    block = group.copy(b"abcdef")
    own = [
        block,
        block[2:4],
        group.protect(block),
        memoryview(block),
        memoryview(block)[::-2],
        group.alloc(0),
    ]
    own.append(memoryview(group.protect(block)))
    assert all(thing in group for thing in own)
    assert not any(thing in other for thing in own)


@pytest.mark.parametrize(
    "thing", [b"abc", "abc", 5, None, object(), bytearray(3), memoryview(b"abc")], ids=repr
)
def test_nothing_foreign_is_in_a_group(group, thing):
    group.alloc(1)
    assert thing not in group


def test_numpy_arrays_of_a_block_are_in_its_group(group):
    np = pytest.importorskip("numpy")
    block = group.copy(bytes(24))
    made = np.frombuffer(block, "f8")
    assert made in group
    assert made[::-2] in group
    assert made.copy() not in group


def test_blocks_from_before_a_reset_are_in_no_group(group):
    block = group.alloc(5)
    group.reset()
    assert block not in group


# Statistics and repr


def test_stats_count_blocks_bytes_and_views(backing):
    group = MemGroup(backing=backing)
    block = group.alloc(100)
    group.copy(b"abc")
    view = memoryview(block)
    stats = group.stats()
    assert (stats.blocks, stats.requested, stats.exports) == (2, 103, 1)
    assert stats.allocated == 112 + 3
    view.release()
    assert group.stats().exports == 0
    del block, view
    group.reset()
    stats = group.stats()
    assert (stats.blocks, stats.requested, stats.allocated, stats.exports) == (0, 0, 0, 0)
    check_sums(group)


def test_slices_and_protection_allocate_nothing(group):
    block = group.alloc(100)
    before = group.stats().as_dict()
    parts = [block[10:20], group.protect(block), group.unprotect(group.protect(block[3:5]))]
    after = group.stats().as_dict()
    assert after.pop("protected") == after["slots"][0].pop("protected") == 102
    assert before.pop("protected") == before["slots"][0].pop("protected") == 0
    assert after == before
    assert len(parts) == 3


def test_refused_requests_are_not_counted(group):
    group.alloc(10)
    before = repr(group.stats())
    for bad in (-1, "x", 1 << 60):
        with pytest.raises((ValueError, TypeError, MemoryError)):
            group.alloc(bad)
    assert repr(group.stats()) == before


def test_stats_are_plain_numbers_for_json(group):
    import json

    group.alloc(100000)
    stats = group.stats()
    plain = json.loads(json.dumps(stats.as_dict()))
    assert plain["slots"] == [slot.as_dict() for slot in stats.slots]
    assert plain["requested"] == stats.requested == 100000
    figures = {"requested", "allocated", "committed", "huge", "mapped", "protected", "blocks", "exports"}
    assert set(plain) == figures | {"slots", "held", "borrowed"}
    assert repr(stats.slots[0]) in repr(stats)


def test_a_repr_tells_what_the_group_holds(backing):
    group = MemGroup(name="results", backing=backing)
    group.copy(b"abc")
    assert all(word in repr(group) for word in ("results", backing, "1 block", "3 bytes"))
    group.free()
    assert repr(group) == '<MemGroup "results", freed>'


@pytest.mark.usefixtures("cold")
def test_blocks_keep_their_group_alive():
    block = MemGroup(name="kept-alive").copy(b"abc")
    part = block[1:]
    del block
    assert (part, mappings("kept-alive")) == (b"bc", 2)
    del part
    assert mappings("kept-alive") == 0


@pytest.mark.usefixtures("cold")
def test_a_view_keeps_its_block_alive():
    view = memoryview(MemGroup(name="viewed").copy(b"abc"))
    assert (bytes(view), mappings("viewed")) == (b"abc", 2)
    del view
    assert mappings("viewed") == 0


def test_many_groups_live_side_by_side():
    groups = [MemGroup(base=1) for _ in range(500)]
    blocks = [group.copy(str(i).encode()) for i, group in enumerate(groups)]
    assert [bytes(block) for block in blocks] == [str(i).encode() for i in range(500)]
    assert all(isinstance(block, MemBlock) for block in blocks)


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((), {}, r"alloc\(\) missing 1 required positional argument: 'n'"),
        ((1, 2), {}, r"alloc\(\) takes 1 positional argument but 2 were given"),
        ((1,), {"n": 2}, r"alloc\(\) got multiple values for argument 'n'"),
        ((1,), {"size": 2}, r"alloc\(\) got an unexpected keyword argument 'size'"),
        ((None,), {}, "a size must be an integer, not NoneType"),
        ((1,), {"align": None}, "align must be an integer, not NoneType"),
        ((1,), {"zero": 3.5}, "float"),
    ],
)
def test_alloc_reads_its_arguments_as_python_does(group, args, named, message):
    with pytest.raises(TypeError, match=message):
        group.alloc(*args, **named)
    with pytest.raises(TypeError, match="doesn't apply to a 'list' object"):
        MemGroup.alloc([], 5)  # pyright: ignore[reportArgumentType]


def test_alloc_takes_its_arguments_by_name(group):
    assert len(group.alloc(n=5)) == 5
    block = group.alloc(zero=True, align=256, n=6)
    assert bytes(block) == bytes(6)
    assert block.address % 256 == 0
    assert len(group.alloc(True)) == 1


def test_alloc_shows_its_signature():
    assert str(inspect.signature(MemGroup.alloc)) == "(self, /, n, *, align=16, zero=False)"


def test_bytes_reserved_in_advance_are_not_counted_as_allocated(backing):
    group = MemGroup(backing=backing)
    handed_out = 0
    for n in [1, 40_000, 16, 100_000, 7, 3_000_000, 100, 20_000, 64, 64, 1 << 20, 48]:
        group.alloc(n)
        handed_out += n
        stats = group.stats()
        assert handed_out <= stats.allocated < handed_out + 16 * stats.blocks
