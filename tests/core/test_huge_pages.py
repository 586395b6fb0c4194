"""Large slots in huge pages, as seen and steered from Python."""

import os
import tempfile
from typing import cast

import pytest
from memgroup import MemGroup
from support.overcommit import not_strict

MIB = 1 << 20
HUGE = 2 * MIB


def test_stats_tell_what_is_in_huge_pages():
    with MemGroup(16 * MIB) as group:
        group.alloc(8 * MIB)[:] = bytes(8 * MIB)
        stats = group.stats()
        assert stats.huge == sum(slot.huge for slot in stats.slots) <= stats.committed
        assert stats.huge % HUGE == 0
        assert stats.as_dict()["huge"] == stats.huge


def test_an_option_turns_them_off():
    with MemGroup(16 * MIB, huge_pages=False) as group:
        group.alloc(8 * MIB)[:] = bytes(8 * MIB)
        assert group.stats().huge == 0
        assert (
            group.stats().huge_obstacle
            == "huge pages are turned off, by huge_pages=False or MEMGROUP_HUGE_PAGES=0"
        )
    with pytest.raises(TypeError, match="huge_pages must be True or False"):
        MemGroup(huge_pages=cast("bool", 1))


def test_a_variable_turns_them_off(child):
    said = child.output("""
        os.environ["MEMGROUP_HUGE_PAGES"] = "0"
        group = MemGroup(16 << 20)
        group.alloc(8 << 20)
        print(group.stats().huge)
    """)
    assert int(said) == 0


@not_strict
def test_groups_of_4_mebibytes_hold_little_more_in_memory(child):
    """1,000 groups alive at once: what they commit and have resident is at most 1.15 times what they hold."""
    child.output(
        """
        def resident():
            lines = open("/proc/self/status").read().splitlines()
            kinds = ("RssAnon", "RssShmem")
            return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(kinds))

        for options in ({}, {"base": 2 << 20}, {"base": 4 << 20}):
            before, groups = resident(), []
            for number in range(NUMBER):
                groups.append(MemGroup(**options))
                size = (1 << 20, 10_000, 300_000)[number % 3]
                for block in groups[-1].alloc_many(count=(4 << 20) // size, size=size):
                    block[:] = bytes(size)
            held = sum(group.stats().allocated for group in groups)
            committed = sum(group.stats().committed for group in groups)
            assert committed <= 1.15 * held, (options, committed, held)
            assert resident() - before <= 1.15 * held, (options, resident() - before, held)
            for group in groups:
                group.free()
        """.replace("NUMBER", "1000" if os.environ.get("MEMGROUP_FUZZ") else "100")
    )


def test_a_small_group_commits_no_huge_page():
    with MemGroup() as group, MemGroup(huge_pages=False) as small:
        for each in (group, small):
            for _ in range(1000):
                each.alloc(100)
        assert group.stats().committed == small.stats().committed
        assert group.stats().huge == 0


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({"secret": True}, "secrets are in small pages"),
        ({"backing": tempfile.gettempdir()}, "the file system of the directory chooses the pages"),
    ],
)
def test_stats_tell_why_there_are_none(options, obstacle):
    with MemGroup(**options) as group:
        assert (group.stats().huge, group.stats().huge_obstacle) == (0, obstacle)


def test_there_are_huge_pages_or_there_is_a_reason(child):
    said = child.output("""
        group = MemGroup(16 << 20)
        group.alloc(8 << 20)
        stats = group.stats()
        print(bool(stats.huge) or bool(stats.huge_obstacle))
    """)
    assert said.strip() == "True"
