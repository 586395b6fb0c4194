"""Kernels before 5.14 do not commit memory ahead by one call, and groups work all the same.

Here a seccomp filter answers EINVAL to MADV_POPULATE_READ and MADV_POPULATE_WRITE, as such a kernel does.
"""

from __future__ import annotations

import tempfile

import pytest
from support.seccomp import WITHOUT_POPULATE, checked

RESIDENT = """
def in_memory():
    fields = [line.split() for line in open("/proc/self/status")]
    return sum(int(field[1]) << 10 for field in fields if field[0] in ("RssShmem:", "RssAnon:", "RssFile:"))
"""


@pytest.fixture(params=["memfd", "anonymous", "directory"])
def backing(request):
    """Every backing."""
    return tempfile.gettempdir() if request.param == "directory" else request.param


@pytest.mark.parametrize("options", ["", "huge_pages=False", "base=2 << 20"])
def test_groups_of_every_backing_work(child, backing, options):
    said = child.output(
        WITHOUT_POPULATE
        + f"""
group = MemGroup(backing=sys.argv[1], {options})
sizes = [1, 5000, 300_000, 3 << 20] * 9
blocks = [group.copy(bytes([number % 256]) * size) for number, size in enumerate(sizes)]
print(all(bytes(block) == bytes([number % 256]) * len(block) for number, block in enumerate(blocks)))
clear = [group.alloc(size, zero=True) for size in (100, 70_000, 5 << 20)]
print(not any(any(block) for block in clear))
del blocks, clear
group.reset()
print(any(group.alloc(1 << 20, zero=True)))
""",
        backing,
    )
    assert checked(said).split() == ["True", "True", "False"]


def test_a_window_is_in_memory_before_it_is_touched(child, backing):
    said = child.output(
        WITHOUT_POPULATE
        + RESIDENT
        + """
group = MemGroup(backing=sys.argv[1], huge_pages=False, base=1 << 20)
before = in_memory()
group.alloc(1000)
print(group.stats().committed, in_memory() - before)
""",
        backing,
    )
    committed, more = map(int, checked(said).split())
    assert 0 < committed <= more


def test_untouched_memory_of_a_shared_group_is_found_for_its_reader(child):
    said = child.output(
        WITHOUT_POPULATE
        + """
import socket

ours, theirs = socket.socketpair()
group, reader = MemGroup(shared=True, huge_pages=False), MemGroup()
block = group.alloc(40 << 20)
block[-1] = 7
group.send(ours, block)
received = reader.recv(theirs)
print(len(received), received[0], received[-1])
""",
    )
    assert checked(said).split()[::2] == [str(40 << 20), "7"]


def test_secrets_and_pools_work(child):
    said = child.output(
        WITHOUT_POPULATE
        + """
print(outcome(MemGroup(secret=True).copy, b"secret"))
pool = MemGroup().pool(100)
print(len({id(pool.alloc()) for _ in range(10)}) > 0)
""",
    )
    assert checked(said).split() == ["fine", "True"]
