"""The memory of block objects: slabs of 2 MiB, each of which ends with the last block in it."""

from __future__ import annotations

import sysconfig
from textwrap import dedent

import pytest

pytestmark = pytest.mark.skipif(
    sysconfig.get_config_var("Py_GIL_DISABLED") == 1, reason="without a GIL there are no slabs"
)

COUNT = """
A_SLAB = (2 << 20) // 72

def handles():
    return memgroup.warm_memory().handles

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""


def test_objects_of_dead_blocks_are_kept_within_a_quarter_of_the_limit(child):
    child.output(
        COUNT
        + dedent("""
        memgroup.set_warm_limit(4 * (4 << 20))
        group = memgroup.MemGroup()
        blocks = [group.alloc(1) for _ in range(10 * A_SLAB)]
        assert handles() == 0
        kept = blocks[0]
        del blocks
        assert A_SLAB <= handles() <= 3 * A_SLAB, handles()
        memgroup.set_warm_limit(4 * (2 << 20))
        assert 0 < handles() <= A_SLAB, handles()
        memgroup.set_warm_limit(0)
        assert handles() == 0
        assert len(kept) == 1
        assert bytes(group.alloc(3, zero=True)) == bytes(3)
    """)
    )


def test_a_slab_goes_back_to_the_kernel_with_its_last_block(child):
    child.output(
        COUNT
        + dedent("""
        memgroup.set_warm_limit(0)
        group = memgroup.MemGroup()
        before = resident()
        blocks = [group.alloc(0) for _ in range(20 * A_SLAB)]
        full = resident() - before
        assert full > 30 << 20, full
        # Two of each slab keep it.
        kept = blocks[:: A_SLAB // 2]
        blocks.clear()
        assert resident() - before > 30 << 20
        kept.clear()
        left = resident() - before - group.stats().committed
        assert left < 8 << 20, left
    """)
    )


def test_blocks_keep_what_they_are_while_others_die_in_any_order(child):
    child.output("""
        import random

        random.seed(7)
        memgroup.set_warm_limit(8 << 20)
        group = memgroup.MemGroup()
        live = {}
        for turn in range(8):
            for number in range(turn * 100_000, (turn + 1) * 100_000):
                live[number] = group.copy(number.to_bytes(4, "little"))
            dying = list(live)
            random.shuffle(dying)
            for number in dying[: random.randrange(len(dying))]:
                assert int.from_bytes(live.pop(number), "little") == number
        for number, block in live.items():
            assert int.from_bytes(block, "little") == number
        live.clear()
        assert memgroup.warm_memory().handles <= 2 * (2 << 20) // 72
    """)


def test_a_child_and_its_parent_change_blocks_apart(child):
    child.output("""
        group = memgroup.MemGroup()
        blocks = [group.copy(b"%d" % number) for number in range(300_000)]
        pid = os.fork()
        if pid == 0:
            del blocks[:200_000]
            more = [memgroup.MemGroup().alloc(1) for _ in range(100)]
            blocks += [group.copy(b"child") for _ in range(100_000)]
            os._exit(0 if bytes(blocks[0]) == b"200000" and bytes(blocks[-1]) == b"child" else 1)
        del blocks[100_000:]
        assert os.waitpid(pid, 0)[1] == 0
        assert all(bytes(block) == b"%d" % number for number, block in enumerate(blocks))
    """)


def test_no_memory_for_objects_is_a_memory_error_and_the_group_stays_usable(child):
    child.output("""
        import resource

        group = memgroup.MemGroup()
        blocks = [group.alloc(0)]
        space = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if "VmSize" in line)
        resource.setrlimit(resource.RLIMIT_AS, (space + (24 << 20), resource.RLIM_INFINITY))
        append = blocks.append
        try:
            while True:
                append(group.alloc(0))
        except MemoryError:
            pass
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert len(blocks) > 50_000, len(blocks)
        assert bytes(group.copy(b"still")) == b"still"
    """)
