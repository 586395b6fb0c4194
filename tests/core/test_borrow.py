"""Memory of other objects, shown as blocks: what it shows, what it refuses, and who keeps it for how long."""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import mmap
import os
import pickle
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgroup import MemGroup
from memgroup.display import as_text

pa = pytest.importorskip("pyarrow")

DATA = b"INFO start\nERROR disk full\r\nINFO stop\nERROR net down\n"


class Owned(bytearray):
    """A bytearray that can be watched, and that can refer to others."""

    refers_to: object = None


def mapped(path: Path, access: int) -> mmap.mmap:
    path.write_bytes(DATA)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0, access=access)


READ_ONLY: dict[str, Callable[[Path], object]] = {
    "bytes": lambda _: DATA,
    "a view that is read-only": lambda _: memoryview(bytearray(DATA)).toreadonly(),
    "a mmap to be read": lambda path: mapped(path, mmap.ACCESS_READ),
    "an Arrow buffer": lambda _: pa.py_buffer(DATA),
    "an array that is read-only": lambda _: np.frombuffer(DATA, "u1"),
    "a protected block of another group": lambda _: protected_elsewhere(),
}

WRITABLE: dict[str, Callable[[Path], object]] = {
    "bytearray": lambda _: bytearray(DATA),
    "a part": lambda _: memoryview(bytearray(b"xx" + DATA))[2:],
    "array.array": lambda _: array.array("B", DATA),
    "a mmap": lambda path: mapped(path, mmap.ACCESS_WRITE),
    "a C array": lambda _: (ctypes.c_char * len(DATA)).from_buffer_copy(DATA),
    "an array of two dimensions": lambda _: np.frombuffer(bytearray(DATA), "u1").reshape(1, -1),
    "a block of another group": lambda _: MemGroup().copy(DATA),
}


def protected_elsewhere():
    group = MemGroup()
    return group.protect(group.copy(DATA))


@pytest.fixture(params=[*READ_ONLY, *WRITABLE])
def lender(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    return (READ_ONLY | WRITABLE)[request.param](tmp_path / "file")


@pytest.fixture(params=READ_ONLY)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    return READ_ONLY[request.param](tmp_path / "file")


@pytest.fixture(params=WRITABLE)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    return WRITABLE[request.param](tmp_path / "file")


@pytest.fixture(params=["memfd", "anonymous", "directory"])
def borrower(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemGroup]:
    made = MemGroup(backing=str(tmp_path) if request.param == "directory" else request.param)
    yield made
    made.free(force=True)


# What is shown


def test_the_bytes_are_shown_where_they_are(lender, borrower):
    block = borrower.borrow(lender)
    assert bytes(block) == bytes(lender)
    assert block.address == np.frombuffer(lender, "u1").ctypes.data
    assert block.readonly == memoryview(lender).readonly
    assert memoryview(block).readonly == memoryview(lender).readonly


def test_a_block_writes_to_what_can_be_written(target, borrower):
    block = borrower.borrow(target)
    block[:5] = b"first"
    np.frombuffer(block, "u1")[5] = 0
    assert bytes(target)[:6] == b"first\0"
    assert block.find(b"first") == 0


def test_nothing_writes_to_what_cannot(source, borrower):
    block = borrower.borrow(source)
    lines = block.splitlines()
    reader, writer = os.pipe()
    os.write(writer, DATA)
    writes = [
        lambda: block.__setitem__(0, 1),
        lambda: block.__setitem__(slice(0, 2), b"ab"),
        lambda: lines.fill_from(bytes(lines.nbytes)),
        lambda: lines.readv(reader),
    ]
    for write in writes:
        with pytest.raises(TypeError, match=r"borrowed read-only: the group's copy"):
            write()
    with pytest.raises(TypeError, match="must be read-write"):
        struct.pack_into("B", block, 0, 1)
    for unprotected in (block, lines, memoryview(block), np.frombuffer(block, "u1")):
        with pytest.raises(
            ValueError, match=r"borrowed read-only cannot be written: write to a copy, group\.copy"
        ):
            borrower.unprotect(unprotected)
    assert os.read(reader, 100) == DATA
    os.close(reader)
    os.close(writer)
    assert bytes(source)[: len(DATA)] == DATA


def test_what_cannot_be_written_is_as_good_as_protected(source, borrower):
    block = borrower.borrow(source)
    assert borrower.protect(block) == block
    assert borrower.protect(block).address == block.address
    lines = borrower.protect(block.splitlines())
    assert lines == DATA.splitlines()
    assert bytes(borrower.protect(memoryview(block)[3:9])) == DATA[3:9]
    array = borrower.protect(np.frombuffer(block, "u1"))
    assert not array.flags.writeable
    assert borrower.stats().protected == 0


def test_what_can_be_written_is_not_protected(target, borrower):
    block = borrower.borrow(target)
    for shown in (block, block.splitlines(), memoryview(block), np.frombuffer(block, "u1")):
        with pytest.raises(
            ValueError, match=r"no read-only mirror: protect a copy, group\.protect\(group\.copy\(x\)\)"
        ):
            borrower.protect(shown)
    for unprotected in (block, block.splitlines()):
        assert borrower.unprotect(unprotected) == unprotected
    with pytest.raises(ValueError, match="no read-only mirror"):
        pa.array(block.splitlines())


def test_lists_of_it_behave_as_lists(lender, tmp_path):
    group = MemGroup()
    block = group.borrow(lender)
    expected = bytes(lender).splitlines()
    lines = block.splitlines()
    hits = lines.take(lines.contains(b"ERROR"))
    assert (lines, hits) == (expected, [line for line in expected if b"ERROR" in line])
    assert lines.take([3, 0, 0]) == [expected[3], expected[0], expected[0]]
    assert {slot for slot, _, _, _ in hits.slots} == {-1}
    assert pickle.loads(pickle.dumps(hits)) == hits
    assert bytes(hits.join()) == b"".join(hits.tolist())
    with (tmp_path / "out").open("w+b") as file:
        assert hits.writev(file) == hits.nbytes
        file.seek(0)
        assert file.read() == b"".join(hits.tolist())
        if not block.readonly:
            file.seek(0)
            assert lines.take([1, 3]).preadv(file.fileno(), 0) == hits.nbytes
    if block.readonly:
        assert pa.array(hits).to_pylist() == hits.tolist()
        assert pa.array(lines.as_arrow("string")).to_pylist() == [line.decode() for line in expected]


@given(data=st.binary(max_size=200), needle=st.binary(min_size=1, max_size=2), cut=st.integers(0, 200))
def test_the_methods_are_those_of_bytes(data, needle, cut):
    group = MemGroup()
    for block in (group.borrow(data), group.borrow(bytearray(data))):
        assert block == data
        assert block.find(needle) == data.find(needle)
        assert block.split(needle) == data.split(needle)
        assert block.splitlines() == data.splitlines()
        assert block.strip(needle) == data.strip(needle)
        assert block[cut:] == data[cut:]
        assert block.hex() == data.hex()


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"x")[:0], np.empty((3, 0))])
def test_nothing_can_be_borrowed(empty, borrower):
    block = borrower.borrow(empty)
    assert (len(block), bytes(block), block.splitlines()) == (0, b"", [])
    assert borrower.stats().borrowed == 0


# What is refused


REFUSED = {
    "text": ("text", TypeError, "bytes-like object is required, not str: encode it"),
    "a number": (1, TypeError, "bytes-like object is required, not int"),
    "objects": (np.array([object()]), TypeError, "its elements refer to objects"),
    "every second byte": (memoryview(b"abcd")[::2], ValueError, r"not contiguous: use group\.copy"),
    "a column": (np.zeros((3, 3))[:, 1], ValueError, r"not contiguous: use group\.copy"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shown_is_refused(refused, group):
    lender, error, message = refused
    with pytest.raises(error, match=message):
        group.borrow(lender)
    assert group.stats().borrowed == 0


def test_a_secret_group_borrows_nothing():
    group = MemGroup(secret=True)
    with pytest.raises(ValueError, match=r"neither lock nor overwrite: group\.copy\(x\) copies it in"):
        group.borrow(b"public")


def test_an_ended_group_borrows_nothing(group):
    group.free()
    with pytest.raises(ValueError, match="freed"):
        group.borrow(b"data")


# What the group has already


def test_its_own_memory_is_shown_where_it_is(group):
    block = group.copy(DATA)
    assert group.borrow(block) is block
    array, view = group.array([1, 2, 3]), memoryview(block)[2:9]
    for own in (view, array, view.toreadonly(), memoryview(group.protect(block))):
        shown = group.borrow(own)
        assert bytes(shown) == bytes(own)
        assert shown.readonly == memoryview(own).readonly
    assert group.stats().borrowed == 0
    view.release()
    del own, array
    gc.collect()
    group.free()


def test_what_is_borrowed_already_holds_up_no_end(borrower):
    lender = Owned(DATA)
    block = borrower.borrow(lender)
    again = [borrower.borrow(memoryview(block)), borrower.borrow(memoryview(block).toreadonly())]
    assert [shown.readonly for shown in again] == [False, True]
    block[0] = 0
    assert [shown[0] for shown in again] == [0, 0]
    watched = weakref.ref(lender)
    del lender, block
    borrower.free()
    assert watched() is None
    with pytest.raises(ValueError, match="freed"):
        bytes(again[0])


# Who keeps it


ENDS = {
    "free": lambda group: group.free(),
    "free(force=True)": lambda group: group.free(force=True),
    "with": lambda group: group.__exit__(None, None, None),
    "reset": lambda group: group.reset(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_every_end_gives_it_back(end, borrower):
    lender = Owned(DATA)
    watched = weakref.ref(lender)
    block = borrower.borrow(lender)
    lines = block.splitlines()
    del lender
    gc.collect()
    assert block.tobytes() == DATA
    end(borrower)
    assert watched() is None
    for use in (lambda: block[0], lambda: lines[0], lambda: lines.contains(b"x")):
        with pytest.raises(ValueError, match="freed"):
            use()


def test_the_last_reference_gives_it_back():
    lender = Owned(DATA)
    watched = weakref.ref(lender)
    group = MemGroup()
    block = group.borrow(lender)
    del lender, group
    assert bytes(block) == DATA
    del block
    assert watched() is None


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_a_view_shows_is_kept_for_it(end, borrower):
    lender = Owned(DATA)
    watched = weakref.ref(lender)
    block = borrower.borrow(lender)
    view = np.frombuffer(block, "u1")
    del lender, block
    if end in (ENDS["free"], ENDS["reset"]):
        with pytest.raises(BufferError, match="1 live view"):
            end(borrower)
    else:
        end(borrower)
    assert bytes(view) == DATA  # not even force takes away what is another's
    del view
    if not borrower.freed:
        borrower.free()
    assert watched() is None


def test_an_exporter_keeps_it_without_a_view(group):
    lender = Owned(DATA)
    watched = weakref.ref(lender)
    block = group.borrow(lender)
    array = np.ndarray(len(DATA), "u1", buffer=block)
    del lender
    group.free()
    assert bytes(array) == DATA
    del array, block
    assert watched() is None


def test_an_arrow_array_keeps_it(group):
    lender = Owned(DATA)
    watched = weakref.ref(lender)
    column = pa.array(group.borrow(memoryview(lender).toreadonly()).splitlines())
    del lender
    group.__exit__(None, None, None)
    assert column.to_pylist() == DATA.splitlines()
    thread = threading.Thread(target=column.validate)  # a consumer's thread may be the last to know of it
    del column
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert watched() is None


def test_a_mmap_can_be_closed_afterwards(tmp_path):
    lender = mapped(tmp_path / "file", mmap.ACCESS_READ)
    with MemGroup() as group:
        block = group.borrow(lender)
        with pytest.raises(BufferError):
            lender.close()
    lender.close()
    with pytest.raises(ValueError, match="freed"):
        bytes(block)


def test_the_collector_finds_a_group_through_what_it_has_borrowed():
    lender = Owned(DATA)
    group = MemGroup()
    watched = [weakref.ref(lender), weakref.ref(group)]
    lender.refers_to = group
    group.borrow(lender)
    assert gc.is_tracked(group)
    assert lender in gc.get_referents(group)
    del lender, group
    gc.collect()
    assert [reference() for reference in watched] == [None, None]


def test_the_collector_takes_nothing_from_others():
    class Shown(type(mmap.mmap(-1, 1))):
        refers_to: object = None

    lender = Shown(-1, len(DATA), access=mmap.ACCESS_READ)
    group = MemGroup()
    lender.refers_to = group
    column = pa.array(group.borrow(lender).split(b"\n"))
    del lender, group
    gc.collect()
    assert column.to_pylist() == [bytes(len(DATA))]
    del column
    assert gc.collect()


def test_the_collector_leaves_memoryviews_alone():
    lender = Owned(DATA)
    group = MemGroup()
    lender.refers_to = group
    watched = weakref.ref(lender)
    group.borrow(memoryview(lender).toreadonly())
    del lender, group
    gc.collect()
    held = watched()
    assert held is not None
    assert isinstance(held.refers_to, MemGroup)
    held.refers_to.free()
    del held
    gc.collect()
    assert watched() is None


def test_groups_that_borrow_from_each_other_end_one_after_the_other(child):
    ended = child.run(
        """
        groups = [MemGroup()]
        block = groups[0].copy(b"x" * 10)
        for _ in range(20_000):
            group = MemGroup()
            block = group.borrow(block)
        del groups, group
        assert bytes(block) == b"x" * 10
        del block
        print("done")
        """
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


# What runs when it is given back


class Ending(bytearray):
    """Uses and ends groups as it dies."""

    deaths: list[bytes]

    def __init__(self, data: bytes, *groups: MemGroup) -> None:
        super().__init__(data)
        self.groups = groups

    def __del__(self) -> None:
        for group in self.groups:
            try:
                group.borrow(b"more")
                group.alloc(10)
                group.reset()
            except ValueError:
                pass
            group.free(force=True)
        Ending.deaths.append(bytes(self))


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_runs_as_it_is_given_back_may_use_and_end_any_group(end):
    Ending.deaths = []
    group, other = MemGroup(), MemGroup()
    other.borrow(Ending(b"second", group))
    group.borrow(Ending(b"first", other, group))
    group.borrow(Ending(b"third"))
    end(group)
    assert sorted(Ending.deaths) == [b"first", b"second", b"third"]
    assert (group.freed, other.freed) == (True, True)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="classes export buffers from Python 3.12 on")
def test_a_class_that_exports_is_asked_and_told(group):
    said = []

    class Exporter:
        def __buffer__(self, flags):
            said.append("asked")
            return memoryview(DATA)

        def __release_buffer__(self, view):
            said.append("told")
            group.free(force=True)

    block = group.borrow(Exporter())
    assert (bytes(block), said) == (DATA, ["asked"])
    group.reset()
    assert said == ["asked", "told"]
    assert group.freed


@pytest.mark.skipif(sys.version_info < (3, 12), reason="classes export buffers from Python 3.12 on")
def test_a_class_that_ends_the_group_as_it_exports(group):
    class Exporter:
        def __buffer__(self, flags):
            group.free(force=True)
            return memoryview(DATA)

    with pytest.raises(ValueError, match="freed"):
        group.borrow(Exporter())


# Threads, forks


def test_threads_borrow_while_others_end_the_group():
    groups = [MemGroup() for _ in range(4)]
    over = threading.Event()
    failures: list[BaseException] = []

    def use() -> None:
        try:
            while not over.is_set():
                for group in groups:
                    with contextlib.suppress(ValueError):  # it is ended or reset meanwhile
                        lines = group.borrow(Owned(DATA)).splitlines()
                        assert lines.contains(b"ERROR").tolist() == [False, True, False, True]
                        assert group.borrow(memoryview(lines[1])).tobytes() == b"ERROR disk full"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for round_ in range(300):
        with contextlib.suppress(BufferError):
            groups[round_ % 4].reset()
        if round_ % 5 == 0:
            groups[round_ % 4].free(force=True)
            groups[round_ % 4] = MemGroup()
    over.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_child_has_it_too(child):
    ended = child.run(
        """
        lender = bytearray(b"shared by fork")
        group = MemGroup()
        block = group.borrow(lender)
        view = memoryview(block)
        pid = os.fork()
        if pid == 0:
            assert bytes(view) == bytes(block) == b"shared by fork" and group.stats().borrowed == 14
            assert bytes(group.borrow(b"the child's")) == b"the child's" and group.stats().borrowed == 25
            view.release()
            group.reset()
            assert group.stats().borrowed == 0
            del block
            lender.append(0)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert bytes(view) == b"shared by fork" and group.stats().borrowed == 14
        """
    )
    assert ended.returncode == 0, ended.stderr


# What is said of it


def test_it_is_reported_and_counts_as_nothing_else():
    group = MemGroup(limit=4096, name="borrower")
    group.borrow(bytes(1 << 20))
    group.borrow(bytearray(1000))
    stats = group.stats()
    assert (stats.borrowed, stats.as_dict()["borrowed"]) == ((1 << 20) + 1000,) * 2
    assert (stats.committed, stats.mapped, stats.requested, stats.blocks, stats.slots) == (0, 0, 0, 0, ())
    assert "1.00 MiB borrowed" in repr(group)
    assert "1.00 MiB of other objects borrowed" in as_text(group)
    group.reset()
    assert group.stats().borrowed == 0
    assert "borrowed" not in repr(group)


CUT_SHORT = (
    "the file behind the borrowed memory was truncated while it was mapped, or its disk has failed",
    "copy memory that others may truncate or unmap: group.copy(data), or read it into the group",
)


def test_a_file_that_is_cut_short_is_a_crash_that_says_so(child, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100_000))
    ended = child.run(
        """
        import mmap
        memgroup.enable_fault_report()
        group = MemGroup(name="borrower")
        file = open(sys.argv[1], "r+b")
        block = group.borrow(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        print(block.address, flush=True)
        file.truncate(5000)
        block.find(b"x")
        """,
        tmp_path / "file",
    )
    assert ended.returncode == -7  # SIGBUS
    address = int(ended.stdout) + 8192
    cause, remedy = CUT_SHORT
    assert f'read at {address:#x}, in the borrowed memory of the group "borrower"\n' in ended.stderr
    assert "  memory  offset 8192 of 100000 bytes\n" in ended.stderr
    assert "  object  byte 8192 of a block of 100000 bytes at offset 0\n" in ended.stderr
    assert f"  cause   {cause}\n  remedy  {remedy}\n  signal  SIGBUS" in ended.stderr


def test_a_store_into_a_mapping_to_be_read_is_a_crash_that_says_so(child, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100_000))
    ended = child.run(
        """
        import mmap
        memgroup.enable_fault_report()
        group = MemGroup(name="borrower")
        file = open(sys.argv[1], "r+b")
        block = group.borrow(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        ctypes.memset(block.address + 10, 1, 1)
        """,
        tmp_path / "file",
    )
    assert ended.returncode == -11  # SIGSEGV
    assert 'in the borrowed memory of the group "borrower"\n' in ended.stderr
    assert (
        "  cause   the owner of the borrowed memory mapped it without that access, or has unmapped it\n"
        in ended.stderr
    )
