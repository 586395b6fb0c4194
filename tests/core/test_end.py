"""The end of a group: gentle, strict, forced, or by reset. No end shows another owner's bytes."""

from __future__ import annotations

import gc

import pytest
from conftest import mappings
from memgroup import MemGroup
from support.ends import CONTENTS, QUIET, access_to, leave, plural

# 1. The gentle end: `with`


def test_a_with_block_gives_all_memory_back(name):
    with MemGroup(name=name) as group:
        blocks = [group.copy(CONTENTS), group.alloc(1 << 20)]
        assert mappings(name) == 4
    assert mappings(name) == 0
    assert group.freed
    assert len(blocks) == 2


def test_nothing_can_be_allocated_after_a_with_block():
    with MemGroup() as group:
        block = group.copy(CONTENTS)
        view = memoryview(block)[:0]
        view.release()
    for work in (lambda: group.alloc(1), lambda: group.copy(b"x"), lambda: group.alloc(0), group.__enter__):
        with pytest.raises(ValueError, match="freed"):
            work()


def test_slots_without_exporters_are_freed_at_once_and_others_with_their_last_exporter(name):
    group = MemGroup(name=name, base=65536)
    kept, other, late = group.copy(CONTENTS), group.alloc(100_000), group.alloc(200_000)
    view = memoryview(kept)
    assert late.address  # gives out its address: an exporter without a view
    assert mappings(name) == 6
    leave(group)
    assert mappings(name) == 4
    assert bytes(view) == bytes(kept) == CONTENTS
    with pytest.raises(ValueError, match="freed"):
        bytes(other)
    del late
    assert mappings(name) == 2
    del view
    assert mappings(name) == 2  # the block lives and has exported
    del kept
    assert mappings(name) == 0


@pytest.mark.parametrize("views", [1, 2, 7])
def test_stats_report_memory_that_views_keep(views):
    group = MemGroup()
    block, unexported = group.copy(CONTENTS), group.alloc(1 << 20)
    kept = [memoryview(block) for _ in range(views)]
    slots = {slot.index: slot.committed for slot in group.stats().slots}
    assert group.stats().held == 0
    leave(group)
    after = group.stats()
    assert (after.slots, after.exports) == ((), views)
    assert after.held == after.committed == slots[0]
    assert after.as_dict()["held"] == after.held
    kept.clear()
    assert group.stats().held == slots[0]  # the block is an exporter for as long as it lives
    del block
    assert (group.stats().held, group.stats().mapped) == (0, 0)
    with pytest.raises(ValueError, match="freed"):
        bytes(unexported)


def test_an_exporter_without_views_outlasts_the_block_of_code():
    with MemGroup() as group:
        block = group.copy(CONTENTS)
        memoryview(block).release()
    assert block == CONTENTS


def test_exporters_are_untouched_until_they_die(name):
    with MemGroup(name=name) as group:
        block = group.copy(CONTENTS)
        views = [memoryview(block), memoryview(group.protect(block)), memoryview(block)[3:9]]
    others = [MemGroup() for _ in range(50)]
    for other in others:
        other.copy(b"\xff" * 60000)
    assert [bytes(view) for view in views] == [CONTENTS, CONTENTS, CONTENTS[3:9]]
    views[0][0] = ord("H")
    assert bytes(views[1]) == b"H" + CONTENTS[1:]
    views.clear()
    assert block[0] == ord("H")
    del block
    assert mappings(name) == 0


def test_a_loop_over_results_after_the_block_works():
    np = pytest.importorskip("numpy")
    with MemGroup() as group:
        results = [np.frombuffer(group.copy(np.full(100, i, "i4")), "i4") for i in range(1000)]
    assert [int(result.sum()) for result in results] == [100 * i for i in range(1000)]


def test_an_array_that_dropped_its_view_lives_on_after_the_block(name):
    np = pytest.importorskip("numpy")
    with MemGroup(name=name) as group:
        made = np.ndarray((len(CONTENTS),), "u1", buffer=group.copy(CONTENTS))
        assert group.stats().exports == 0
    assert made.tobytes() == CONTENTS
    made[0] = 1
    assert made[0] == 1
    del made
    assert mappings(name) == 0


@pytest.mark.parametrize("key", [slice(0, 5), slice(3, None), slice(None, None, 2), slice(0, 0)], ids=str)
def test_parts_of_an_exporter_can_be_taken_after_the_block(key):
    with MemGroup() as group:
        block = group.copy(CONTENTS)
        view = memoryview(block)
    part = block[key]
    del block
    view.release()
    assert bytes(part) == CONTENTS[key]
    assert bytes(part[:2]) == CONTENTS[key][:2]


def test_an_exporter_can_be_written_after_the_block():
    with MemGroup() as group:
        block = group.copy(bytes(range(200)))
        protected = group.protect(block)
        views = memoryview(block), memoryview(protected)
    block[0] = 7
    block[1:3] = b"ab"
    block[10:150] = protected[0:140]  # the same bytes through the other mirror, overlapping
    expected = bytearray(range(200))
    expected[:3] = b"\x07ab"
    expected[10:150] = bytes(expected[0:140])
    assert [bytes(view) for view in views] == [expected, expected]


def test_views_that_outlast_a_with_block_are_no_reason_for_a_warning(child):
    code = """
        with MemGroup() as group:
            results = [memoryview(group.copy(bytes([i]) * 1000)) for i in range(100)]
        assert [set(result) for result in results] == [{i} for i in range(100)]
    """
    assert child.output(code, flags=QUIET) == ""


@pytest.mark.parametrize("error", ["KeyError", "KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_an_exception_of_the_body_is_not_replaced(child, error):
    code = f"""
        group = MemGroup()
        try:
            with group:
                view = memoryview(group.copy(b"abc"))
                raise {error}("body")
        except BaseException as caught:
            print(type(caught).__name__, caught.args, caught.__context__, group.freed, bytes(view))
    """
    ended = child.run(code, flags=QUIET)
    assert (ended.returncode, ended.stdout) == (0, f"{error} ('body',) None True b'abc'\n")


def test_the_exception_of_the_body_ends_the_group(name):
    group = MemGroup(name=name)
    group.copy(CONTENTS)
    with pytest.raises(KeyError, match="body"):
        leave(group, KeyError("body"))
    assert group.freed
    assert mappings(name) == 0


def test_nested_with_blocks_end_with_the_inner_one():
    with MemGroup() as group:
        with group:
            block = group.alloc(1)
        with pytest.raises(ValueError, match="freed"):
            bytes(block)


@pytest.mark.parametrize("force", [False, True])
def test_free_inside_a_with_block_is_its_end(force):
    with MemGroup() as group:
        group.alloc(1)
        group.free(force=force)
    assert group.freed


def test_free_after_a_gentle_end_is_as_strict_and_as_final(name):
    with MemGroup(name=name) as group:
        block = group.copy(CONTENTS)
        view = memoryview(block)
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    assert bytes(view) == CONTENTS
    view.release()
    held = group.stats().held
    assert group.free() == held > 0
    with pytest.raises(ValueError, match="freed"):
        bytes(block)
    assert mappings(name) == 2
    assert group.free(force=True) == 0
    assert mappings(name) == 0


# 1. The gentle end: the last reference


def test_dropping_the_last_reference_ends_a_group_silently(name):
    group = MemGroup(name=name)
    block = group.copy(CONTENTS)
    view = memoryview(block)
    del group
    del block
    assert bytes(view) == CONTENTS
    del view
    assert mappings(name) == 0


def test_a_cycle_does_not_keep_a_group(name):
    cycle = [MemGroup(name=name)]
    cycle += [cycle[0].copy(CONTENTS), memoryview(cycle[0].copy(CONTENTS)), cycle]
    del cycle
    gc.collect()
    assert mappings(name) == 0


# 2. free()


@pytest.mark.parametrize("views", [1, 3])
def test_free_is_strict_and_frees_nothing_over_live_views(group, views):
    block = group.copy(CONTENTS)
    kept = [memoryview(block) for _ in range(views)]
    with pytest.raises(BufferError, match=rf"{plural(views)}:.*force=True"):
        group.free()
    assert not group.freed
    assert bytes(kept[0]) == block == CONTENTS
    assert group.copy(b"still works") == b"still works"
    for view in kept:
        view.release()
    del block
    assert group.free() == 0
    assert group.freed


def test_free_gives_all_memory_back_at_once(name):
    group = MemGroup(name=name)
    blocks = [group.alloc(n) for n in (10, 100_000, 1_000_000)]
    assert group.free() == 0
    assert mappings(name) == 0
    assert len(blocks) == 3


HOLDERS = {
    "address": lambda block: block.address and block,
    "released view": lambda block: memoryview(block).release() or block,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_free_sets_slots_of_exporters_aside_until_they_die(name, hold):
    group = MemGroup(name=name)
    block, other = group.copy(CONTENTS), group.alloc(1 << 20)
    committed = group.stats().slots[0].committed
    holders = [hold(block), hold(group.protect(block))]
    assert mappings(name) == 4
    assert group.free() == committed
    assert mappings(name) == 2
    assert group.free() == committed  # and does nothing else
    freed = None
    for freed in (block, other, *holders):
        with pytest.raises(ValueError, match="freed"):
            bytes(freed)
    del block, holders, freed
    assert mappings(name) == 0
    assert group.free() == 0


@pytest.mark.thread_unsafe(reason="what one thread gives back another may reserve")
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_after_a_forced_free_the_addresses_of_an_exporter_stay_reserved_until_it_dies(mirrored, hold):
    group = MemGroup(backing=mirrored)
    block = group.copy(CONTENTS)
    holders = [hold(block), hold(group.protect(block))]
    addresses = [holder.address for holder in holders]
    del block
    assert group.free(force=True) == 0
    assert [access_to(address) for address in addresses] == ["---p", "---p"]
    others = [MemGroup(base=65536) for _ in range(200)]
    taken = [other.alloc(100).address for other in others]
    assert not {address // 4096 for address in taken} & {address // 4096 for address in addresses}
    del holders
    assert [access_to(address) for address in addresses].count("---p") == 0


STALE = """
    import numpy as np
    group = MemGroup(backing=sys.argv[1])
    block = group.copy(b"A" * 1000)
    shown = group.protect(block) if sys.argv[2] == "protected" else block
    array = np.ndarray((1000,), "u1", buffer=shown)
    del block, shown
    group.free(force=True)
    others = [MemGroup() for _ in range(200)]
    kept = [other.copy(b"B" * 60000) for other in others]
    print("before", flush=True)
    print("other data:", bytes(array[:10]))
"""


@pytest.mark.parametrize("how", ["writable", "protected"])
def test_a_stale_access_is_a_segfault_and_never_other_data(child, mirrored, how):
    pytest.importorskip("numpy")
    child.segfaults(STALE, mirrored, how)


def test_a_stale_access_to_an_anonymous_group_is_a_segfault(child):
    pytest.importorskip("numpy")
    child.segfaults(STALE, "anonymous", "writable")


def test_no_safe_code_crashes_after_a_free_without_force(backing):
    np = pytest.importorskip("numpy")
    group = MemGroup(backing=backing)
    blocks = [group.copy(CONTENTS), group.copy(CONTENTS)[6:], group.alloc(300_000, zero=True)]
    if backing != "anonymous":
        blocks.append(group.protect(blocks[0]))
    arrays = [np.ndarray((len(block),), "u1", buffer=block) for block in blocks]
    expected = [array.tobytes() for array in arrays]
    del blocks
    held = group.free()
    others = [MemGroup() for _ in range(50)]
    for other in others:
        other.copy(b"\xff" * 60000)
    assert [array.tobytes() for array in arrays] == expected
    arrays[0][0] = arrays[0][0] ^ 1
    assert group.free() == held > 0
    arrays.clear()
    assert group.free() == 0


def test_a_forced_free_takes_memory_that_a_strict_one_left_to_exporters(name):
    group = MemGroup(name=name)
    block = group.copy(CONTENTS)
    address = block.address
    assert group.free() > 0
    assert access_to(address) == "rw-s"
    assert group.free(force=True) == 0
    assert access_to(address) == "---p"
    assert mappings(name) == 0
    assert group.free() == 0


# 3. free(force=True)


def test_forced_free_gives_memory_back_over_live_views(name, child):
    group = MemGroup(name=name)
    view = memoryview(group.copy(CONTENTS))
    group.free(force=True)
    assert mappings(name) == 0
    view.release()
    child.segfaults("""
        group = MemGroup()
        view = memoryview(group.copy(b"A" * 1000))
        group.free(force=True)
        others = [MemGroup().copy(b"B" * 60000) for _ in range(200)]
        print("before", flush=True)
        print("other data:", bytes(view))
    """)


def test_memory_of_a_forced_free_is_really_given_back(child):
    given_back = child.output("""
        def shared():
            fields = dict(line.split(":") for line in open("/proc/self/status"))
            return sum(int(fields[name].split()[0]) for name in ("RssShmem", "RssFile", "RssAnon"))
        warnings.simplefilter("ignore")
        group = MemGroup()
        block = group.alloc(100 << 20, zero=False)
        view = memoryview(block)
        ctypes.memset(block.address, 1, 100 << 20)
        before = shared()
        group.free(force=True)
        print((before - shared()) >> 10)
    """)
    assert int(given_back) >= 99
