"""Objects of a group in another process: each kind arrives as it was sent, and read-only."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import threading
import time
from multiprocessing import connection

import memgroup
import numpy as np
import pytest
from support.sharing import KINDS, Wire, contents, resources


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_arrives_as_it_was_sent(wire, kind):
    sent = KINDS[kind](wire.group)
    for _ in range(2):
        arrived = wire.send(sent)
        assert type(arrived) is type(sent)
        assert contents(arrived) == contents(sent)
        assert arrived.readonly


@pytest.mark.parametrize("sort", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_every_kind_of_unix_socket_will_do(sort):
    wire = Wire(sort)
    for make in KINDS.values():
        sent = make(wire.group)
        assert contents(wire.send(sent)) == contents(sent)
    wire.close()


ARRAYS = {
    "one dimension": np.arange(10.0),
    "no dimension": np.array(3),
    "fortran order": np.asfortranarray(np.arange(12, dtype="<i2").reshape(3, 4)),
    "reversed": np.arange(10)[::-3],
    "nothing": np.zeros((0, 3), "u1"),
    "big-endian": np.arange(3, dtype=">f4"),
    "times": np.array(["2026-11-27"], "M8[D]"),
    "text": np.array(["ab", "c"]),
    "structured": np.array([(1, 2.5, (1, 2))], dtype=[("a", "i4"), ("b", "f8"), ("c", "u1", (2,))]),
    "aligned": np.zeros(2, np.dtype([("a", "u1"), ("b", "f8")], align=True)),
    "complex": np.array([1 + 2j]),
    "many dimensions": np.zeros((1,) * 32),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_arrive_with_their_type_and_layout(wire, array):
    sent = wire.group.array(array)
    arrived = wire.send(sent)
    np.testing.assert_array_equal(arrived, array)
    assert (arrived.dtype, arrived.shape) == (array.dtype, array.shape)
    assert arrived.strides == sent.strides
    assert not arrived.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        arrived.setflags(write=True)


def test_what_is_written_later_is_seen(wire):
    block = wire.group.copy(b"before")
    arrived = wire.send(block)
    block[:] = b"after!"
    assert arrived == b"after!"


def test_what_arrived_is_borrowed_by_its_group(wire):
    arrived = wire.send(wire.group.copy(b"some bytes"))
    assert arrived in wire.receiver
    with pytest.raises(TypeError, match="borrowed read-only"):
        arrived[0] = 1
    copy = wire.receiver.copy(arrived)
    wire.group.free()
    assert arrived == copy == b"some bytes"
    wire.receiver.reset()
    with pytest.raises(ValueError, match="reset"):
        bytes(arrived)


def test_a_view_keeps_what_arrived_beyond_the_group(wire):
    view = memoryview(wire.send(wire.group.copy(b"some bytes")))
    with pytest.raises(BufferError):
        wire.receiver.reset()
    with wire.receiver:
        pass
    assert bytes(view) == b"some bytes"


def test_a_million_records_are_one_message():
    wire = Wire()
    sizes = np.arange(1_000_000) % 7
    sent = wire.group.alloc_many(sizes, zero=True)
    wire.send(wire.group.copy(b"first"))
    wire.group.send(wire.here, sent)
    message = wire.there.recv(1 << 20, socket.MSG_PEEK)
    assert len(message) < 2000
    arrived = wire.receiver.recv(wire.there)
    assert len(arrived) == len(sent)
    np.testing.assert_array_equal(arrived.sizes, sizes)
    wire.close()


def test_objects_of_other_groups_and_of_private_ones_are_refused(wire):
    private = memgroup.MemGroup()
    with pytest.raises(ValueError, match="shared=True"):
        private.send(wire.here, private.copy(b"private"))
    for make in (lambda group: group.copy(b"x"), lambda group: group.copy_many([b"x"])):
        with pytest.raises(ValueError, match="does not live in this group"):
            wire.group.send(wire.here, make(private))
    with pytest.raises(ValueError, match="does not live in this group"):
        wire.group.send(wire.here, np.zeros(3))
    with pytest.raises(TypeError, match=r"group\.copy\(x\)"):
        wire.group.send(wire.here, b"bytes")
    with pytest.raises(ValueError, match="borrowed"):
        wire.group.send(wire.here, wire.group.borrow(b"of somebody else"))


@pytest.mark.parametrize("options", [{"backing": "anonymous"}, {"backing": "/tmp"}, {"secret": True}])
def test_what_cannot_be_shared_is_refused(options):
    with pytest.raises(ValueError, match=r"shared group.*use backing=\"memfd\""):
        memgroup.MemGroup(shared=True, **options)


def test_sockets_of_other_kinds_are_refused(wire):
    block = wire.group.copy(b"x")
    with socket.socket() as inet, pytest.raises(ValueError, match="Unix sockets"):
        wire.group.send(inet, block)
    with open("/dev/null") as file, pytest.raises(OSError, match="socket"):
        wire.group.send(file, block)
    with pytest.raises(TypeError, match="descriptor"):
        wire.group.send("socket", block)
    with pytest.raises(TypeError, match="descriptor"):
        wire.receiver.recv(None)


def test_the_timeout_of_the_socket_holds(wire):
    wire.there.settimeout(0.05)
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        wire.receiver.recv(wire.there)
    assert 0.04 < time.monotonic() - before < 5
    wire.there.setblocking(False)
    with pytest.raises(BlockingIOError):
        wire.receiver.recv(wire.there)
    wire.here.settimeout(0.05)
    block = wire.group.copy(b"x")

    def fill():
        while True:
            wire.group.send(wire.here, block)

    with pytest.raises(TimeoutError):
        fill()
    # Nothing is lost, and nothing comes twice.
    wire.there.settimeout(10)
    assert wire.receiver.recv(wire.there) == b"x"


def test_the_end_is_an_error_that_says_where(wire):
    block = wire.group.copy(b"x")
    wire.group.send(wire.here, block)
    wire.here.close()
    assert wire.receiver.recv(wire.there) == b"x"
    with pytest.raises(EOFError, match="closed"):
        wire.receiver.recv(wire.there)
    here, there = socket.socketpair()
    here.send(b"mgrp\x01\x01")
    here.close()
    with there, pytest.raises(ConnectionError, match="within a message, after 6 bytes"):
        wire.receiver.recv(there)
    here, there = socket.socketpair()
    there.close()
    with here, pytest.raises(BrokenPipeError):
        wire.group.send(here, block)


def test_a_signal_handler_can_end_the_wait(wire, child):
    out = child.output(
        """
        import socket
        here, there = socket.socketpair()
        group = MemGroup(shared=True)

        def raise_it(*_):
            raise InterruptedError("by the handler")

        signal.signal(signal.SIGALRM, raise_it)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        print(outcome(group.recv, there))
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        block = group.copy(b"x")
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        while (said := outcome(group.send, here, block)) == "fine":
            pass
        print(said)
        """
    )
    assert out.splitlines() == ["InterruptedError: by the handler"] * 2


def test_other_threads_run_while_it_waits(wire):
    arrived = []
    thread = threading.Thread(target=lambda: arrived.append(wire.receiver.recv(wire.there)))
    thread.start()
    time.sleep(0.02)
    wire.group.send(wire.here, wire.group.copy(b"for the thread"))
    thread.join(10)
    assert arrived == [b"for the thread"]


def test_two_threads_send_and_two_receive_over_one_socket():
    wire = Wire()
    many, arrived = 300, []

    def sends(byte):
        for size in range(many):
            with memgroup.MemGroup(base=4096, shared=True) as group:
                group.send(wire.here, group.copy(bytes([byte]) * (1 + size)))

    def receives():
        arrived.extend(bytes(wire.receiver.recv(wire.there)) for _ in range(many))

    threads = [threading.Thread(target=sends, args=(byte,)) for byte in (1, 2)]
    threads += [threading.Thread(target=receives) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(arrived) == sorted(bytes([byte]) * (1 + size) for byte in (1, 2) for size in range(many))
    wire.close()


def test_connections_of_multiprocessing_are_sockets_too(wire):
    here, there = connection.Pipe()
    with here, there:
        wire.group.send(here, wire.group.copy(b"through a pipe"))
        assert wire.receiver.recv(there) == b"through a pipe"


def test_nothing_stays_open_or_mapped():
    def round_trip():
        wire = Wire()
        for make in KINDS.values():
            wire.send(make(wire.group))
        wire.close()

    round_trip()
    before = resources()
    for _ in range(100):
        round_trip()
    # What is known of sockets that were closed is forgotten as new ones come: a few may be left.
    assert all(now <= then + 300 for now, then in zip(resources(), before, strict=True))


def test_stats_tell_how_many_receivers_have_a_slot(wire):
    block = wire.group.copy(b"x")
    assert [slot.receivers for slot in wire.group.stats().slots] == [0]
    others = [socket.socketpair() for _ in range(3)]
    for here, _ in [(wire.here, wire.there), *others]:
        wire.group.send(here, block)
        wire.group.send(here, block)
    assert [slot.receivers for slot in wire.group.stats().slots] == [4]
    for pair in others:
        for end in pair:
            end.close()


SENDER = """
import socket
here, there = socket.socketpair()
group = MemGroup(base=4096, shared=True)
receiver = MemGroup()
"""


def test_a_store_into_what_arrived_is_a_crash_that_names_its_writer(child):
    ended = child.run(
        SENDER
        + """
memgroup.enable_fault_report()
group = MemGroup(base=4096, shared=True, name="results")
group.send(here, group.copy(b"some bytes"))
arrived = receiver.recv(there)
print("before", flush=True)
ctypes.memset(arrived.address, 1, 1)
"""
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGSEGV, "before\n")
    assert 'in the received memory of the other process\'s group "results"' in ended.stderr
    assert "another process has sent the memory: only that process can write to it" in ended.stderr


def test_a_receiver_cannot_write_by_any_way_that_python_has(child):
    out = child.output(
        SENDER
        + """
import fcntl, mmap
group.send(here, group.copy(b"Z" * 4096))
_, [fd], _, _ = socket.recv_fds(there, 4096, 1)
F_ADD_SEALS, F_SEAL_WRITE = 1033, 8
print(outcome(mmap.mmap, fd, 4096))
print(outcome(os.write, fd, b"x"))
print(outcome(os.ftruncate, fd, 0))
print(outcome(fcntl.fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE))
anew = None
try:
    anew = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
except PermissionError:
    assert os.geteuid() != 0
if anew is not None:
    print(outcome(mmap.mmap, anew, 4096))
    print(outcome(os.write, anew, b"x"))
    print(outcome(os.ftruncate, anew, 0))
print(mmap.mmap(fd, 4096, prot=mmap.PROT_READ)[:] == b"Z" * 4096)
"""
    )
    *refusals, unchanged = out.splitlines()
    assert len(refusals) in (4, 7)
    assert all(said.startswith(("PermissionError", "OSError")) for said in refusals)
    assert unchanged == "True"


def test_a_child_by_fork_sends_and_receives(child):
    out = child.output(
        SENDER
        + """
warnings.simplefilter("ignore")
before = group.copy(b"from before")
child = os.fork()
if child == 0:
    group.send(here, before)
    group.send(here, group.copy(b"from the child"))
    got = receiver.recv(there)
    got = receiver.recv(there)
    os._exit(bytes(got) != b"from the child")
print(os.waitpid(child, 0)[1])
group.send(here, before)
print(bytes(receiver.recv(there)))
"""
    )
    assert out.splitlines() == ["0", "b'from before'"]


def test_unrelated_processes_meet_at_a_socket(child, tmp_path):
    path = str(tmp_path / "socket")
    program = """
    import socket
    path, role = sys.argv[1:]
    end = socket.socket(socket.AF_UNIX)
    if role == "server":
        end.bind(path)
        end.listen()
        end, _ = end.accept()
        group = MemGroup(shared=True)
        group.send(end, group.copy_many([b"from", b"another", b"program"]))
        end.recv(1)
    else:
        for _ in range(1000):
            try:
                end.connect(path)
                break
            except OSError:
                threading.Event().wait(0.01)
        print([bytes(block) for block in MemGroup().recv(end)])
    """
    server = threading.Thread(target=child.run, args=(program, path, "server"))
    server.start()
    assert child.output(program, path, "client") == "[b'from', b'another', b'program']"
    server.join(60)


def test_the_memory_of_a_killed_sender_stays(child):
    out = child.output(
        SENDER
        + """
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    for byte in range(20):
        group.send(here, group.copy(bytes([byte]) * 20_000))
    os.kill(os.getpid(), signal.SIGKILL)
here.close()
os.waitpid(child, 0)
print(all(bytes(receiver.recv(there)) == bytes([byte]) * 20_000 for byte in range(20)))
print(outcome(receiver.recv, there).split(":")[0])
"""
    )
    assert out.splitlines() == ["True", "EOFError"]


def test_memory_that_was_sent_is_not_used_again(wire):
    arrived = wire.send(wire.group.copy(b"first" * 100))
    wire.group.reset()
    wire.group.copy(b"other" * 700)
    assert arrived == b"first" * 100
    wire.group.free()
    for _ in range(5):
        with memgroup.MemGroup(base=4096, shared=True) as later:
            later.copy(b"third" * 700)
    assert arrived == b"first" * 100


def test_what_was_never_touched_is_committed_before_it_is_sent():
    wire = Wire()
    assert wire.send(wire.group.zeros(1 << 20)).sum() == 0
    wire.close()


def test_a_memfd_of_somebody_else_is_read_in_the_bounds_of_its_message(wire):
    """A sender that has not committed what it names."""
    fd = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, mmap.PAGESIZE)
    import fcntl

    fcntl.fcntl(fd, 1033, 2)  # F_ADD_SEALS, F_SEAL_SHRINK
    number = bytes(range(16))
    header = b"mgrp\x01\x01" + bytes(2) + (24).to_bytes(4, "little") + (1).to_bytes(2, "little") + bytes(2)
    message = header + number + bytes(8) + (1).to_bytes(8, "little") + bytes(16)
    message += number + mmap.PAGESIZE.to_bytes(8, "little")
    socket.send_fds(wire.here, [message], [fd])
    with pytest.raises(ValueError, match="has not committed"):
        wire.receiver.recv(wire.there)
    os.pwrite(fd, b"!", 0)
    socket.send_fds(wire.here, [message], [fd])
    assert wire.receiver.recv(wire.there) == b"!"
    os.close(fd)
