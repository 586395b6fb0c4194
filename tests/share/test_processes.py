"""Objects of shared groups in `multiprocessing`: handles, one descriptor for a slot and a receiver."""

from __future__ import annotations

import concurrent.futures
import io
import multiprocessing
import os
import pickle
import queue
from multiprocessing import reduction

import memgroup
import numpy as np
import pytest
from memgroup import _processes
from support.sharing import KINDS, contents, resources

METHODS = ["fork", "spawn", "forkserver"]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(params=METHODS)
def context(request):
    return multiprocessing.get_context(request.param)


@pytest.fixture
def shared():
    made = memgroup.MemGroup(base=4096, shared=True, name="sender")
    yield made
    made.free(force=True)


def echo(inbox, outbox):
    """What a worker makes of what it gets, until it gets None."""
    while (obj := inbox.get()) is not None:
        outbox.put(
            (contents(obj), obj.readonly if not isinstance(obj, np.ndarray) else not obj.flags.writeable)
        )


def test_queues_carry_every_kind_of_object(context, shared):
    inbox, outbox = context.Queue(), context.Queue()
    worker = context.Process(target=echo, args=(inbox, outbox))
    worker.start()
    for make in [*KINDS.values(), lambda group: group.array(np.arange(10.0))]:
        sent = make(shared)
        inbox.put(sent)
        assert outbox.get(timeout=60) == (contents(sent), True)
    inbox.put(None)
    worker.join(60)
    assert worker.exitcode == 0


def first_byte(obj):
    return bytes(obj)[0] if isinstance(obj, memgroup.MemBlock) else int(obj.sum())


def test_pools_take_arguments_by_handle(context, shared):
    table = shared.array(np.ones(100_000))
    blocks = [shared.copy(bytes([n])) for n in range(20)]
    with context.Pool(2) as pool:
        assert pool.map(first_byte, [table] * 20) == [100_000] * 20
        assert pool.map(first_byte, blocks) == list(range(20))


def test_executors_take_arguments_by_handle(shared):
    table = shared.array(np.ones(1000))
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(first_byte, [table] * 3)) == [1000] * 3


results = None


def result_of(size):
    """What a worker returns: a block of its own group, which lives as long as the worker."""
    global results
    if results is None:
        results = memgroup.MemGroup(shared=True, name="results")
    return results.copy(bytes([size % 251]) * size), os.getpid()


def test_workers_return_results_by_handle(context):
    with context.Pool(2) as pool:
        for size, (block, pid) in enumerate(pool.map(result_of, range(300))):
            assert pid != os.getpid()
            assert block == bytes([size % 251]) * size
            assert block.readonly


def test_arguments_of_a_process_are_handles(context, shared):
    receiving, sending = context.Pipe(duplex=False)
    worker = context.Process(target=answer, args=(sending, shared.copy_many([b"one", b"two"])))
    worker.start()
    assert receiving.recv() == [b"one", b"two"]
    worker.join(60)


def answer(sending, records):
    sending.send([bytes(record) for record in records])


def round_trip(obj):
    return pickle.loads(reduction.ForkingPickler.dumps(obj))


def test_only_the_handle_is_pickled(shared):
    large = shared.copy(bytes(1 << 20))
    assert len(reduction.ForkingPickler.dumps(large)) < 600
    assert round_trip(large) == large
    many = shared.alloc_many(count=100_000, size=7, zero=True)
    assert len(reduction.ForkingPickler.dumps(many)) < 1000
    assert contents(round_trip(many)) == contents(many)


def test_a_slot_has_one_descriptor_however_many_objects(shared):
    block = shared.copy(b"some bytes")
    first = round_trip(block)
    before = resources()
    arrived = [round_trip(shared.copy(b"%d" % n)) for n in range(500)]
    assert [bytes(one) for one in arrived] == [b"%d" % n for n in range(500)]
    slots = len(shared.stats().slots)
    # Its two descriptors, and one of the receiver, who is the same process here.
    assert resources()[0] <= before[0] + 3 * slots
    assert first == block


def test_private_groups_and_ordinary_pickles_carry_bytes(shared):
    private = memgroup.MemGroup()
    assert b"some bytes" in bytes(reduction.ForkingPickler.dumps(private.copy(b"some bytes")))
    assert round_trip(private.copy(b"some bytes")) == b"some bytes"
    assert b"some bytes" in pickle.dumps(shared.copy(b"some bytes"))
    array = np.arange(10)
    np.testing.assert_array_equal(round_trip(array), array)
    assert round_trip(array).flags.writeable
    with pytest.raises(TypeError, match="pickle"):
        reduction.ForkingPickler.dumps(memoryview(b"of nobody"))


def test_job_reducers_are_a_table_of_reducers(shared):
    assert set(memgroup.job_reducers) == {memgroup.MemBlock, memgroup.MemList}
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.dispatch_table = dict(memgroup.job_reducers)
    pickler.dump(shared.copy(b"x" * 10_000))
    assert len(file.getvalue()) < 600
    assert pickle.loads(file.getvalue()) == b"x" * 10_000


def test_what_was_freed_before_it_was_received_is_a_clear_error(shared):
    handle = reduction.ForkingPickler.dumps(shared.copy(b"some bytes"))
    shared.free()
    with pytest.raises(ValueError, match=f"process {os.getpid()} has freed the memory"):
        pickle.loads(handle)


def leave(outbox):
    outbox.put(memgroup.MemGroup(shared=True).copy(b"x"))
    outbox.close()
    outbox.join_thread()
    os._exit(0)


def test_a_sender_that_ended_before_is_a_clear_error(context):
    outbox = context.Queue()
    worker = context.Process(target=leave, args=(outbox,))
    worker.start()
    worker.join(60)
    with pytest.raises((ConnectionError, ValueError), match=f"process {worker.pid}"):
        outbox.get(timeout=60)


def test_a_child_answers_nobody_for_its_parent(child):
    """A child has its parent's socket: whoever asked the parent after its end would wait for the child."""
    out = child.output(
        """
        warnings.simplefilter("ignore")
        from multiprocessing import reduction
        reading, writing = os.pipe()
        parent = os.fork()
        if parent == 0:
            group = MemGroup(shared=True)
            handle = bytes(reduction.ForkingPickler.dumps(group.copy(b"x")))
            if os.fork() == 0:
                os.close(writing)
                os.close(1)
                os.close(2)
                signal.alarm(20)
                signal.pause()
            os.write(writing, handle)
            os._exit(0)
        os.waitpid(parent, 0)
        print(outcome(reduction.ForkingPickler.loads, os.read(reading, 10_000)))
        """
    )
    assert out.startswith("ConnectionError: process")


def test_memory_that_was_given_up_is_not_kept(shared):
    before = resources()
    for _ in range(3 * _processes.MAX_KEPT):
        with memgroup.MemGroup(base=4096, shared=True) as passing:
            round_trip(passing.copy(b"some bytes"))
    round_trip(shared.copy(b"last"))
    after = resources()
    assert after[0] <= before[0] + _processes.MAX_KEPT + 10
    assert after[1] <= before[1] + _processes.MAX_KEPT + 10


def test_a_queue_within_a_process(shared):
    inbox = multiprocessing.get_context("spawn").Queue()
    inbox.put(shared.copy(b"to itself"))
    assert inbox.get(timeout=60) == b"to itself"
    with pytest.raises(queue.Empty):
        inbox.get(timeout=0.01)
