"""Objects that lie in many slots: more than one message carries descriptors."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import socket
import threading

import memgroup
import pytest
from memgroup import _memgroup
from memgroup.futures import ProcessPoolExecutor
from support.sharing import resources

# The kernel's SCM_MAX_FD, and what one message of memgroup's names.
DESCRIPTORS, NAMED = 253, 1000

# Two descriptors for each slot of the sender, one for each of the receiver; both may be this process.
ENOUGH = 4096

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.thread_unsafe(reason="changes a limit of the process"),
]


@pytest.fixture
def many_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < ENOUGH:
        pytest.skip(f"the process may not open {ENOUGH} files (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(ENOUGH, before[0]), before[1]))
    yield
    gc.collect()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def blocks(count):
    """So many blocks, each in a slot of its own."""
    return [memgroup.MemGroup(base=4096, shared=True).copy(b"%d" % number) for number in range(count)]


def parcel_of(objects):
    parcel = _memgroup.Parcel()
    return parcel, [parcel.add(obj) or b"" for obj in objects]


SOCKETS = [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM]


@pytest.mark.parametrize("sort", SOCKETS)
@pytest.mark.parametrize("count", [DESCRIPTORS - 1, DESCRIPTORS, DESCRIPTORS + 1, 2 * DESCRIPTORS + 1, NAMED])
def test_a_parcel_of_many_slots_is_several_messages(many_files, sort, count):
    here, there = socket.socketpair(socket.AF_UNIX, sort)
    with here, there:
        sent = blocks(count)
        before = resources()
        parcel, handles = parcel_of(sent)
        parcel.send(here)
        came, group = _memgroup.recv_parcel(there), memgroup.MemGroup()
        # Less, where what is known of other sockets, which were closed, was forgotten.
        assert resources()[0] <= before[0] + count
        assert [bytes(came.take(group, handle)) for handle in handles] == [bytes(block) for block in sent]
        # They are known: another parcel carries none.
        parcel, handles = parcel_of(sent)
        parcel.send(here)
        came = _memgroup.recv_parcel(there)
        assert [bytes(came.take(group, handle)) for handle in handles] == [bytes(block) for block in sent]
        assert resources()[0] <= before[0] + count
        del came
        group.free()
        assert memgroup.send_releases(there) == count
        assert memgroup.recv_releases(here) == count


def test_more_than_a_message_names_is_an_error_before_anything_is_sent(many_files):
    here, there = socket.socketpair()
    with here, there:
        parcel, _ = parcel_of(blocks(NAMED + 1))
        with pytest.raises(ValueError, match=rf"{NAMED + 1} slots.*names {NAMED}.*copy_many"):
            parcel.send(here)
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)


def test_a_wait_between_the_messages_ends_with_the_timeout_and_goes_on_later(many_files):
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        here.settimeout(0.05)
        there.settimeout(10)
        sent = blocks(2 * DESCRIPTORS)
        parcel, _ = parcel_of(sent)
        with pytest.raises(TimeoutError):
            parcel.send(here)
        here.settimeout(10)
        # What was announced stays so: this one announces the rest, when the receiver reads.
        parcel, handles = parcel_of(sent)
        thread = threading.Thread(target=parcel.send, args=(here,))
        thread.start()
        came, group = _memgroup.recv_parcel(there), memgroup.MemGroup()
        thread.join(10)
        assert [bytes(came.take(group, handle)) for handle in handles] == [bytes(block) for block in sent]


def test_a_socket_carries_a_bounded_number_of_slots_and_forgets_those_that_ended(many_files, child):
    out = child.output(
        """
        import resource, socket
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))
        here, there = socket.socketpair()
        memgroup.set_warm_limit(0)
        count = 0
        for _ in range(5000):
            with MemGroup(base=4096, shared=True) as group:
                group.send(here, group.copy(b"%d" % count))
                assert MemGroup().recv(there) == b"%d" % count
                count += 1
        kept = []
        try:
            while len(kept) < 5000:
                kept.append(MemGroup(base=4096, shared=True))
                kept[-1].send(here, kept[-1].copy(b"kept"))
                assert MemGroup().recv(there) == b"kept"
        except (ValueError, MemoryError) as error:
            print(type(error).__name__, len(kept), error)
        kept[0].send(here, kept[0].copy(b"known"))
        assert MemGroup().recv(there) == b"known"
        del kept[1:]
        kept.append(MemGroup(shared=True))
        kept[-1].send(here, kept[-1].copy(b"there is room"))
        assert MemGroup().recv(there) == b"there is room"
        """
    )
    assert out.startswith(("ValueError 4097 4097 slots", "MemoryError"))
    assert "ValueError" not in out or "another socket" in out


def result_of(count):
    return blocks(count)


@pytest.mark.parametrize("count", [DESCRIPTORS + 20, NAMED + 1])
def test_results_of_the_executor_lie_in_as_many_slots(many_files, count):
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        future = pool.submit(result_of, count)
        if count > NAMED:
            assert "slots" in str(future.exception(timeout=60))
        else:
            assert [bytes(block) for block in future.result(timeout=60)] == [b"%d" % n for n in range(count)]
        assert pool.submit(pow, 2, 3).result(timeout=60) == 8


def sums(objects):
    return [int(bytes(block)) for block in objects]


def test_arguments_lie_in_as_many_slots(many_files):
    context = multiprocessing.get_context("fork")
    count = DESCRIPTORS + 20
    sent = blocks(count)
    with ProcessPoolExecutor(1, context) as pool:
        assert pool.submit(sums, sent).result(timeout=60) == list(range(count))
    with context.Pool(1) as pool:
        assert pool.apply(sums, (sent,)) == list(range(count))
    here, there = context.Pipe()
    with here, there:
        here.send(sent)
        assert sums(there.recv()) == list(range(count))
