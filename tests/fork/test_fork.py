"""After a fork, parent and child share the earlier memory and never hand out the same bytes."""

from __future__ import annotations

import pytest
from support.forks import FORK


@pytest.fixture
def fork(child):
    return lambda code, *arguments: child.output(FORK + code, *arguments)


def test_parent_and_child_never_hand_out_the_same_bytes(fork, backing):
    code = """
group.alloc(1000)  # a slot that both know, and that has room
filled, checked = Gate(), Gate()


def fill(mark):
    return [group.copy(mark * n) for n in (1, 100, 1000, 3000, 10_000, 100_000) for _ in range(20)]


def intact(blocks, mark):
    return all(block == mark * len(block) for block in blocks)


def work():
    blocks = fill(b"C")
    filled.open()
    checked.wait()
    assert intact(blocks, b"C"), "overwritten by the parent"


child = fork(work)
filled.wait()
blocks = fill(b"P")
checked.open()
print(wait(child), intact(blocks, b"P"))
"""
    assert fork(code, backing) == "0 True"


def test_memory_from_before_a_fork_is_readable_in_both_processes(fork, backing):
    code = """
old = [group.copy(bytes([i]) * 500) for i in range(100)]
view = memoryview(old[7])


def work():
    assert all(block == bytes([i]) * 500 for i, block in enumerate(old))
    assert view[0] == 7 and old[0] in group
    assert group.stats().blocks == 100 and len(group.stats().slots) > 0
    if BACKING != "anonymous":
        assert group.protect(old[5]) == old[5] and group.protect(old[5]).readonly
        assert group.unprotect(group.protect(old[5])).address == old[5].address
    old[3][0] = 255


status = wait(fork(work))
print(status, old[3][0], all(block[1:] == bytes([i]) * 499 for i, block in enumerate(old)))
"""
    # The child's writes are shared, except for private memory.
    assert fork(code, backing) == f"0 {3 if backing == 'anonymous' else 255} True"


ENDS = ["group.free()", "group.reset()", "group.free(force=True)", "group.__exit__(None, None, None)", "pass"]


@pytest.mark.parametrize("end", [*ENDS, "del old; del group; gc.collect()", "sys.exit"])
def test_ends_in_the_child_do_not_disturb_the_parent(fork, backing, end):
    code = f"""
old = group.copy(b"old" * 1000)
addresses = old.address if {end.startswith("group.free(force")} else None


def work():
    global old, group
    new = group.copy(b"C" * 50_000)
    del new
    {end}


status = wait(fork(work))
new = group.copy(b"P" * 5000)
print(status, old == b"old" * 1000, new == b"P" * 5000)
group.reset()
again = group.copy(b"again")
print(bytes(again), len(group.stats().slots) > 0)
"""
    assert fork(code, backing) == "0 True True\nb'again' True"


@pytest.mark.parametrize("end", ENDS)
def test_ends_in_the_parent_do_not_disturb_the_child(fork, backing, end):
    code = f"""
old = group.copy(b"old" * 1000)
ended, started = Gate(), Gate()


def work():
    new = group.copy(b"C" * 50_000)
    started.open()
    ended.wait()
    assert old == b"old" * 1000 and new == b"C" * 50_000
    group.copy(b"more")
    group.free()


child = fork(work)
started.wait()
{end}
ended.open()
print(wait(child))
"""
    assert fork(code, backing) == "0"


@pytest.mark.parametrize("end", ["group.free()", "group.reset()"])
def test_blocks_of_the_parent_are_invalid_in_a_child_that_ended_their_group(fork, end):
    code = f"""
old = group.copy(b"old")


def work():
    group.alloc(10)
    {end}
    print(outcome(bytes, old))


wait(fork(work))
print(bytes(old))
"""
    said = fork(code).splitlines()
    assert said[0].startswith("ValueError")
    assert "freed" in said[0]
    assert said[1] == "b'old'"


def test_grandchildren_start_on_their_own_slots(fork, backing):
    code = """
blocks = [group.copy(b"0" * 1500)]


def work(depth=1):
    if depth > 5:
        return
    blocks.append(group.copy(str(depth).encode() * 1500))
    assert wait(fork(lambda: work(depth + 1))) == 0, f"at depth {depth}"
    blocks.append(group.copy(b"x" * 1500))
    expected = [str(i).encode() * 1500 for i in range(depth + 1)] + [b"x" * 1500]
    assert [bytes(block) for block in blocks] == expected
    assert not set(range(blocks[-1].address, blocks[-1].address + 1500)) & set(
        range(blocks[-2].address, blocks[-2].address + 1500)
    )


work()
print("fine", len(blocks))
"""
    assert fork(code, backing) == "fine 3"


def test_siblings_never_hand_out_the_same_bytes(fork, backing):
    code = """
group.alloc(100)
ready, go = Gate(), Gate()


def work(mark):
    blocks = [group.copy(mark * 3000) for _ in range(50)]
    ready.open()
    go.wait()
    assert all(block == mark * 3000 for block in blocks)


children = [fork(lambda mark=mark: work(mark)) for mark in (b"a", b"b", b"c")]
for _ in children:
    ready.wait()
for _ in children:
    go.open()
print([wait(child) for child in children])
"""
    assert fork(code, backing) == "[0, 0, 0]"


USES = {
    "alloc": "group.alloc(100_000)",
    "copy": "group.copy(bytes(1_000_000))",
    "read": "bytes(large)",
    "assign": "large[:] = large",
    **{end: end for end in ENDS[:4]},
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("busy", ["large[:] = large", "group.copy(source)", "group.alloc(20_000)"])
def test_a_fork_while_other_threads_work_leaves_no_child_stuck(fork, use, busy):
    code = f"""
large = group.alloc(30_000_000, zero=True)
source = bytes(2_000_000)
again = True
started = threading.Barrier(4)


def work():
    started.wait()
    while again:
        {busy}
        if group.stats().allocated > 200_000_000:
            break


threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
started.wait()


def use():
    signal.alarm(10)
    {use}


print(all(wait(fork(use)) == 0 for _ in range(8)))
again = False
for thread in threads:
    thread.join()
"""
    assert fork(code) == "True"


WITHIN = {
    "readv": "blocks.readv(ours)",
    "recvmsg_into": "blocks.recvmsg_into(ours)",
    "writev": "large.writev(ours)",
    "sendmsg": "large.sendmsg(ours)",
    "read_ranges": "group.read_ranges(sys.executable, [0], [10], progress=stall)",
    "read_files": "group.read_files([sys.executable], progress=stall)",
    "frames": "next(group.frames(ours))",
}


@pytest.mark.parametrize("call", WITHIN.values(), ids=WITHIN)
@pytest.mark.parametrize("end", ["group.free()", "group.reset()"])
def test_a_call_of_another_thread_is_no_view_in_a_child(fork, call, end):
    code = f"""
ours, theirs = socket.socketpair()
theirs.send((4).to_bytes(4, "big") + b"a")
blocks = group.alloc_many([1000, 50])
large = group.alloc_many([4_000_000], zero=True)
stalled = threading.Event()


def stall(done, total):
    stalled.wait()


def within():
    try:
        {call}
    except (ConnectionError, EOFError):
        pass


thread = threading.Thread(target=within)
thread.start()
while group.stats().exports == 0:
    time.sleep(0.001)


def use():
    assert group.stats().exports == 0
    {end}
    if group.freed:
        return
    mine = group.copy(b"the child goes on")
    assert mine == b"the child goes on" and group.stats().exports == 0


child = fork(use)
print(wait(child), group.stats().exports)
stalled.set()
theirs.close()
thread.join()
print(group.stats().exports)
"""
    assert fork("import socket, time\n" + code).split() == ["0", "1", "0"]


def test_a_reader_that_another_thread_uses_is_unusable_in_a_child(fork):
    code = """
ours, theirs = socket.socketpair()
reader = group.frames(ours)
found = []
thread = threading.Thread(target=lambda: found.extend(reader))
thread.start()
theirs.send((4).to_bytes(4, "big") + b"a")
while group.stats().exports == 0:
    time.sleep(0.001)


def use():
    for use in (lambda: next(reader), lambda: reader.partial, lambda: reader.missing, lambda: reader.ahead):
        try:
            use()
        except RuntimeError as error:
            assert "forked" in str(error), error
        else:
            raise AssertionError
    reader.close()
    group.reset()
    mine = group.frames(other)
    assert next(mine) == b"ok"
    group.free()


other, peer = socket.socketpair()
peer.send((2).to_bytes(4, "big") + b"ok")
print(wait(fork(use)))
theirs.send(b"bcd")
theirs.close()
thread.join()
print(*(bytes(block).decode() for block in found))
"""
    assert fork("import socket, time\n" + code).split() == ["0", "abcd"]


@pytest.mark.parametrize("how", ["progress", "signal"])
def test_a_call_that_forks_continues_in_both_processes(fork, how):
    code = """
import socket
children = []


def fork_once(*_):
    if not children:
        children.append(os.fork())


if sys.argv[2] == "progress":
    blocks, errors = group.read_ranges(sys.executable, [0, 1], [10, 10], progress=fork_once)
    assert not errors and bytes(blocks[0])[1:] == bytes(blocks[1])[:9]
else:
    ours, theirs = socket.socketpair()
    signal.signal(signal.SIGUSR1, fork_once)
    main = threading.get_ident()

    def stir():
        signal.pthread_kill(main, signal.SIGUSR1)
        theirs.sendall(bytes(16))

    threading.Timer(0.2, stir).start()
    blocks = group.alloc_many([1] * 8)
    # Parent and child take from one stream until each has what it wants.
    assert blocks.recvmsg_into(ours) == 8
assert group.stats().exports == 0
group.free()
if children == [0]:
    os._exit(0)
print(wait(children[0]))
"""
    assert fork(code, "memfd", how) == "0"


def test_multiprocessing_by_fork_inherits_a_group(fork, backing):
    code = """
import multiprocessing
old = group.copy(b"old")


def work(queue):
    queue.put((bytes(old), bytes(group.copy(b"new"))))
    group.free()


context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=work, args=[queue])
process.start()
print(queue.get(), process.join(), process.exitcode, bytes(old))
"""
    assert fork(code, backing) == "(b'old', b'new') None 0 b'old'"


def test_multiprocessing_by_spawn_makes_groups_and_is_sent_blocks_but_no_group(fork):
    code = """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(eval, ["bytes(__import__('memgroup').MemGroup().copy(b'abc'))"]))
        for thing in (group, group.copy(b"abc")):
            print(outcome(pool.apply, len, [thing]))
        pool.close()
        pool.join()
"""
    made, of_group, of_block = fork(code).splitlines()
    assert made == "b'abc'"
    assert of_group.startswith("TypeError: cannot pickle or copy a MemGroup")
    assert of_block == "fine"
