"""The requested sizes: the same for every peer, in every run."""

from __future__ import annotations

import random
from array import array

SMALLEST, LARGEST = 16, 512


def mixed(count: int) -> list[int]:
    """Return `count` pseudo-random sizes, spread evenly from SMALLEST to LARGEST."""
    numbers = array("I", random.Random(3).randbytes(4 * count))
    return [SMALLEST + number % (LARGEST - SMALLEST + 1) for number in numbers]


def padded(sizes: list[int]) -> int:
    """Return how many bytes they take one after the other, each 16-byte aligned."""
    return sum(size + 15 & ~15 for size in sizes)
