"""The last bytes below a limit: unasked huge pages do not waste them, and printing figures takes none."""

from __future__ import annotations

from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
# From 128 MiB on slots of 16 MiB and more consist of huge pages where the kernel hands those out unasked.
LIMIT = (129 << 20) + (100 << 10)

FILL = f"""
group = MemGroup(backing=backing, limit={LIMIT})

def fill():
    kept = []
    try:
        while True:
            kept.append(group.copy(b"x" * 10_000))
    except MemoryError as error:
        assert "limit" in str(error)
    assert all(block == b"x" * 10_000 for block in kept)
    return group.stats().allocated

print(fill())
group.reset()
print(fill())
"""


@pytest.mark.skipif(not HUGE_PAGES.exists(), reason="this kernel has no huge pages")
@pytest.mark.parametrize(("backing", "setting"), [("anonymous", "enabled"), ("memfd", "shmem_enabled")])
def test_a_limit_within_a_huge_page_is_used_up(machine, backing, setting):
    machine.show(str(HUGE_PAGES / setting), "[always] madvise never\n")
    first, second = map(int, machine.output(f"backing = {backing!r}" + FILL).split())
    assert LIMIT - (128 << 10) < first <= LIMIT
    assert LIMIT - (128 << 10) < second <= LIMIT


PRINT = """
text = str(MemGroup().stats())
print(text.startswith("GroupStats("), "memgroup.display.slots" in sys.modules)
"""


def test_a_process_without_memory_prints_figures_without_loading_code(machine):
    machine.meminfo(MemAvailable=12, SwapFree=0)
    machine.show("/proc/zoneinfo", "")
    assert machine.output(PRINT) == "True False\n"


def test_a_process_with_memory_prints_a_map(machine):
    assert machine.output(PRINT) == "False True\n"


def test_a_map_that_is_loaded_is_printed_without_memory(machine):
    machine.meminfo(MemAvailable=12, SwapFree=0)
    machine.show("/proc/zoneinfo", "")
    assert machine.output("import memgroup.display.slots" + PRINT) == "False True\n"
