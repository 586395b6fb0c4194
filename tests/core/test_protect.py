"""Protected blocks cannot be written from Python, from C or through the kernel, nor made writable again."""

from __future__ import annotations

import array
import ctypes
import errno
import io
import mmap
import operator
import os
import socket
import struct

import pytest
from conftest import assign
from memgroup import MemGroup

CONTENTS = bytes(range(100))
PAGE = mmap.PAGESIZE

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p


@pytest.fixture
def pair(mirrored):
    """A group, three blocks of it, and the middle block protected."""
    group = MemGroup(backing=mirrored)
    left, block, right = (group.copy(CONTENTS) for _ in range(3))
    protected = group.protect(block)
    yield group, protected
    # After every test, the bytes are unchanged, and the neighbouring blocks can be written.
    assert bytes(protected) == bytes(block) == CONTENTS
    left[:] = right[:] = block[:] = b"n" * 100
    assert left == right == block == protected == b"n" * 100


# From Python

WRITES = {
    "index": lambda b: assign(b, 0, 1),
    "slice": lambda b: assign(b, slice(0, 1), b"x"),
    "empty slice": lambda b: assign(b, slice(0, 0), b""),
    "stepped slice": lambda b: assign(b, slice(None, None, 2), bytes(50)),
    "slice of itself": lambda b: assign(b, slice(None), b),
    "part": lambda b: assign(b[3:9], 0, 1),
    "stepped part": lambda b: assign(b[::3], 0, 1),
    "memoryview": lambda b: assign(memoryview(b), 0, 1),
    "cast memoryview": lambda b: assign(memoryview(b).cast("i"), 0, 1),
    "nested memoryview": lambda b: assign(memoryview(memoryview(b)[1:])[1:], 0, 1),
    "delete": lambda b: operator.delitem(b, 0),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_from_python_is_a_type_error(pair, write):
    with pytest.raises(TypeError):
        write(pair[1])


def test_the_error_names_the_remedy(pair):
    with pytest.raises(TypeError, match="unprotect"):
        pair[1][0] = 1


def test_protection_shows_in_readonly(pair):
    group, protected = pair
    assert (protected.readonly, protected[2:5].readonly, protected[::-1].readonly) == (True, True, True)
    assert group.protect(protected).readonly
    assert not group.unprotect(protected).readonly
    assert memoryview(protected).readonly
    assert memoryview(protected).toreadonly().readonly


def receive_into(target):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"evil")
        ours.recv_into(target)


WRITABLE_BUFFERS = {
    "ctypes.from_buffer": lambda b: (ctypes.c_char * 4).from_buffer(b),
    "struct.pack_into": lambda b: struct.pack_into("I", b, 0, 1),
    "os.readv": lambda b: os.readv(0, [b]),
    "socket.recv_into": receive_into,
    "file.readinto": lambda b: io.BytesIO(b"x").readinto(b),
}


@pytest.mark.parametrize("fill", WRITABLE_BUFFERS.values(), ids=WRITABLE_BUFFERS)
@pytest.mark.parametrize("as_view", [False, True], ids=["block", "memoryview"])
def test_a_protected_exporter_refuses_a_writable_buffer(pair, fill, as_view):
    group, protected = pair
    target = group.protect(memoryview(group.unprotect(protected))) if as_view else protected
    with pytest.raises((TypeError, BufferError)):
        fill(target)


ARRAYS = {
    "frombuffer": lambda np, b: np.frombuffer(b, "u1"),
    "asarray": lambda np, b: np.asarray(b),
    "ndarray": lambda np, b: np.ndarray((100,), "u1", buffer=b),
    "array without copy": lambda np, b: np.array(b, copy=None, subok=True, ndmin=1).view(),
    "of a memoryview": lambda np, b: np.frombuffer(memoryview(b), "u1"),
    "part": lambda np, b: np.frombuffer(b[10:50], "u1"),
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_no_array_of_a_protected_block_can_be_made_writable(pair, make):
    np = pytest.importorskip("numpy")
    made = make(np, pair[1])
    assert not made.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        made.setflags(write=True)
    with pytest.raises(ValueError, match="WRITEABLE"):
        made[1:].view().flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 1


def test_only_unprotect_leads_back(pair):
    group, protected = pair
    view = group.protect(memoryview(protected).cast("i"))
    seen, ways = [], [protected, view, protected[1:5], protected[::2]]
    while ways:  # every object that attributes lead to
        thing = ways.pop()
        if any(thing is before for before in seen):
            continue
        seen.append(thing)
        for name in dir(thing):
            if not name.startswith("__"):
                found = getattr(thing, name)
                ways += [] if callable(found) or isinstance(found, int | str | tuple | None) else [found]
    for thing in seen:
        assert memoryview(thing).readonly
        with pytest.raises((TypeError, BufferError)):
            ctypes.c_char.from_buffer(thing)
    assert len(seen) >= 5  # the windows behind the views among them


# From C, and through the kernel

CHILD_BLOCKS = """
group = MemGroup(backing=sys.argv[1])
left, block, right = (group.copy(bytes(range(100))) for _ in range(3))
protected = group.protect(block)
address = protected.address
print("before", flush=True)
"""


@pytest.mark.parametrize("at", [0, 50, 99])
def test_a_store_through_a_protected_address_is_a_segfault(child, mirrored, at):
    store = f"ctypes.memset(address + {at}, 1, 1)\nprint('after', flush=True)"
    child.segfaults(CHILD_BLOCKS + store, mirrored)


def test_a_store_through_a_protected_view_is_a_segfault(child, mirrored):
    code = """
    view = group.protect(memoryview(block)[10:20])
    pybuffer = (ctypes.c_ssize_t * 16)()
    full = 0x011C  # PyBUF_FULL_RO
    assert ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), pybuffer, full) == 0
    ctypes.memset(pybuffer[0], 1, 1)
    print("after", flush=True)
    """
    child.segfaults(CHILD_BLOCKS + "\n".join(line.strip() for line in code.splitlines()), mirrored)


def test_a_segfault_in_a_child_changes_no_byte_of_its_parent(child, mirrored):
    """The parent of a crashed writer, which shares its memory, sees the old bytes."""
    code = """
child = os.fork()
if not child:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.memset(address, 1, 100)
    os._exit(0)
status = os.waitpid(child, 0)[1]
print(os.WTERMSIG(status), bytes(block) == bytes(protected) == bytes(range(100)))
"""
    assert child.output(CHILD_BLOCKS + code, mirrored) == "before\n11 True"


def kernel_read_v(address):
    """readv(2) of four bytes into an address."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"evil")
        vector = (ctypes.c_size_t * 2)(address, 4)
        return libc.readv(reading, vector, 1)
    finally:
        os.close(reading)
        os.close(writing)


def kernel_read(address):
    """read(2) of four bytes into an address."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"evil")
        return libc.read(reading, ctypes.c_void_p(address), ctypes.c_size_t(4))
    finally:
        os.close(reading)
        os.close(writing)


def kernel_protect(protection):
    return lambda address: libc.mprotect(*page_of(address), protection)


def kernel_advise(advice):
    return lambda address: libc.madvise(*page_of(address), advice)


def page_of(address):
    return ctypes.c_void_p(address - address % PAGE), ctypes.c_size_t(PAGE)


MADV_REMOVE, MADV_POPULATE_WRITE = 9, 23

KERNEL_WRITES = {
    "read": (kernel_read, {errno.EFAULT}),
    "readv": (kernel_read_v, {errno.EFAULT}),
    "mprotect write": (kernel_protect(mmap.PROT_WRITE), {errno.EACCES}),
    "mprotect read-write": (kernel_protect(mmap.PROT_READ | mmap.PROT_WRITE), {errno.EACCES}),
    "madvise remove": (kernel_advise(MADV_REMOVE), {errno.EACCES, errno.EPERM}),
    "madvise populate write": (kernel_advise(MADV_POPULATE_WRITE), {errno.EINVAL, errno.EFAULT}),
}


@pytest.mark.parametrize(("write", "expected"), KERNEL_WRITES.values(), ids=KERNEL_WRITES)
def test_the_kernel_refuses_to_write_through_a_protected_address(pair, write, expected):
    address = pair[1].address
    assert write(address) == -1
    assert ctypes.get_errno() in expected


def test_a_duplicate_of_a_protected_page_is_as_protected(pair):
    address = pair[1].address
    start = address - address % PAGE
    twin = libc.mremap(ctypes.c_void_p(start), ctypes.c_size_t(0), ctypes.c_size_t(PAGE), 1)
    assert twin not in (None, ctypes.c_void_p(-1).value)
    try:
        assert ctypes.string_at(twin + address % PAGE, 100) == CONTENTS
        assert libc.mprotect(ctypes.c_void_p(twin), ctypes.c_size_t(PAGE), mmap.PROT_WRITE) == -1
        assert ctypes.get_errno() == errno.EACCES
    finally:
        libc.munmap(ctypes.c_void_p(twin), ctypes.c_size_t(PAGE))


def test_proc_self_mem_cannot_write_through_a_protected_address(pair):
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(pair[1].address)
        with pytest.raises(OSError, match="Input/output error"):
            memory.write(b"evil")


# Both ways


def test_both_mirrors_show_what_is_written_to_one(pair):
    group, protected = pair
    writable = group.unprotect(protected)
    writable[5] = 77
    assert protected[5] == 77
    writable[5] = CONTENTS[5]


def test_protecting_twice_and_back_gives_the_same_addresses(pair):
    group, protected = pair
    writable = group.unprotect(protected)
    assert group.protect(writable).address == group.protect(protected).address == protected.address
    assert group.unprotect(writable).address == writable.address != protected.address


def test_a_part_can_be_protected_alone(pair):
    group, protected = pair
    block = group.unprotect(protected)
    part = group.protect(block[10:20])
    assert part == CONTENTS[10:20]
    assert part.address == protected.address + 10
    assert group.unprotect(part[2:4]).address == block.address + 12


def cast(code, *shape):
    return lambda view: view.cast("B").cast(code, shape) if shape else view.cast(code)


VIEWS = {
    **{f"format {code}": cast(code) for code in "cbB?hHiIlLqQnNfdP"},
    "part": lambda view: view[3:17],
    "stepped": lambda view: view[1::7],
    "backwards": lambda view: view[::-1],
    "backwards from within": lambda view: view[80:3:-9],
    "one element": lambda view: view[7:8],
    "empty": lambda view: view[5:5],
    "empty at the end": lambda view: view[96:96],
    "typed and stepped": lambda view: view.cast("i")[2:20:3],
    "typed and backwards": lambda view: view.cast("i")[::-2],
    "2-d": cast("B", 8, 12),
    "3-d typed": cast("h", 2, 4, 6),
    "4-d with ones": cast("i", 1, 24, 1, 1),
    "1-d of one": cast("d", 12),
}


@pytest.mark.parametrize("protected_first", [False, True], ids=["writable", "protected"])
@pytest.mark.parametrize("lay_out", VIEWS.values(), ids=VIEWS)
def test_views_keep_their_layout_both_ways(mirrored, lay_out, protected_first):
    group = MemGroup(backing=mirrored)
    block = group.copy(bytes(i % 2 for i in range(96)))
    view = lay_out(memoryview(group.protect(block) if protected_first else block))
    for made, readonly in [(group.protect(view), True), (group.unprotect(view), False)]:
        assert type(made) is memoryview
        assert made.readonly is readonly
        for what in (
            "format",
            "itemsize",
            "ndim",
            "shape",
            "strides",
            "nbytes",
            "c_contiguous",
            "f_contiguous",
        ):
            assert getattr(made, what) == getattr(view, what), what
        assert made.tobytes() == view.tobytes()
        assert made.tolist() == view.tolist()
    there = group.unprotect(group.protect(view))
    if there.nbytes:
        there[(0,) * there.ndim] = there[(-1,) * there.ndim]
        assert view.tolist() == there.tolist()


NUMPY_VIEWS = {
    "0-d": lambda a: a.reshape(-1)[:1].reshape(()),
    "fortran": lambda a: a.reshape(3, 4).T,
    "negative strides": lambda a: a.reshape(3, 4)[::-1, ::-2],
    "broadcast": lambda a: __import__("numpy").broadcast_to(a[:4], (3, 4)),
    "big endian": lambda a: a.view(">f8"),
    "record": lambda a: a.view([("a", "<i4"), ("b", "<f4")]),
    "complex": lambda a: a.view("c16"),
    "empty 3-d": lambda a: a.reshape(3, 4, 1)[:, :0],
    "overlapping windows": lambda a: __import__("numpy").lib.stride_tricks.sliding_window_view(a, 3),
}


@pytest.mark.parametrize("lay_out", NUMPY_VIEWS.values(), ids=NUMPY_VIEWS)
@pytest.mark.parametrize("hold", ["frombuffer", "ndarray"])
def test_views_of_arrays_keep_their_layout_both_ways(mirrored, lay_out, hold):
    np = pytest.importorskip("numpy")
    group = MemGroup(backing=mirrored)
    block = group.copy(np.arange(12.0))
    base = np.frombuffer(block) if hold == "frombuffer" else np.ndarray((12,), buffer=block)
    made = lay_out(base)
    shown = np.asarray(group.protect(memoryview(made)))
    expected = np.asarray(memoryview(made))
    assert (shown.dtype, shown.shape, shown.strides) == (expected.dtype, expected.shape, expected.strides)
    assert shown.tobytes() == made.tobytes()
    assert not shown.flags.writeable
    back = np.asarray(group.unprotect(memoryview(shown)))
    assert back.ctypes.data == made.ctypes.data or not made.size
    assert back.flags.writeable
    block[:8] = np.float64(99).tobytes()
    assert shown.tobytes() == made.tobytes()


def test_a_protected_view_counts_as_a_view_and_keeps_its_group(mirrored):
    group = MemGroup(backing=mirrored)
    view = group.protect(memoryview(group.copy(CONTENTS))[10:20])
    assert group.stats().exports == 1
    del group
    assert bytes(view) == CONTENTS[10:20]


def test_a_hundred_thousand_blocks_can_be_protected_at_once(mirrored):
    group = MemGroup(backing=mirrored)
    protected = [group.protect(group.copy(i.to_bytes(8, "little"))) for i in range(100_000)]
    assert all(int.from_bytes(block, "little") == i for i, block in enumerate(protected))
    assert all(block.readonly for block in protected)


# Objects that cannot be protected

FOREIGN = {
    "another group's block": lambda other: other.copy(b"abc"),
    "another group's protected block": lambda other: other.protect(other.copy(b"abc")),
    "another group's view": lambda other: memoryview(other.copy(b"abc")),
    "a view of bytes": lambda other: memoryview(b"abc"),
    "a view of an array": lambda other: memoryview(array.array("d", [1])),
    "an empty view of bytes": lambda other: memoryview(b""),
}


@pytest.mark.parametrize("verb", ["protect", "unprotect"])
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_foreign_objects_are_refused(pair, verb, make):
    foreign = make(MemGroup())
    with pytest.raises(ValueError, match="does not live in this group"):
        getattr(pair[0], verb)(foreign)


@pytest.mark.parametrize("verb", ["protect", "unprotect"])
@pytest.mark.parametrize("thing", [5, None, "abc", [1], object()], ids=lambda o: type(o).__name__)
def test_objects_without_bytes_are_type_errors(pair, verb, thing):
    name = type(thing).__name__
    with pytest.raises(
        TypeError, match=rf"{verb}\(\) takes a MemBlock, a MemList, a memoryview or a numpy array, not {name}"
    ):
        getattr(pair[0], verb)(thing)


def test_a_view_that_reaches_out_of_the_group_is_refused(pair):
    group, protected = pair
    length = 1 << 20  # longer than the slot
    reaching = memoryview((ctypes.c_char * length).from_address(group.unprotect(protected).address))
    with pytest.raises(ValueError, match="does not live in this group"):
        group.protect(reaching)


def test_a_released_view_is_refused(pair):
    view = memoryview(pair[1])
    view.release()
    with pytest.raises(ValueError, match="released"):
        pair[0].protect(view)


@pytest.mark.parametrize("wrap", [lambda b: b, memoryview], ids=["block", "memoryview"])
def test_an_anonymous_group_refuses_to_protect_and_names_the_remedy(wrap):
    group = MemGroup(backing="anonymous")
    block = group.copy(CONTENTS)
    with pytest.raises(ValueError, match='backing="memfd"'):
        group.protect(wrap(block))
    assert bytes(group.unprotect(wrap(block))) == CONTENTS
    block[0] = 7
    assert (block[0], group.alloc(1).nbytes) == (7, 1)
