"""A thousand forks under load, and the ways in which multiprocessing starts its processes."""

from __future__ import annotations

import textwrap

import pytest
from support.forks import FORK

LOAD = """
import time
signal.alarm(110)
sys.setswitchinterval(1e-4)
FORKS, AT_ONCE = int(sys.argv[2]), 4
again, failures, rounds = True, [], [0] * 5


def is_filled(block, byte):
    return block == bytes([byte]) * len(block)


def stamped(group, n, byte):
    return group.copy(bytes([byte]) * n)


def stamped_list(group, byte):
    blocks = group.alloc_many([10, 0, 2000, 300])
    blocks.fill_from(bytes([byte]) * 2310)
    return blocks


def allocate_and_check(me):
    blocks = [*(stamped(group, n, me) for n in (1, 100, 700)), *stamped_list(group, me)]
    for _ in range(5):
        time.sleep(0.0005)
        assert all(is_filled(block, me) for block in blocks), "somebody else's bytes"


def reset(me):
    own = MemGroup(base=4096, backing=BACKING)
    for _ in range(5):
        blocks = [stamped(own, 100 * n, me) for n in range(20)]
        time.sleep(0)
        assert all(is_filled(block, me) for block in blocks), "somebody else's bytes"
        del blocks
        own.reset()


def come_and_go(me):
    with MemGroup(base=4096) as first, MemGroup(base=8192) as second:
        for own in (first, second):
            assert is_filled(stamped(own, 10_000, me), me), "somebody else's bytes"
            assert is_filled(own.alloc(9000, zero=True), 0), "what others left"
    own = MemGroup(base=4096)
    own.copy(b"x" * 5000)
    own.free()


def read_and_write(me):
    file = os.memfd_create("through a file")  # the standard library's temporary files take locks
    with MemGroup() as own:
        blocks = own.alloc_many([300] * 100)
        for byte in (me, me + 100):
            blocks.fill_from(bytes([byte]) * 30_000)
            blocks.pwritev(file, 0)
            again = own.alloc_many([3000] * 10)
            again.preadv(file, 0)
            assert all(is_filled(block, byte) for block in again), "somebody else's bytes"
    os.close(file)


def keep_doing(work, me):
    while again:
        try:
            work(me)
        except BaseException as error:
            failures.append(f"{work.__name__}: {error!r}")
            return
        rounds[me - 1] += 1


def be_a_child(number):
    byte = 200 + number % 50
    blocks = [*(stamped(group, n, byte) for n in (1, 100, 3000, 70_000)), *stamped_list(group, byte)]
    if number % 10 == 0:
        come_and_go(byte - 100)
    if number % 10 == 1:
        read_and_write(byte - 100)
    for _ in range(2):
        assert all(is_filled(block, byte) for block in blocks), "overwritten by the parent"
        assert all(is_filled(block, i) for i, block in enumerate(before)), "what was there has changed"
        time.sleep(0)
    if number % 3 == 0:
        del blocks
        [group.reset, group.free][number % 2]()


before = [group.copy(bytes([i]) * 17 * i) for i in range(50)]
if BACKING != "anonymous":
    before = [group.protect(block) for block in before]
works = [allocate_and_check, allocate_and_check, reset, come_and_go, read_and_write]
threads = [threading.Thread(target=keep_doing, args=[work, me]) for me, work in enumerate(works, 1)]
for thread in threads:
    thread.start()
children = []
try:
    for number in range(FORKS):
        mine = stamped(group, 3000, 77)
        children.append(fork(lambda: be_a_child(number)))
        if len(children) == AT_ONCE:
            assert wait(children.pop(0)) == 0, f"before child {number}"
        assert is_filled(mine, 77), "overwritten by a child"
    assert all(wait(child) == 0 for child in children)
finally:
    again = False
for thread in threads:
    thread.join()
assert all(is_filled(block, i) for i, block in enumerate(before))
print(failures, all(rounds))
"""


@pytest.mark.parametrize(("of", "forks"), [("memfd", 1000), ("anonymous", 100)])
def test_a_thousand_forks_under_load(child, of, forks):
    assert child.output(FORK + LOAD, of, forks) == "[] True"


def run_main(child, tmp_path, code, **modules):
    """Run a separate program, because start methods other than fork import it again."""
    for name, text in {"program": code, **modules}.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    return child.output(
        "import runpy; runpy.run_path(sys.argv[1], run_name='__main__')", tmp_path / "program.py"
    )


WORKER = """
import multiprocessing, sys
from memgroup import MemGroup

sys.path.insert(0, {path!r})


def work(n):
    group = MemGroup(base=4096)
    blocks = [group.copy(bytes([i]) * n) for i in range(50)]
    assert all(block == bytes([i]) * n for i, block in enumerate(blocks))
    return bytes(group.protect(blocks[7]))


if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    {setup}
    group = MemGroup(base=4096)
    mine = [group.copy(b"m" * 3000) for _ in range(10)]
    with context.Pool(2) as pool:
        results = pool.map(work, range(1, 400), chunksize=10)
        pool.close()
        pool.join()
    assert results == [bytes([7]) * n for n in range(1, 400)]
    assert all(block == b"m" * 3000 for block in mine)
    print("fine")
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_works_with_groups_of_its_own(child, tmp_path, method):
    code = WORKER.format(path=str(tmp_path), method=method, setup="pass")
    assert run_main(child, tmp_path, code) == "fine"


def test_a_group_that_the_forkserver_made_is_inherited_and_never_shared_out_twice(child, tmp_path):
    preloaded = """
    from memgroup import MemGroup
    group = MemGroup(base=4096)
    there = group.copy(b"there before")
    """
    program = """
    import multiprocessing, os, sys
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import preloaded


    def work(mark, ready, go, answers):
        blocks = [preloaded.group.copy(mark * 1000) for _ in range(100)]
        ready.release()
        go.acquire()
        intact = all(block == mark * 1000 for block in blocks)
        answers.put((intact, bytes(preloaded.there), os.getppid()))


    if __name__ == "__main__":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["preloaded"])
        ready, go, answers = context.Semaphore(0), context.Semaphore(0), context.SimpleQueue()
        marks = [b"a", b"b", b"c"]
        processes = [context.Process(target=work, args=[mark, ready, go, answers]) for mark in marks]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        for _ in processes:
            go.release()
        told = [answers.get() for _ in processes]
        for process in processes:
            process.join()
        print([process.exitcode for process in processes], {intact for intact, _, _ in told})
        print({there for _, there, _ in told}, os.getpid() in {parent for _, _, parent in told})
    """
    said = run_main(child, tmp_path, program, preloaded=preloaded)
    assert said == "[0, 0, 0] {True}\n{b'there before'} False"
