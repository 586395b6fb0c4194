"""Helpers for the tests of the costs of forks."""

from __future__ import annotations

import pytest
from conftest import memory_available
from memgroup.forkcost import Measurement, compare

MIB = 1 << 20


@pytest.fixture(scope="module")
def measured() -> dict[str, Measurement]:
    """Each default backing with 256 MiB."""
    if memory_available() < 2 << 30:
        pytest.skip("needs 2 GiB of memory")
    return {one.backing: one for one in compare(256 * MIB, rounds=3)}
