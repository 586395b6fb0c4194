"""Helpers for the tests of ends."""

from __future__ import annotations

import pytest
from memgroup import MemGroup

CONTENTS = b"hello world, here I am"
QUIET = ("-X", "dev", "-W", "error")


@pytest.fixture
def name(request, cold):
    """A name for a group that no other test uses, so that the mappings of its memory can be counted."""
    return f"end-{abs(hash(request.node.nodeid)):x}"


def plural(n: int) -> str:
    return f"{n} live view{'' if n == 1 else 's'}"


def leave(group: MemGroup, error: BaseException | None = None) -> None:
    """Enter the group and leave it, with an exception if there is one."""
    with group:
        if error:
            raise error


def access_to(address: int) -> str | None:
    """The access that a mapping allows, as in /proc/self/maps."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            if start <= address < end:
                return line.split()[1]
    return None
