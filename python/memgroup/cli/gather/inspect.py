"""Inspecting the gathered files: their sizes."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Each size class is four times as wide as the one before; the first is for empty files.
_CLASSES = (0, 1, *(4**power for power in range(4, 32)))


class FileSize(NamedTuple):
    """One file and its bytes."""

    path: str
    nbytes: int


class SizeClass(NamedTuple):
    """The files of `low` bytes or more, and fewer than `high`."""

    low: int
    high: int
    files: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the files, in bytes.

    Attributes:
        files: The number of files.
        nbytes: All of them together.
        median: At least half of the files are no larger: the nearest rank.
        p90: At least nine tenths of the files are no larger.
        distribution: The classes from the first to the last that has files.
        largest: The largest files, largest first.
    """

    files: int
    nbytes: int
    median: int
    p90: int
    distribution: tuple[SizeClass, ...]
    largest: tuple[FileSize, ...]

    @property
    def mean(self) -> float:
        """Bytes of a file on average."""
        return self.nbytes / self.files if self.files else 0.0


class Largest:
    """The largest of the files that are added; of files of one size those that came first."""

    def __init__(self, most: int) -> None:
        """Keep so many."""
        self._most = most
        # The smallest first. Later files have smaller numbers.
        self._heap: list[tuple[int, int, str]] = []
        self._added = 0

    def add(self, path: str, nbytes: int) -> None:
        """Add a file."""
        self._added += 1
        entry = (nbytes, -self._added, path)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def files(self) -> tuple[FileSize, ...]:
        """The files, largest first."""
        return tuple(FileSize(path, nbytes) for nbytes, _, path in sorted(self._heap, reverse=True))


def measure(sizes: Iterable[int], largest: Largest) -> Sizes:
    """What there is to say of the sizes of some files, and the largest of them."""
    ordered = sorted(sizes)
    return Sizes(
        files=len(ordered),
        nbytes=sum(ordered),
        median=_percentile(ordered, 50),
        p90=_percentile(ordered, 90),
        distribution=_distribution(ordered),
        largest=largest.files(),
    )


def _percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest of `ordered` that so many percent of it do not exceed: the nearest rank."""
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1] if ordered else 0


def _distribution(ordered: Sequence[int]) -> tuple[SizeClass, ...]:
    if not ordered:
        return ()
    classes = [
        _size_class(ordered, low, high)
        for low, high in pairwise(_CLASSES)
        if high > ordered[0] and low <= ordered[-1]
    ]
    return tuple(classes)


def _size_class(ordered: Sequence[int], low: int, high: int) -> SizeClass:
    members = ordered[bisect_left(ordered, low) : bisect_left(ordered, high)]
    return SizeClass(low, high, len(members), sum(members))
