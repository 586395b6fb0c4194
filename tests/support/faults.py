"""Helpers for the tests of crashes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.crashes import (
    Nursery,
)

# One group of four full slots. A child of the nursery shares them, so its changes would be visible here.
FULL = """
    memgroup.enable_fault_report()
    group = MemGroup(base=65536, name="crash", backing=BACKING)
    blocks = [group.alloc(65536 << i) for i in range(4)]
    for i, block in enumerate(blocks):
        block[:] = bytes([0x50 + i]) * len(block)
    shown = [group.protect(block) for block in blocks]
    first = {"read-write": [b.address for b in blocks], "read-only": [b.address for b in shown]}


    def unchanged():
        return all(bytes(block) == bytes([0x50 + i]) * len(block) for i, block in enumerate(blocks))
"""


@pytest.fixture(scope="module", params=["memfd", "directory"])
def nursery(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    directory = str(tmp_path_factory.mktemp("crash")) if request.param == "directory" else request.param
    made = Nursery(kind=request.param)
    made.run(FULL, BACKING=directory)
    yield made
    made.close()


@pytest.fixture(scope="module")
def empty() -> Iterator[Nursery]:
    """A process without any group."""
    made = Nursery()
    yield made
    made.close()
