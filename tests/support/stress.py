"""All operations against all ends: four threads on the same groups, for so many seconds (first argument).

Every thread writes its own stamp into the memory that it allocates, and checks it later: it finds the stamp,
or gets an exception that gives the reason. Only groups that no thread frees by force get views and arrays.

A second argument is the seed. Run it as a program, under AddressSanitizer too; it prints how often each
operation succeeded.
"""

from __future__ import annotations

import copy
import os
import pickle
import random
import re
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import memgroup
from memgroup import MemBlock, MemGroup, MemList

try:
    import numpy as np
except ImportError:
    np = None

THREADS = 4
GROUPS = 3
KEPT = 40

# The possible errors of an operation that races with an end.
ENDED = re.compile(
    r"freed|has ended|was reset|live view|does not live in|no read-only mirror|not in this group|Bad address"
)


class World:
    """Shared by the threads: groups that may be freed by force, and groups that may have views."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed, self.end = seed, time.monotonic() + seconds
        self.forced = [MemGroup() for _ in range(GROUPS)]
        self.viewed = [MemGroup() for _ in range(GROUPS)]
        self.failures: list[str] = []

    def is_over(self) -> bool:
        return bool(self.failures) or time.monotonic() > self.end


class Actor:
    """One thread: the objects that it owns, with their expected bytes."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.chance = random.Random(world.seed * THREADS + number)
        self.stamps = self.count_stamps()
        self.owned: list[tuple[Any, bytes]] = []
        self.done: Counter[str] = Counter()

    def count_stamps(self) -> Iterator[int]:
        while True:
            yield from range(1 + self.number, 255, THREADS)

    def run(self) -> None:
        try:
            with tempfile.TemporaryFile() as self.file:
                while not self.world.is_over():
                    self.step()
        except BaseException:
            self.world.failures.append(traceback.format_exc())

    def step(self) -> None:
        is_forced = self.chance.random() < 0.5
        groups = self.world.forced if is_forced else self.world.viewed
        place = self.chance.randrange(GROUPS)
        group = groups[place]
        if self.chance.random() < 0.02:
            end = self.chance.choice(FORCED_ENDS if is_forced else ENDS)
            if self.attempt(end, group) and group.freed:
                groups[place] = self.new_group()
            return
        self.attempt(self.chance.choice(ANYWHERE if is_forced else ANYWHERE + LOOKING), group)
        if len(self.owned) > KEPT:
            self.check(self.owned.pop(self.chance.randrange(KEPT)))

    def attempt(self, operation: Callable[[Actor, MemGroup], None], group: MemGroup) -> bool:
        """Whether the operation succeeded; only an end may make it fail."""
        try:
            operation(self, group)
        except (ValueError, BufferError, OSError) as error:
            if not ENDED.search(str(error)):
                raise
            return False
        except MemoryError:
            return False
        self.done[operation.__name__] += 1
        return True

    def new_group(self) -> MemGroup:
        backing = "anonymous" if self.chance.random() < 0.1 else "memfd"
        return MemGroup(
            base=2 ** self.chance.randrange(10, 17), backing=backing, secret=self.chance.random() < 0.1
        )

    def size(self) -> int:
        return self.chance.choice(
            (0, 1, 15, 100, 3000, 3000, 20_000, 300_000 if self.chance.random() < 0.1 else 7)
        )

    def stamp(self, size: int) -> bytes:
        return bytes([next(self.stamps)]) * size

    def keep(self, thing: Any, contents: bytes) -> None:
        self.owned.append((thing, contents))

    def check(self, owned: tuple[Any, bytes]) -> None:
        """Check that the bytes are as written, or that the object reports that it is freed."""
        thing, contents = owned
        try:
            found = bytes(thing.join()) if isinstance(thing, MemList) else bytes(thing)
        except MemoryError:
            return
        except ValueError as error:
            if not ENDED.search(str(error)):
                raise
            return
        assert found == contents, (type(thing), len(contents), contents[:1], Counter(found).most_common(3))

    def block(self, group: MemGroup) -> tuple[MemBlock, bytes]:
        contents = self.stamp(self.size())
        return group.copy(contents), contents

    def records(self, group: MemGroup) -> tuple[MemList, bytes]:
        records = group.alloc_many([self.size() % 4000 for _ in range(self.chance.randrange(30))])
        contents = self.stamp(records.nbytes)
        records.fill_from(contents)
        return records, contents


def alloc(me: Actor, group: MemGroup) -> None:
    block = group.alloc(me.size(), align=2 ** me.chance.randrange(13), zero=True)
    zeros, contents = bytes(block), me.stamp(len(block))
    assert not any(zeros)
    block[:] = contents
    me.keep(block, contents)


def copy_in(me: Actor, group: MemGroup) -> None:
    me.keep(*me.block(group))


def alloc_many(me: Actor, group: MemGroup) -> None:
    me.keep(*me.records(group))


def alloc_alike(me: Actor, group: MemGroup) -> None:
    records = group.alloc_many(count=me.chance.randrange(50), size=me.size() % 500, zero=True)
    assert records.count(bytes(records.nbytes // max(len(records), 1))) == len(records)


def slice_block(me: Actor, group: MemGroup) -> None:
    block, contents = me.block(group)
    start, stop = me.chance.randrange(50), me.chance.randrange(4000)
    me.keep(block[start:stop], contents[start:stop])


def slice_list(me: Actor, group: MemGroup) -> None:
    records, contents = me.records(group)
    part = records[:: me.chance.choice((1, 2, -1, -3))]
    me.keep(part, contents[: part.nbytes])
    assert list(part.sizes) == [len(record) for record in part]
    assert len(records.offsets) == len(records)


def protect_block(me: Actor, group: MemGroup) -> None:
    block, contents = me.block(group)
    protected = group.protect(block)
    assert protected == contents
    me.keep(me.chance.choice((protected, group.unprotect(protected))), contents)


def protect_list(me: Actor, group: MemGroup) -> None:
    records, contents = me.records(group)
    protected = group.protect(records)
    me.keep(me.chance.choice((protected, group.unprotect(protected))), contents)


def find(me: Actor, group: MemGroup) -> None:
    block, contents = me.block(group)
    needle = group.copy(contents[:2])
    if len(contents) > 1:
        assert (block.find(needle), needle in block, block.count(needle)) == (0, True, len(contents) // 2)
    assert block.find(b"\0\xff") == -1


def find_record(me: Actor, group: MemGroup) -> None:
    records, contents = me.records(group)
    if records and len(records[0]):
        assert records.index(contents[: len(records[0])]) == 0
        assert records[0] in records


def compare(me: Actor, group: MemGroup) -> None:
    block, contents = me.block(group)
    records, _ = me.records(group)
    assert block == group.copy(contents)
    assert records == copy.copy(records)


def copies(me: Actor, group: MemGroup) -> None:
    block, contents = me.block(group)
    me.keep(copy.copy(group.protect(block)), contents)
    records, contents = me.records(group)
    me.keep(copy.deepcopy(records), contents)


def unpickle(me: Actor, group: MemGroup) -> None:
    with MemGroup() as source:
        records, contents = me.records(source)
        thing = me.chance.choice((records, source.protect(records), records.join()))
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
        raws = [bytes(buffer.raw()) for buffer in buffers]
        del buffers
    with memgroup.loads_into(group):
        me.keep(pickle.loads(data, buffers=raws), contents)


def through_a_pipe(me: Actor, group: MemGroup) -> None:
    reader, writer = os.pipe()
    try:
        out, contents = me.records(group)
        out = out[: 60_000 // max(out.nbytes, 1) * len(out)]
        if out.writev(writer) != len(contents):
            return
        back = group.alloc_many(out.sizes)
        assert back.readv(reader) == len(contents)
        me.keep(back, contents)
    finally:
        os.close(writer)
        os.close(reader)


def wait_at_a_pipe(me: Actor, group: MemGroup) -> None:
    """A read that waits for its input while others try to end the group."""
    reader, writer = os.pipe()
    try:
        records, _ = me.records(group)
        contents = me.stamp(min(records.nbytes, 60_000))
        feeder = threading.Timer(0.002, lambda: (os.write(writer, contents), os.close(writer)))
        feeder.start()
        try:
            got = records.readv(reader)
        finally:
            feeder.join()
        if got == records.nbytes == len(contents):
            me.keep(records, contents)
    finally:
        os.close(reader)


def through_a_file(me: Actor, group: MemGroup) -> None:
    out, contents = me.records(group)
    at = me.chance.randrange(1000)
    assert out.pwritev(me.file, at) == len(contents)
    back = group.alloc_many(out.sizes)
    assert back.preadv(me.file, at) == len(contents)
    me.keep(back, contents)
    read, errors = group.read_ranges(me.file, [at, at], [len(contents), 0])
    assert not errors
    me.keep(read, contents)


def figures(me: Actor, group: MemGroup) -> None:
    block, _ = me.block(group)
    assert block in group
    stats = group.stats()
    assert stats.allocated <= stats.committed <= stats.mapped
    assert repr(group)
    assert repr(block)


def protect_what_is_no_view(me: Actor, group: MemGroup) -> None:
    """An array that shows a block and holds nothing but the block; nothing is read through it."""
    if np:
        block, contents = me.block(group)
        exporter: Any = block
        if contents:
            assert type(group.protect(np.ndarray(len(contents), "u1", exporter))) is np.ndarray


def limit_warmth(me: Actor, group: MemGroup) -> None:
    memgroup.set_warm_limit(me.chance.choice((0, 1 << 20, 64 << 20)))


def look(me: Actor, group: MemGroup) -> None:
    block, contents = me.block(group)
    me.keep(memoryview(group.protect(block)), contents)
    me.keep(group.protect(memoryview(block)), contents)
    assert bytes(block[::2]) == contents[::2]


def arrays(me: Actor, group: MemGroup) -> None:
    if not np:
        return
    array = group.zeros(me.size(), "u1")
    assert not array.any()
    contents = me.stamp(len(array))
    array[:] = np.frombuffer(contents, "u1")
    me.keep(array, contents)
    me.keep(group.protect(array), contents)
    me.keep(group.array(array[::2]), contents[::2])


def arrays_of_numpy(me: Actor, group: MemGroup) -> None:
    if np:
        with group.numpy():
            array = np.arange(me.size() + 1, dtype="u1")
            me.keep(array + 1 - 1, bytes(array))


def pickle_views(me: Actor, group: MemGroup) -> None:
    records, contents = me.records(group)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(records, protocol=5, buffer_callback=buffers.append)
    here = pickle.loads(data, buffers=buffers)
    me.keep(here, contents)
    me.keep(pickle.loads(pickle.dumps(records[::2])), contents[: records[::2].nbytes])


def compare_groups(me: Actor, group: MemGroup) -> None:
    other = me.chance.choice(me.world.viewed)
    block, contents = me.block(group)
    theirs = other.copy(contents)
    assert block == theirs
    assert block.find(theirs) == 0
    block[:] = theirs


def reset(me: Actor, group: MemGroup) -> None:
    group.reset()


def free(me: Actor, group: MemGroup) -> None:
    group.free()


def free_by_force(me: Actor, group: MemGroup) -> None:
    group.free(force=True)


def leave(me: Actor, group: MemGroup) -> None:
    with group:
        pass


ANYWHERE = [
    alloc,
    copy_in,
    alloc_many,
    alloc_alike,
    slice_block,
    slice_list,
    protect_block,
    protect_list,
    find,
    find_record,
    compare,
    copies,
    unpickle,
    through_a_pipe,
    wait_at_a_pipe,
    through_a_file,
    figures,
    protect_what_is_no_view,
    limit_warmth,
]
LOOKING = [look, arrays, arrays_of_numpy, pickle_views, compare_groups]
ENDS = [reset, free, leave]
FORCED_ENDS = [*ENDS, free_by_force]


def main(seconds: float, seed: int) -> int:
    sys.setswitchinterval(1e-6)
    world = World(seed, seconds)
    actors = [Actor(world, number) for number in range(THREADS)]
    threads = [threading.Thread(target=actor.run) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for actor in actors:
        if not world.failures:
            for owned in actor.owned:
                actor.check(owned)
    print(*world.failures, sep="\n", file=sys.stderr, end="")
    done = sum((actor.done for actor in actors), Counter())
    print(
        *(
            f"{done[operation.__name__]} {operation.__name__}"
            for operation in [*ANYWHERE, *LOOKING, *FORCED_ENDS]
        ),
        sep="\n",
    )
    return bool(world.failures)


if __name__ == "__main__":
    import faulthandler

    faulthandler.enable()
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)))
