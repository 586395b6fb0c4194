"""Frozen groups: nobody can write to their memory, and the kernel says so."""

from __future__ import annotations

import errno
import gc
import socket

import memgroup
import numpy as np
import pytest
from support.sharing import KINDS, contents

F_GET_SEALS, F_SEAL_WRITE, F_SEAL_SEAL = 1034, 8, 1


@pytest.fixture
def shared():
    made = memgroup.MemGroup(base=4096, shared=True, name="frozen")
    yield made
    made.free(force=True)


def test_everything_reads_as_before_and_nothing_can_be_written(shared):
    block, items = shared.copy(b"some bytes"), shared.copy_many([b"one", b"two"])
    protected = shared.protect(block)
    assert not shared.frozen
    shared.freeze()
    assert shared.frozen
    assert "frozen" in repr(shared)
    assert block == protected == b"some bytes"
    assert contents(items) == [b"one", b"two"]
    assert block.readonly
    assert items.readonly
    assert memoryview(block).readonly
    with pytest.raises(TypeError, match="frozen"):
        block[0] = 1
    with pytest.raises(TypeError):
        items.fill_from(b"onetwo")
    with pytest.raises(ValueError, match="frozen"):
        shared.unprotect(protected)
    with pytest.raises((ValueError, TypeError, BufferError)):
        np.frombuffer(block, "u1").setflags(write=True)
    shared.freeze()


@pytest.mark.parametrize(
    "allocate",
    [
        lambda group: group.alloc(1),
        lambda group: group.alloc(10_000_000),
        lambda group: group.copy(b"x"),
        lambda group: group.alloc_many([1, 2]),
        lambda group: group.zeros(3),
        lambda group: group.copy_many([b"x"]),
    ],
)
def test_nothing_can_be_allocated_until_a_reset(shared, allocate):
    shared.copy(b"x")
    shared.freeze()
    with pytest.raises(ValueError, match=r"frozen.*reset it, or use another group"):
        allocate(shared)
    shared.reset()
    assert not shared.frozen
    allocate(shared)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_sent_when_frozen(shared, kind):
    here, there = socket.socketpair()
    sent = shared.protect(KINDS[kind](shared))
    was = contents(sent)
    gc.collect()
    shared.freeze()
    receiver = memgroup.MemGroup()
    shared.send(here, sent)
    assert contents(receiver.recv(there)) == was
    here.close()
    there.close()


def test_the_kernel_proves_it_to_a_receiver(shared):
    import fcntl

    here, there = socket.socketpair()
    shared.send(here, shared.copy(b"some bytes"))
    _, [fd], _, _ = socket.recv_fds(there, 4096, 1)
    with open(fd, "rb"), here, there:
        assert not fcntl.fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE
        shared.freeze()
        assert fcntl.fcntl(fd, F_GET_SEALS) & (F_SEAL_WRITE | F_SEAL_SEAL) == F_SEAL_WRITE | F_SEAL_SEAL


WRITERS = {
    "memoryview": lambda group: memoryview(group.copy(b"x")),
    "array": lambda group: group.zeros(3),
    "block that gave out its address": lambda group: (lambda block: (block.address, block)[1])(
        group.copy(b"x")
    ),
    "array that hides its view": lambda group: np.ndarray(1, "u1", group.copy(b"x")),
    "view through a view": lambda group: np.asarray(memoryview(group.copy(b"x")).cast("b")),
}


@pytest.mark.parametrize("make", WRITERS.values(), ids=WRITERS)
def test_it_is_refused_while_somebody_can_write(shared, make):
    writer = make(shared)
    with pytest.raises(BufferError, match=r"can still write.*group\.protect"):
        shared.freeze()
    assert not shared.frozen
    shared.alloc(1)
    del writer
    gc.collect()
    shared.freeze()
    assert shared.frozen


def test_views_that_cannot_write_do_not_stand_in_the_way(shared):
    array = shared.protect(shared.array(np.arange(10)))
    view = memoryview(shared.protect(shared.copy(b"some bytes")))
    gc.collect()
    shared.freeze()
    assert array.sum() == 45
    assert view == b"some bytes"


def test_private_and_freed_groups_are_not_frozen(shared):
    with pytest.raises(ValueError, match="shared=True"):
        memgroup.MemGroup().freeze()
    shared.free()
    with pytest.raises(ValueError, match="freed"):
        shared.freeze()


def test_a_child_that_can_still_write_is_named(child):
    out = child.output(
        """
        warnings.simplefilter("ignore")
        group = MemGroup(shared=True)
        block = group.copy(b"x")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        try:
            group.freeze()
        except OSError as error:
            print(error.errno, str(child) in str(error), group.frozen)
        block[0] = ord("y")
        os.close(writing)
        os.waitpid(child, 0)
        group.freeze()
        print(group.frozen, bytes(block))
        """
    )
    assert out.splitlines() == [f"{errno.EBUSY} True False", "True b'y'"]


def test_a_write_through_an_old_address_is_a_reported_crash(child):
    ended = child.run(
        """
        memgroup.enable_fault_report()
        group = MemGroup(shared=True, name="results")
        block = group.copy(b"some bytes")
        address = block.address
        del block
        group.freeze()
        assert ctypes.string_at(address, 10) == b"some bytes"
        print("before", flush=True)
        ctypes.memset(address, 1, 1)
        """
    )
    assert (ended.returncode, ended.stdout) == (-11, "before\n")
    assert 'of slot 0 of the frozen group "results"' in ended.stderr
    assert "the group is frozen: no process can write to its memory" in ended.stderr


def test_the_columns_of_a_frozen_list_are_still_exported(shared):
    pyarrow = pytest.importorskip("pyarrow")
    items = shared.copy_many([b"one", b"", b"three"])
    shared.freeze()
    assert pyarrow.array(items).to_pylist() == [b"one", b"", b"three"]
