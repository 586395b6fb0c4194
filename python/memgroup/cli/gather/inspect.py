"""Inspecting the gathered files: their sizes, or the positions of some bytes in them."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from memgroup import MemBlock

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
        median: No more than half of the files are smaller, no more than half larger.
        p90: No more than a tenth of the files is larger.
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


class FileMatches(NamedTuple):
    """One file, how often the pattern occurs in it, and the offsets of the first of these matches."""

    path: str
    matches: int
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """The matches of a pattern. They do not overlap, as with `bytes.count`.

    Attributes:
        pattern: The bytes that were searched for.
        nbytes: Bytes searched.
        matches: The number of matches in all files.
        files: The number of files with a match.
        listed: The first of these files.
    """

    pattern: bytes
    nbytes: int
    matches: int
    files: int
    listed: tuple[FileMatches, ...]


def measure(paths: Sequence[str], blocks: Sequence[Sized], most: int) -> Sizes:
    """Sizes of the files `paths` with content `blocks`, and the `most` largest."""
    sizes = list(map(len, blocks))
    ordered = sorted(sizes)
    largest = heapq.nlargest(most, range(len(sizes)), key=sizes.__getitem__)
    return Sizes(
        files=len(sizes),
        nbytes=sum(sizes),
        median=_percentile(ordered, 50),
        p90=_percentile(ordered, 90),
        distribution=_distribution(ordered),
        largest=tuple(FileSize(paths[index], sizes[index]) for index in largest),
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


@dataclass(slots=True)
class Search:
    """A search for `pattern` that lists the offsets of `most_matches` in each of `most_files`."""

    pattern: bytes
    most_files: int
    most_matches: int

    def run(self, paths: Sequence[str], blocks: Sequence[MemBlock], counts: list[int]) -> Matches:
        """Search the files `paths` with content `blocks`.

        `counts` receives the number of matches of each file in turn; another thread may watch it.
        """
        pattern = self.pattern
        for block in blocks:
            counts.append(block.count(pattern))
        hits = [index for index, count in enumerate(counts) if count]
        return Matches(
            pattern=pattern,
            nbytes=sum(map(len, blocks)),
            matches=sum(counts),
            files=len(hits),
            listed=tuple(
                FileMatches(paths[index], counts[index], self._offsets(blocks[index], counts[index]))
                for index in hits[: self.most_files]
            ),
        )

    def _offsets(self, block: MemBlock, count: int) -> tuple[int, ...]:
        offsets: list[int] = []
        behind = 0
        for _ in range(min(count, self.most_matches)):
            offset = block.find(self.pattern, behind)
            offsets.append(offset)
            behind = offset + len(self.pattern)
        return tuple(offsets)
