"""Crashes: every way into memory that nobody may write, and what is said of it before the process dies.

The exact signal, the exact words; and the bytes are what they were.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import crashes
from support.crashes import (
    BEFORE,
    BEHIND,
    CHANGED,
    DATA,
    FREED,
    KEPT,
    NO_PAGE,
    PROTECTED,
    Nursery,
    crash,
    report,
)

# One group of four full slots. A child of the nursery shares them with it: what it has changed would be seen.
FULL = """
    memgroup.enable_fault_report()
    group = MemGroup(base=65536, name="crash", backing=BACKING)
    blocks = [group.alloc(65536 << i) for i in range(4)]
    for i, block in enumerate(blocks):
        block[:] = bytes([0x50 + i]) * len(block)
    shown = [group.protect(block) for block in blocks]
    first = {"read-write": [b.address for b in blocks], "read-only": [b.address for b in shown]}


    def unchanged():
        return all(bytes(block) == bytes([0x50 + i]) * len(block) for i, block in enumerate(blocks))
"""


@pytest.fixture(scope="module", params=["memfd", "directory"])
def nursery(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    directory = str(tmp_path_factory.mktemp("crash")) if request.param == "directory" else request.param
    made = Nursery(kind=request.param)
    made.run(FULL, BACKING=directory)
    yield made
    made.close()


@pytest.fixture(scope="module")
def empty() -> Iterator[Nursery]:
    """One in which nothing has happened yet."""
    made = Nursery()
    yield made
    made.close()


def addresses(nursery: Nursery) -> dict[str, list[int]]:
    return eval(nursery.run("print(first)"))


def unchanged(nursery: Nursery) -> None:
    assert nursery.run("print(unchanged())") == "True\n"


# The edges of the mirrors


@pytest.mark.parametrize("slot", range(4))
@pytest.mark.parametrize("edge", ["first", "last", "middle"])
def test_a_store_into_the_read_only_mirror_is_a_crash_that_names_the_object(nursery, slot, edge):
    capacity = 65536 << slot
    offset = {"first": 0, "last": capacity - 1, "middle": capacity // 2 + 1}[edge]
    address = addresses(nursery)["read-only"][slot] + offset
    ended = nursery.child("store(ADDRESS)", ADDRESS=address)
    found = f"byte {offset} of a block of {capacity} bytes at offset 0"
    place = {"slot": slot, "capacity": capacity, "offset": offset, "obj": found}
    crash(ended, report("write", address, "in the read-only mirror", PROTECTED, ended.pid, **place))
    unchanged(nursery)


@pytest.mark.parametrize("slot", range(4))
@pytest.mark.parametrize("mirror", ["read-write", "read-only"])
@pytest.mark.parametrize("side", ["before", "behind"])
@pytest.mark.parametrize("access", ["read", "write"])
def test_one_byte_beside_a_mirror_is_a_crash(nursery, slot, mirror, side, access):
    capacity = 65536 << slot
    start = addresses(nursery)[mirror][slot]
    address = start - 1 if side == "before" else start + capacity
    ended = nursery.child(
        {"read": "load(ADDRESS)", "write": "store(ADDRESS)"}[access],
        ADDRESS=address,
    )
    where = f"1 byte {side} the {mirror} mirror"
    found = f"1 byte {side} a block of {capacity} bytes at offset 0"
    why = BEFORE if side == "before" else BEHIND
    crash(ended, report(access, address, where, why, ended.pid, slot=slot, capacity=capacity, obj=found))
    unchanged(nursery)


@pytest.mark.parametrize("mirror", ["read-write", "read-only"])
@pytest.mark.parametrize("away", [-4096, -1000, 1000, 4096])
def test_a_page_beside_a_mirror_is_a_guard(nursery, mirror, away):
    start = addresses(nursery)[mirror][0]
    address = start + away if away < 0 else start + 65535 + away
    ended = nursery.child("load(ADDRESS)", ADDRESS=address)
    side, why = ("before", BEFORE) if away < 0 else ("behind", BEHIND)
    # Between the mirrors, what is nearer to the other one is taken for one of that.
    assert ended.status == -signal.SIGSEGV
    assert f"memgroup: read at {address:#x}, " in ended.err
    if abs(away) == 1000:
        where = f"1000 bytes {side} the {mirror} mirror"
        found = f"1000 bytes {side} a block of 65536 bytes at offset 0"
        crash(ended, report("read", address, where, why, ended.pid, obj=found))


@pytest.mark.parametrize("slot", range(4))
def test_what_may_be_done_at_the_edges_can_be(nursery, slot):
    nursery.run(
        """
        for mirror in first:
            for at in (0, (65536 << SLOT) - 1):
                assert load(first[mirror][SLOT] + at) == 0x50 + SLOT
        for at in (0, (65536 << SLOT) - 1):
            store(first["read-write"][SLOT] + at, 7)
            assert load(first["read-only"][SLOT] + at) == 7
            store(first["read-write"][SLOT] + at, 0x50 + SLOT)
        """,
        SLOT=slot,
    )
    unchanged(nursery)


# Stores of other kinds

STORES = {
    "memset": "ctypes.memset(ADDRESS, 1, 100)",
    "memmove": "ctypes.memmove(ADDRESS, bytes(100), 100)",
    "strcpy": "libc.strcpy(pointer(ADDRESS), b'abc')",
    "a typed store": "ctypes.c_uint64.from_address(ADDRESS).value = 1",
    "decrement (pthread_spin_lock)": "libc.pthread_spin_lock(pointer(ADDRESS))",
    "exchange (pthread_spin_trylock)": "libc.pthread_spin_trylock(pointer(ADDRESS))",
    "add (sem_post)": "libc.sem_post(pointer(ADDRESS))",
    "the same value again": "store(ADDRESS, 0x50)",
    "through a copy of the pointer in a thread": """
        work = lambda: (print(threading.get_native_id(), flush=True), store(ADDRESS))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """,
}


@pytest.mark.parametrize("how", STORES)
def test_every_kind_of_store_is_the_same_crash(nursery, how):
    address = addresses(nursery)["read-only"][0] + 64
    ended = nursery.child(STORES[how], ADDRESS=address)
    tid = int(ended.out) if ended.out else None
    found = "byte 64 of a block of 65536 bytes at offset 0"
    where = "in the read-only mirror"
    expected = report("write", address, where, PROTECTED, ended.pid, offset=64, obj=found, tid=tid)
    crash(ended, expected)
    unchanged(nursery)


# What the kernel refuses to do on anybody's behalf. `AT` is the read-only mirror of slot 0, `n` a page.

REFUSED = {
    "read": ("libc.read(os.open('/dev/zero', os.O_RDONLY), pointer(AT), n)", "EFAULT"),
    "pread": ("libc.pread(os.open(__import__('sys').executable, os.O_RDONLY), pointer(AT), n, 0)", "EFAULT"),
    "read across the lower edge": (
        "libc.read(os.open('/dev/zero', os.O_RDONLY), pointer(AT - n), 2 * n)",
        "EFAULT",
    ),
    "readv": (
        """
            vector = (ctypes.c_void_p * 2)(AT, n)
            result = libc.readv(os.open('/dev/zero', os.O_RDONLY), vector, 1)
        """,
        "EFAULT",
    ),
    "recv": (
        "(s := socket.socketpair())[0].send(b'x' * 100); "
        "result = libc.recv(s[1].fileno(), pointer(AT), 100, 0)",
        "EFAULT",
    ),
    "recv of datagrams": (
        "(s := socket.socketpair(type=socket.SOCK_DGRAM))[0].send(b'x' * 100); "
        "result = libc.recv(s[1].fileno(), pointer(AT), 100, 0)",
        "EFAULT",
    ),
    "read of a pipe": (
        "(p := os.pipe()); os.write(p[1], b'x'); result = libc.read(p[0], pointer(AT), 1)",
        "EFAULT",
    ),
    "getrandom": ("libc.getrandom(pointer(AT), 16, 0)", "EFAULT"),
    "getcwd": ("libc.syscall(79 if os.uname().machine == 'x86_64' else 17, pointer(AT), n)", "EFAULT"),
    "readlink": ("libc.readlink(b'/proc/self/exe', pointer(AT), n)", "EFAULT"),
    "sched_getaffinity": ("libc.sched_getaffinity(0, 128, pointer(AT))", "EFAULT"),
    "process_vm_writev": (
        """
            data = ctypes.create_string_buffer(b"overwritten")
            here, there = (ctypes.c_void_p * 2)(ctypes.addressof(data), 11), (ctypes.c_void_p * 2)(AT, 11)
            result = libc.process_vm_writev(os.getpid(), here, 1, there, 1, 0)
        """,
        "EFAULT",
    ),
    "process_vm_writev from another process": (
        """
            victim = os.getppid()
            data = ctypes.create_string_buffer(b"overwritten")
            here, there = (ctypes.c_void_p * 2)(ctypes.addressof(data), 11), (ctypes.c_void_p * 2)(AT, 11)
            result = libc.process_vm_writev(victim, here, 1, there, 1, 0)
        """,
        "EFAULT EPERM",
    ),
    "/proc/self/mem": (
        "libc.pwrite(os.open('/proc/self/mem', os.O_RDWR), b'overwritten', 11, ctypes.c_long(AT))",
        "EIO EFAULT",
    ),
    "/proc/PID/mem of another process": (
        "libc.pwrite(os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR), b'overwritten', 11, ctypes.c_long(AT))",
        "EIO EFAULT EACCES",
    ),
    "mprotect, write": ("libc.mprotect(pointer(AT), n, mmap.PROT_WRITE)", "EACCES"),
    "mprotect, read and write": ("libc.mprotect(pointer(AT), n, mmap.PROT_READ | mmap.PROT_WRITE)", "EACCES"),
    "mprotect of all": ("libc.mprotect(pointer(AT), 65536, mmap.PROT_READ | mmap.PROT_WRITE)", "EACCES"),
    "pkey_mprotect": ("libc.pkey_mprotect(pointer(AT), n, mmap.PROT_READ | mmap.PROT_WRITE, -1)", "EACCES"),
    "MADV_REMOVE": ("libc.madvise(pointer(AT), n, 9)", "EACCES EPERM EINVAL"),
    "MADV_FREE": ("libc.madvise(pointer(AT), n, 8)", "EINVAL"),
    "MADV_WIPEONFORK": ("libc.madvise(pointer(AT), n, 18)", "EINVAL"),
    "MADV_POPULATE_WRITE": ("libc.madvise(pointer(AT), n, 23)", "EINVAL EFAULT"),
    "MADV_DONTNEED, which forgets nothing": ("libc.madvise(pointer(AT), n, 4)", ""),
    "MADV_PAGEOUT": ("libc.madvise(pointer(AT), n, 21)", ""),
    "msync": ("libc.msync(pointer(AT), n, 4)", ""),
    "mremap, a copy made writable": (
        """
            copy = libc.mremap(pointer(AT), 0, ctypes.c_size_t(n), 1)
            assert copy not in (None, 2**64 - 1) and ctypes.string_at(copy, n) == ctypes.string_at(AT, n)
            result = libc.mprotect(pointer(copy), n, mmap.PROT_READ | mmap.PROT_WRITE)
        """,
        "EACCES",
    ),
    "mremap, grown into the guard": (
        "libc.mremap(pointer(AT), 65536, ctypes.c_size_t(65536 + n), 0) or -1",
        "ENOMEM",
    ),
}


@pytest.mark.parametrize("how", REFUSED)
def test_the_kernel_writes_there_for_nobody(nursery, how):
    code, errors = REFUSED[how]
    code = code if "result = " in code else f"result = {code}"
    ended = nursery.child(
        f"""
n, AT = PAGE, first["read-only"][0]
if not {code.count("os.getppid")}:
    before = ctypes.string_at(AT, 65536)
{crashes.textwrap.dedent(code).strip()}
number = ctypes.get_errno()
result = ctypes.c_int(result).value
print(errno.errorcode[number] if result == -1 else result)
assert ctypes.string_at(AT, 65536) == bytes([0x50]) * 65536
"""
    )
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.strip() in (errors.split() or ["0"])
    unchanged(nursery)


# Descriptors that root can get at again, of sealed memory

REOPENED = {
    "a new writable mapping": "mmap.mmap(fd, PAGE)",
    "pwrite": "os.pwrite(fd, b'overwritten', 0)",
    "ftruncate": "os.ftruncate(fd, 0)",
    "growing": "os.ftruncate(fd, 1 << 20)",
    "PUNCH_HOLE": "libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(PAGE)) == 0 or raise_errno()",
    "ZERO_RANGE": "libc.fallocate(fd, 16, ctypes.c_long(0), ctypes.c_long(PAGE)) == 0 or raise_errno()",
    "another seal": "__import__('fcntl').fcntl(fd, 1033, 1)",
}


@pytest.mark.parametrize("mirror", ["read-write", "read-only"])
@pytest.mark.parametrize("how", REOPENED)
def test_a_reopened_descriptor_of_a_memfd_writes_nothing(nursery, mirror, how):
    if nursery.kind != "memfd":
        pytest.skip("files are not sealed: root can reopen and write them")
    ended = nursery.child(
        f"""
        def raise_errno():
            raise OSError(ctypes.get_errno(), "")


        start = first["{mirror}"][0]
        try:
            fd = os.open(f"/proc/self/map_files/{{start:x}}-{{start + 65536:x}}", os.O_RDWR)
        except OSError as error:
            print(f"skipped: {{error}}")
            os._exit(0)
        try:
            print("done", {REOPENED[how]})
        except OSError as error:
            print(errno.errorcode[error.errno])
        """
    )
    if ended.out.startswith("skipped: "):
        pytest.skip(f"needs the right to open /proc/self/map_files: {ended.out}")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.strip() in ("EPERM", "EOPNOTSUPP", "ENOTSUP")
    unchanged(nursery)


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
        other.free()
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


def test_the_guards_of_a_freed_group_are_no_better(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="gone")
        block = group.copy(b"x" * 100)
        address = block.address
        group.free()
        print(address, flush=True)
        load(address - 1)
        """
    )
    address = int(ended.out) - 1
    where, found = "1 byte before the read-write mirror", "1 byte before a block of 100 bytes at offset 0"
    crash(ended, report("read", address, where, FREED, ended.pid, obj=found, group='freed group "gone"'))


def test_a_store_into_memory_that_is_kept_warm_says_whose_it_was(empty):
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


def test_addresses_that_are_given_back_are_nobodys(empty):
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
def test_a_mapping_that_somebody_changed_is_recognised(empty, access, how):
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
            print("skipped", error)
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
        (5304, None),  # too far from any
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
def test_names_are_shown_in_quotes_and_obeyed_by_no_terminal(empty, name, shown):
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


# Who else hears of it

CRASH = """
    group = MemGroup(name="crash")
    shown = group.protect(group.alloc(16))
    print(shown.address, flush=True)
    store(shown.address)
"""
TRACEBACK = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x"


def said_of(ended: crashes.Ended, tid: int | None = None) -> str:
    found = "byte 0 of a block of 16 bytes at offset 0"
    address, where = int(ended.out.split()[0]), "in the read-only mirror"
    return report("write", address, where, PROTECTED, ended.pid, offset=0, obj=found, tid=tid)


def test_faulthandler_before(empty):
    ended = empty.child("    faulthandler.enable()\n    memgroup.enable_fault_report()" + CRASH)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.startswith(said_of(ended) + TRACEBACK)
    assert ended.err.count("memgroup:") == ended.err.count("Fatal") == 1


def test_faulthandler_after(empty):
    ended = empty.child("    memgroup.enable_fault_report()\n    faulthandler.enable()" + CRASH)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.startswith(TRACEBACK)
    assert ended.err.endswith(said_of(ended))
    assert ended.err.count("memgroup:") == ended.err.count("Fatal") == 1


def test_faulthandler_after_in_a_thread_without_a_signal_stack(empty):
    crash_in_thread = """
        memgroup.enable_fault_report()
        faulthandler.enable()
        group = MemGroup(name="crash")
        shown = group.protect(group.alloc(16))
        print(shown.address, flush=True)

        def work():
            print(threading.get_native_id(), flush=True)
            store(shown.address)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    ended = empty.child(crash_in_thread)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.startswith("Fatal Python error: Segmentation fault\n\n")
    assert ended.err.endswith(said_of(ended, int(ended.out.split()[1])))


CHAINS = {
    "on, handler, off": ("ON FH OFF", True, False),
    "handler, on, off": ("FH ON OFF", True, False),
    "on, handler, off, on": ("ON FH OFF ON", True, True),
    "on, handler, on": ("ON FH ON", True, True),
    "on, handler, on, off": ("ON FH ON OFF", True, False),
    "on, handler, no handler": ("ON FH NOFH", False, True),
    "handler, on, no handler": ("FH ON NOFH", False, False),  # faulthandler takes the signal with it
    "handler, on, no handler, on": ("FH ON NOFH ON", False, True),
    "off": ("OFF", False, False),
    "on, off": ("ON OFF", False, False),
    "on, on, off": ("ON ON OFF", False, False),
    "on, off a hundred times, on": ("ON OFF " * 100 + "ON", False, True),
    "handler between, a hundred times": ("ON FH OFF NOFH " * 100 + "ON FH", True, True),
    "all a hundred times": ("ON FH ON OFF ON NOFH " * 100 + "ON", False, True),
}
STEPS = {
    "ON": "memgroup.enable_fault_report()",
    "OFF": "memgroup.disable_fault_report()",
    "FH": "faulthandler.enable()",
    "NOFH": "faulthandler.disable()",
}


@pytest.mark.parametrize("chain", CHAINS)
def test_handlers_come_and_go_in_any_order(empty, chain):
    steps, traceback, reported = CHAINS[chain]
    ended = empty.child("\n".join(f"    {STEPS[step]}" for step in steps.split()) + CRASH)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.count("Fatal Python error") == traceback
    assert ended.err.count("memgroup: ") == reported
    assert (said_of(ended) in ended.err) == reported


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS])
@pytest.mark.parametrize("before", ["", "signal.signal(NUMBER, signal.SIG_IGN)"], ids=["default", "ignored"])
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), NUMBER)", "signal.raise_signal(NUMBER)"])
def test_signals_that_are_no_faults_do_what_they_did(empty, number, before, how):
    code = f"{before or 'pass'}; memgroup.enable_fault_report(); {how}; print('survived')"
    ended = empty.child(code, NUMBER=int(number))
    survived = "IGN" in before
    assert (ended.status, ended.out, ended.err) == (0 if survived else -number, "survived\n" * survived, "")


@pytest.mark.parametrize(
    "how", ["ctypes.string_at(8)", "ctypes.memset(load.__code__.co_consts.__hash__() | 1 << 63, 0, 1)"]
)
@pytest.mark.parametrize(
    "before", ["pass", "signal.signal(signal.SIGSEGV, signal.SIG_IGN)"], ids=["default", "ignored"]
)
def test_faults_elsewhere_are_passed_on_in_silence(empty, how, before):
    ended = empty.child(f"{before}; memgroup.enable_fault_report(); groups = [MemGroup(), MemGroup()]; {how}")
    crash(ended, "")


def test_a_handler_of_pythons_may_replace_it(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        signal.signal(signal.SIGSEGV, lambda *_: None)
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        """
        + CRASH.replace("\n    ", "\n        ")
    )
    crash(ended, "")


HANDLER = """
    class Action(ctypes.Structure):
        _fields_ = [
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_ulong * 16),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        ]


    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def handler(number, info, context):
        address = ctypes.c_void_p.from_address(info + 16).value
        mask = (ctypes.c_ulong * 16)()
        libc.pthread_sigmask(0, None, mask)
        blocked = [bool(mask[0] >> bit & 1) for bit in (10, 9)]
        print("handler", number, address == shown.address, *blocked, flush=True)
        os._exit(42)


    def install(flags):
        action = Action(handler=ctypes.cast(handler, ctypes.c_void_p), flags=flags | 4)
        action.mask[0] = 1 << 9  # SIGUSR1
        assert libc.sigaction(11, ctypes.byref(action), None) == 0
"""


@pytest.mark.parametrize(("flags", "blocked"), [(0, True), (0x40000000, False)], ids=["plain", "SA_NODEFER"])
def test_an_earlier_handler_gets_what_it_would_have_got(empty, flags, blocked):
    code = HANDLER + f"\n    install({flags})\n    memgroup.enable_fault_report()" + CRASH
    ended = empty.child(code)
    assert ended.status == 42
    assert ended.out.splitlines()[1] == f"handler 11 True {blocked} True"
    assert ended.err == said_of(ended)


def test_a_later_handler_gets_it_first(empty):
    ended = empty.child(HANDLER + "\n    memgroup.enable_fault_report()\n    install(0)" + CRASH)
    assert (ended.status, ended.err) == (42, "")


# Threads, forks, stacks


def test_a_fault_in_a_forked_child_is_the_childs(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        shown = group.protect(group.alloc(16))
        print(shown.address, flush=True)
        child = os.fork()
        if child == 0:
            store(shown.address)
        print(child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        """
    )
    assert ended.status == 0
    address, child, status = map(int, ended.out.split())
    assert status == -signal.SIGSEGV
    found = "byte 0 of a block of 16 bytes at offset 0"
    where = "in the read-only mirror"
    assert ended.err == report("write", address, where, PROTECTED, child, offset=0, obj=found)


def test_a_child_knows_nothing_of_what_its_parent_kept_warm(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        address = group.protect(group.alloc(16)).address
        del group
        assert memgroup.warm_memory().slots == 1
        child = os.fork()
        if child == 0:
            assert access_to(address) is access_to(address - 1) is None  # nor of its guards
            store(address)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        store(address)
        """
    )
    assert (ended.status, ended.out) == (-signal.SIGSEGV, f"{-signal.SIGSEGV}\n")
    assert ended.err.count("memgroup: ") == 1
    assert ended.err.endswith(f"in thread {ended.pid} of process {ended.pid}\n")


def test_many_threads_that_fault_at_once_leave_whole_reports(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        shown = [group.protect(group.alloc(16)) for _ in range(8)]
        gate = threading.Barrier(8)

        def work(block):
            gate.wait()
            ctypes.memset(block.address, 0, 16)

        threads = [threading.Thread(target=work, args=(block,)) for block in shown]
        for thread in threads:
            thread.start()
        threads[0].join()
        """
    )
    assert ended.status == -signal.SIGSEGV
    reports = ended.err.split("memgroup: ")[1:]
    assert 1 <= len(reports) <= 8
    assert all(len(said.splitlines()) == 6 for said in reports)


def test_a_stack_overflow_dies_as_before(empty):
    code = """
        memgroup.enable_fault_report()
        overflow = ctypes.CFUNCTYPE(None)
        @overflow
        def deeper():
            deeper()
        sys.setrecursionlimit(10**9)
        threading.stack_size(1 << 18)
        thread = threading.Thread(target=deeper)
        thread.start()
        thread.join()
    """
    ended = empty.child(code)
    crash(ended, "")


def test_reports_do_not_wait_for_who_does_not_listen(empty):
    ended = empty.child("    memgroup.enable_fault_report()\n    os.close(2)" + CRASH)
    assert (ended.status, ended.err) == (-signal.SIGSEGV, "")


def test_errno_survives_a_fault_that_is_handled(empty):
    # A handler returns when it has mended the cause: the program goes on, and nothing of it has changed.
    ended = empty.child(
        """
        class Action(ctypes.Structure):
            _fields_ = [
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_ulong * 16),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        ]

        @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        def mend(number, info, context):
            libc.mprotect(pointer(page), ctypes.c_size_t(PAGE), 3)

        page = libc.mmap(None, ctypes.c_size_t(PAGE), 0, 0x22, -1, 0)
        action = Action(handler=ctypes.cast(mend, ctypes.c_void_p), flags=4)
        assert libc.sigaction(11, ctypes.byref(action), None) == 0
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        for round in range(3):
            ctypes.set_errno(77)
            store(page, 5)
            assert load(page) == 5
            libc.mprotect(pointer(page), ctypes.c_size_t(PAGE), 0)
        assert ctypes.get_errno() == 77
        print("went on", flush=True)
        """
    )
    assert (ended.status, ended.out, ended.err) == (0, "went on\n", "")


# Switching it on


@pytest.mark.parametrize(
    ("value", "reported", "warned"),
    [("1", True, False), (" 1 ", True, False), ("0", False, False), ("", False, False), ("yes", False, True)],
)
def test_the_environment_switches_it_on(value, reported, warned):
    crashes_ = Nursery(MEMGROUP_FAULT_REPORT=value, PYTHONWARNINGS="ignore")
    ended = crashes_.child(CRASH)
    crash(ended, said_of(ended) if reported else "")
    crashes_.close()


def test_nonsense_in_the_environment_is_a_warning(child, monkeypatch):
    monkeypatch.setenv("MEMGROUP_FAULT_REPORT", "yes")
    ended = child.run("print('imported')")
    assert (ended.returncode, ended.stdout) == (0, "imported\n")
    assert (
        'RuntimeWarning: memgroup: MEMGROUP_FAULT_REPORT must be 1 or 0, not "yes": it is ignored'
        in ended.stderr
    )


# How it looks


def on_a_terminal(code: str, **environment: str) -> str:
    """What a child that crashes shows on a terminal."""
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", code], clean | environment)
    shown = b""
    with contextlib.suppress(OSError):  # the other end was closed
        while more := os.read(terminal, 4096):
            shown += more
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV
    return shown.decode()


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_colours_are_for_terminals_that_know_them(environment, coloured):
    shown = on_a_terminal(
        crashes.textwrap.dedent(crashes.PREPARATION)
        + "memgroup.enable_fault_report(); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        + crashes.textwrap.dedent(CRASH),
        **environment,
    )
    address, said = shown.replace("\r\n", "\n").split("\n", 1)
    assert ("\x1b[" in said) == coloured
    if coloured:
        head, *lines = said.splitlines()
        assert head.startswith("\x1b[1;31mmemgroup:\x1b[0m \x1b[1mwrite at ")
        assert head.endswith("\x1b[0m")
        assert all(line.startswith("  \x1b[2m") for line in lines)
    plain = re.sub("\x1b\\[[0-9;]*m", "", said)
    pid = int(plain.split()[-1])
    assert plain == said_of(crashes.Ended(pid, 0, address, plain))


PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_page_on_faults_shows_what_is_said(empty):
    """The samples of the page are what its programs say, but for numbers that differ in each run."""
    page = PAGE.read_text()
    samples = re.findall(r"```python no-run\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert len(samples) == 3
    for program, expected in samples:
        ended = empty.child(program)
        assert ended.status == -signal.SIGSEGV
        assert numberless(ended.err) == numberless(expected)


def numberless(text: str) -> str:
    text = re.sub(r"0x[0-9a-f]{12}\b", "ADDRESS", text)
    return re.sub(r"thread \d+ of process \d+", "thread T of process P", text)
