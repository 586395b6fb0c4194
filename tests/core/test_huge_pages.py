"""Large slots in huge pages, as seen and steered from Python."""

import pytest
from memgroup import MemGroup

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
    with pytest.raises(TypeError, match="huge_pages must be True or False"):
        MemGroup(huge_pages=1)


def test_a_variable_turns_them_off(child):
    said = child.output("""
        os.environ["MEMGROUP_HUGE_PAGES"] = "0"
        group = MemGroup(16 << 20)
        group.alloc(8 << 20)
        print(group.stats().huge)
    """)
    assert int(said) == 0


def test_a_small_group_commits_no_huge_page():
    with MemGroup() as group, MemGroup(huge_pages=False) as small:
        for each in (group, small):
            for _ in range(1000):
                each.alloc(100)
        assert group.stats().committed == small.stats().committed
        assert group.stats().huge == 0
