"""Crashes in a group's memory: the group, the slot and the object in the report."""

from __future__ import annotations

import signal

import pytest
from support.crashes import (
    BEFORE,
    CHANGED,
    DATA,
    FREED,
    KEPT,
    NO_PAGE,
    PROTECTED,
    crash,
    report,
)

# The end of a group


@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize("mirror", ["read-write", "read-only"])
@pytest.mark.parametrize("offset", [0, 99, 65535])
def test_the_addresses_of_a_freed_group_are_a_crash_that_says_so(nursery, access, mirror, offset):
    ended = nursery.child(
        f"""
        other = MemGroup(name="gone", backing=group.backing)
        block = other.copy(b"x" * 100)
        if "{mirror}" == "read-only":
            block = other.protect(block)
        address = block.address
        other.free(force=True)
        assert access_to(address) == "---p"
        print(address, flush=True)
        {"load" if access == "read" else "store"}(address + {offset})
        """
    )
    address = int(ended.out) + offset
    found = f"byte {offset} of a block of 100 bytes at offset 0" if offset < 100 else None
    where = f"in the {mirror} mirror"
    place = {"offset": offset, "obj": found, "group": 'freed group "gone"'}
    crash(ended, report(access, address, where, FREED, ended.pid, **place))


def test_touching_the_guards_of_a_freed_group_is_a_crash_too(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="gone")
        block = group.copy(b"x" * 100)
        address = block.address
        group.free(force=True)
        print(address, flush=True)
        load(address - 1)
        """
    )
    address = int(ended.out) - 1
    where, found = "1 byte before the read-write mirror", "1 byte before a block of 100 bytes at offset 0"
    crash(ended, report("read", address, where, FREED, ended.pid, obj=found, group='freed group "gone"'))


def test_a_store_into_warm_memory_names_its_former_group(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="was mine")
        address = group.protect(group.copy(b"x" * 100)).address
        group.free()
        assert memgroup.warm_memory().slots == 1
        print(address, flush=True)
        store(address)
        """
    )
    address = int(ended.out)
    place = {"offset": 0, "group": 'group "was mine"'}
    crash(ended, report("write", address, "in the read-only mirror", KEPT, ended.pid, **place))


def test_memory_that_goes_from_group_to_group_is_called_by_the_last_name(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        for name in ("one", "another name, which is longer", "x"):
            group = MemGroup(name=name)
            shown = group.protect(group.copy(b"x" * 100))
            print(shown.address, flush=True)
            if name != "x":
                del shown, group
        store(shown.address)
        """
    )
    one, other, address = map(int, ended.out.split())
    assert one == other == address
    found = "byte 0 of a block of 100 bytes at offset 0"
    place = {"offset": 0, "obj": found, "group": 'group "x"'}
    crash(ended, report("write", address, "in the read-only mirror", PROTECTED, ended.pid, **place))


def test_faults_at_addresses_that_were_given_back_are_not_reported(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        memgroup.set_warm_limit(0)
        group = MemGroup()
        address = group.copy(b"x" * 100).address
        group.free()
        load(address)
        """
    )
    crash(ended, "")


# Other faults in a group's memory


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_a_jump_into_data_is_told_from_a_read(empty, backing):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash", backing=BACKING)
        block = group.copy(b"\\xc3" * 100)
        print(block.address, flush=True)
        ctypes.CFUNCTYPE(None)(block.address)()
        """,
        BACKING=backing,
    )
    where = "in the memory" if backing == "anonymous" else "in the read-write mirror"
    found = "byte 0 of a block of 100 bytes at offset 0"
    crash(ended, report("jump", int(ended.out), where, DATA, ended.pid, offset=0, obj=found))


@pytest.mark.parametrize("access", ["read", "write"])
@pytest.mark.parametrize("how", ["mprotect", "munmap"])
def test_a_mapping_that_was_changed_is_recognised(empty, access, how):
    ended = empty.child(
        f"""
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        block = group.copy(b"x" * 100)
        print(block.address, flush=True)
        assert libc.{how}(pointer(block.address), ctypes.c_size_t(65536), 0) == 0
        {"load" if access == "read" else "store"}(block.address + 7)
        """
    )
    found = "byte 7 of a block of 100 bytes at offset 0"
    address, where = int(ended.out) + 7, "in the read-write mirror"
    crash(ended, report(access, address, where, CHANGED, ended.pid, offset=7, obj=found))


def test_a_file_that_was_cut_short_is_sigbus_with_a_report(empty, tmp_path):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash", backing=BACKING)
        block = group.copy(b"x" * 100)
        start = block.address
        print(start, flush=True)
        try:
            fd = os.open(f"/proc/self/map_files/{start:x}-{start + 65536:x}", os.O_RDWR)
        except OSError as error:
            print("skipped", error, flush=True)
            os._exit(0)
        os.ftruncate(fd, 0)
        load(start + 5)
        """,
        BACKING=str(tmp_path),
    )
    if "skipped" in ended.out:
        pytest.skip(f"needs the right to open /proc/self/map_files: {ended.out}")
    found = "byte 5 of a block of 100 bytes at offset 0"
    where = "in the read-write mirror"
    place = {"offset": 5, "obj": found, "signal_name": "SIGBUS"}
    expected = report("read", int(ended.out) + 5, where, NO_PAGE, ended.pid, **place)
    crash(ended, expected, signal.SIGBUS)


# Which object

MANY = """
    memgroup.enable_fault_report()
    group = MemGroup(name="crash")
    group.alloc(1000)
    block = group.alloc(200)
    shown = group.protect(block)
    part = shown[50:60]
    base = shown.address - 1008
    print(base, flush=True)
"""


@pytest.mark.parametrize(
    ("offset", "found"),
    [
        (1008, "byte 0 of a block of 200 bytes at offset 1008"),
        (1057, "byte 49 of a block of 200 bytes at offset 1008"),
        (1058, "byte 0 of a block of 10 bytes at offset 1058"),
        (1067, "byte 9 of a block of 10 bytes at offset 1058"),
        (1068, "byte 60 of a block of 200 bytes at offset 1008"),
        (1207, "byte 199 of a block of 200 bytes at offset 1008"),
        (1208, "1 byte behind a block of 200 bytes at offset 1008"),
        (1007, "1 byte before a block of 200 bytes at offset 1008"),
        (8, "1000 bytes before a block of 200 bytes at offset 1008"),
        (5304, None),  # too far from any object
    ],
)
def test_the_smallest_or_the_nearest_object_is_named(empty, offset, found):
    ended = empty.child(MANY + "    memoryview(part)\n    store(base + OFFSET)", OFFSET=offset)
    address, where = int(ended.out) + offset, "in the read-only mirror"
    crash(ended, report("write", address, where, PROTECTED, ended.pid, offset=offset, obj=found))


@pytest.mark.parametrize(
    "end",
    ["del shown, part", "memgroup.disable_fault_report(); del shown, part; memgroup.enable_fault_report()"],
)
def test_objects_that_are_gone_are_not_named(empty, end):
    ended = empty.child(MANY + f"    {end}\n    store(base + 1008)")
    address, where = int(ended.out) + 1008, "in the read-only mirror"
    crash(ended, report("write", address, where, PROTECTED, ended.pid, offset=1008))


def test_objects_from_before_reports_were_on_are_not_named_and_their_slots_are(empty):
    ended = empty.child(
        """
        group = MemGroup(name="crash")
        shown = group.protect(group.alloc(200))
        print(shown.address, flush=True)
        memgroup.enable_fault_report()
        store(shown.address)
        """
    )
    crash(ended, report("write", int(ended.out), "in the read-only mirror", PROTECTED, ended.pid, offset=0))


def test_twenty_thousand_exporters_can_be_told_apart(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash", base=1 << 24)
        views = [memoryview(group.protect(block)) for block in group.alloc_many(count=20_000, size=48)]
        del views[::2]
        views += [memoryview(group.protect(block)) for block in group.alloc_many(count=1000, size=16)]
        base = group.protect(group.alloc(1)).address - 20_000 * 48 - 1000 * 16
        print(base, flush=True)
        store(base + 48 * 7_777 + 40)
        """
    )
    offset = 48 * 7_777 + 40
    found = f"byte 40 of a block of 48 bytes at offset {offset - 40}"
    place = {"offset": offset, "obj": found, "capacity": 1 << 24}
    where = "in the read-only mirror"
    crash(ended, report("write", int(ended.out) + offset, where, PROTECTED, ended.pid, **place))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", '""'),
        ("Zürich 東京", '"Zürich 東京"'),
        ('a "b"\n\x1b[31mred\\', '"a \\"b\\"\\n\\u{1b}[31mred\\\\"'),
        ("x" * 80, f'"{"x" * 80}"'),
        ("ü" * 81, f'"{"ü" * 80}"...'),
        ("\x01" * 200, f'"{chr(92) + "u{1}"}' + (chr(92) + "u{1}") * 79 + '"...'),
    ],
    ids=["empty", "unicode", "control characters", "long", "too long", "longest"],
)
def test_names_are_quoted_and_harmless_to_terminals(empty, name, shown):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        block = MemGroup(name=NAME).alloc(1)
        print(block.address, flush=True)
        load(block.address - 1)
        """,
        NAME=name,
    )
    where, found = "1 byte before the read-write mirror", "1 byte before a block of 1 byte at offset 0"
    expected = report("read", int(ended.out) - 1, where, BEFORE, ended.pid, obj=found, group=f"group {shown}")
    crash(ended, expected)
