"""Crashes: every kind of access to memory without write permission, and the report before the process dies.

Each test checks the exact signal, the exact words, and that the bytes are unchanged.
"""

from __future__ import annotations

import signal

import pytest
from support import crashes
from support.crashes import (
    BEFORE,
    BEHIND,
    PROTECTED,
    Nursery,
    crash,
    report,
)


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
    # Between the mirrors, an address counts for the nearer mirror.
    assert ended.status == -signal.SIGSEGV
    assert f"memgroup: read at {address:#x}, " in ended.err
    if abs(away) == 1000:
        where = f"1000 bytes {side} the {mirror} mirror"
        found = f"1000 bytes {side} a block of 65536 bytes at offset 0"
        crash(ended, report("read", address, where, why, ended.pid, obj=found))


@pytest.mark.parametrize("slot", range(4))
def test_permitted_accesses_at_the_edges_succeed(nursery, slot):
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
    # One store of the whole: of more, processors differ in which is the first.
    "memmove": "ctypes.memmove(ADDRESS, bytes(16), 16)",
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


# System calls that the kernel refuses. `AT` is the read-only mirror of slot 0, `n` the size of a page.

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
def test_the_kernel_refuses_to_write_through_a_read_only_mirror(nursery, how):
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


# Descriptors of sealed memory that root can open again

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
            print(f"skipped: {{error}}", flush=True)
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
