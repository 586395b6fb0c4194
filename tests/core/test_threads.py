"""Many threads on one group, some of which end it: only documented results, and no byte of another owner."""

from __future__ import annotations

import random
import sys
import threading

import pytest
from memgroup import MemBlock, MemGroup

THREADS = 8


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_together(*works):
    """Run every work in a thread of its own, all starting at once; raise what the first to fail raised."""
    barrier = threading.Barrier(len(works))
    failures = []

    def run(work):
        barrier.wait()
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize(("base", "largest"), [(1, 300), (65536, 300), (65536, 20_000)])
def test_threads_never_share_bytes(backing, base, largest):
    group = MemGroup(base=base, backing=backing)
    owned: list[list[tuple[MemBlock, bytes]]] = [[] for _ in range(THREADS)]

    def own(me):
        chance = random.Random(me)
        for i in range(1500):
            contents = bytes([me]) * chance.randrange(largest)
            block = group.copy(contents) if i % 2 else group.alloc(len(contents), align=2 ** (i % 8))
            block[:] = contents
            owned[me].append((block, contents))

    run_together(*(lambda me=me: own(me) for me in range(THREADS)))
    everything = [pair for pairs in owned for pair in pairs]
    assert all(block == contents for block, contents in everything)
    stats = group.stats()
    assert stats.blocks == len(everything) == THREADS * 1500
    assert stats.requested == sum(len(contents) for _, contents in everything)
    assert stats.allocated == sum(slot.allocated for slot in stats.slots)


def test_every_byte_of_many_threads_has_one_owner():
    """150,000 objects of four threads, allocated in every way."""
    rounds, group = 3, MemGroup(base=4096)
    together = threading.Barrier(4)
    ends: list[int] = []

    def own(me):
        stamp = bytes([me + 1])
        for number in range(rounds):
            owned: list[tuple[MemBlock, int]] = []
            for i in range(5000):
                match i % 10:
                    case 0:
                        sizes = [i % 61, 0, i % 500, 3] * 4
                        blocks = group.alloc_many(sizes)
                        blocks.fill_from(stamp * sum(sizes))
                        owned += zip(blocks, sizes, strict=True)
                    case 1:
                        block = group.alloc(i, zero=True)
                        assert block == bytes(i)
                        block[:] = stamp * i
                        owned.append((block, i))
                    case 2 | 3:
                        owned.append((group.protect(group.copy(stamp * (i % 300))), i % 300))
                    case _:
                        block = group.alloc(i % 61, align=2 ** (i % 7))
                        block[:] = stamp * (i % 61)
                        owned.append((block, i % 61))
            together.wait()
            assert all(block == stamp * n for block, n in owned), "somebody else's bytes"
            owned.clear()
            blocks = block = None
            if together.wait() == 0:  # one of them
                group.reset()
                ends.append(number)
            together.wait()

    run_together(*(lambda me=me: own(me) for me in range(4)))
    assert ends == list(range(rounds))


def test_threads_may_read_and_count_while_others_allocate():
    group = MemGroup(base=1)

    def look():
        for _ in range(300):
            assert 0 <= group.stats().blocks <= 8000
            assert "memgroup" in repr(group)
            assert b"x" not in group

    run_together(*(lambda: [group.alloc(500) for _ in range(2000)] for _ in range(4)), look, look)
    assert group.stats().blocks == 8000


RACE = """
sys.setswitchinterval(1e-6)
unexpected = []
barrier = threading.Barrier(9)
again = True


def use(group, me):
    contents = bytes([me]) * (SIZE + me)
    block = group.copy(contents)
    protected = group.protect(block)
    assert block == contents and protected == contents, "somebody else's bytes"
    assert block.find(me) == 0 and block.count(b"\\0") == 0, "somebody else's bytes"
    view = memoryview(protected)
    assert view[0] == view[-1] == me, "somebody else's bytes"
    view.release()
    block[:] = contents
    assert bytes(block) == contents, "somebody else's bytes"


def keep_using(me):
    barrier.wait()
    while again:
        try:
            use(group, me)
        except (ValueError, MemoryError) as error:
            if "freed" not in str(error):
                unexpected.append(repr(error))
        except BaseException as error:
            unexpected.append(repr(error))


def end_often():
    global again
    barrier.wait()
    for _ in range(ROUNDS):
        try:
            end()
        except BufferError as error:
            if "live view" not in str(error):
                unexpected.append(repr(error))
        except BaseException as error:
            unexpected.append(repr(error))
    again = False


group = MemGroup()
threads = [threading.Thread(target=keep_using, args=[me]) for me in range(1, 9)]
threads.append(threading.Thread(target=end_often))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(unexpected[:5])
"""

ENDS = {
    "reset": """
def end():
    group.reset()
""",
    "free": """
def end():
    global group
    group.free()
    group = MemGroup()
""",
    "with": """
def end():
    global group
    warnings.simplefilter("ignore")
    with group:
        pass
    group = MemGroup()
""",
    "new group": """
def end():
    global group
    group = MemGroup()
""",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize(("size", "rounds"), [(100, 300), (400_000, 60)], ids=["small", "large"])
def test_ends_race_with_every_use(child, end, size, rounds):
    assert child.output(f"SIZE, ROUNDS = {size}, {rounds}\n{end}\n{RACE}") == "[]"


def test_forced_frees_race_with_uses_that_make_no_views(child):
    """Large work holds the memory while other threads run, so even a forced free waits for it."""
    end = """
def end():
    global group
    group.free(force=True)
    group = MemGroup()
"""
    without_views = RACE.replace("view = memoryview(protected)", "view = protected").replace(
        "view.release()", ""
    )
    assert child.output(f"SIZE, ROUNDS = 400_000, 100\n{end}\n{without_views}") == "[]"


def test_a_group_can_be_dropped_by_any_thread():
    for _ in range(50):
        group = MemGroup()
        blocks = [group.copy(bytes([i])) for i in range(THREADS)]
        del group
        run_together(*(blocks.pop for _ in range(THREADS)))
        assert blocks == []
