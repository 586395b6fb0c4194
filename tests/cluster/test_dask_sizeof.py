"""How much memory dask takes blocks and lists for."""

from __future__ import annotations

import pytest
from memgroup import MemGroup

sizeof = pytest.importorskip("dask.sizeof").sizeof


def test_dask_counts_the_bytes_of_blocks_and_lists():
    group = MemGroup()
    assert sizeof(group.alloc(1_000_000)) == 1_000_000
    records = group.alloc_many([1000] * 1000 + [1])
    assert 1_000_001 <= sizeof(records) <= 1_000_001 + 16 * 1001
    assert sizeof([group.alloc(1000)]) > 1000
