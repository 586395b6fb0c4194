"""Machines with strict overcommit, or nearly without memory: the process is shown another /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.shown_files import Machine

MIB = 1 << 20


@pytest.fixture
def strict(machine) -> Machine:
    """A machine that overcommits nothing and has 264 MiB left to promise."""
    machine.show("/proc/sys/vm/overcommit_memory", "2\n")
    machine.meminfo(CommitLimit=364, Committed_AS=100)
    return machine


# Not the resident size: before 5.14 the pages are in memory, and not yet in the process's page table.
RESIDENT = """
import ctypes

block = MemGroup(backing=backing, huge_pages=False).alloc(30 << 20)
page = os.sysconf("SC_PAGE_SIZE")
start = ctypes.addressof(ctypes.c_char.from_buffer(block)) // page * page
found = (ctypes.c_ubyte * (len(block) // page))()
mincore = ctypes.CDLL(None, use_errno=True).mincore
assert mincore(ctypes.c_void_p(start), ctypes.c_size_t(len(found) * page), found) == 0
print(all(byte & 1 for byte in found))
"""


def test_beyond_the_commit_limit_is_a_memory_error_with_a_remedy(strict):
    said = strict.output("print(outcome(MemGroup().alloc, 300 << 20))")
    assert said.startswith(
        "MemoryError: cannot commit 314572800 more bytes: this machine overcommits nothing"
    )
    assert "raise vm.overcommit_ratio" in said


def test_blocks_of_any_size_reach_the_commit_limit_and_end_in_a_memory_error(strict):
    strict.meminfo(CommitLimit=40, Committed_AS=39)
    sizes = (100, 100_000, 1_000_000, 15_000_000)
    code = f"print(*(outcome(MemGroup().copy, bytes(size))[:11] for size in {sizes}))"
    assert strict.output(code).split() == ["MemoryError"] * 4


def test_a_memfd_block_is_in_memory_before_it_is_touched(strict):
    assert strict.output("backing = 'memfd'" + RESIDENT) == "True\n"


def test_an_anonymous_block_is_accounted_for_when_it_is_mapped(strict):
    strict.meminfo(CommitLimit=364, Committed_AS=364)
    assert strict.output("backing = 'anonymous'" + RESIDENT) == "False\n"


def test_otherwise_memory_comes_as_it_is_touched(machine):
    machine.show("/proc/sys/vm/overcommit_memory", "0\n")
    assert machine.output("backing = 'memfd'" + RESIDENT) == "False\n"


def test_a_reserve_of_a_small_machine_without_swap_is_left(machine):
    machine.meminfo(MemTotal=256, MemAvailable=100, SwapFree=0)
    machine.show("/proc/zoneinfo", "")
    said = machine.output(
        "print(outcome(MemGroup().alloc, 90 << 20)); print(outcome(MemGroup().alloc, 40 << 20))"
    )
    refused, granted = said.splitlines()
    available = int(refused.split("this machine has ")[1].split(" available")[0])
    assert 60 * MIB < available <= 92 * MIB
    assert granted == "fine"
