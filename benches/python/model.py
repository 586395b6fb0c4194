"""The types of the suite: works, the peers that do them, and the result of one measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Figures = dict[str, float]
"""One measurement: the name of a figure and its value, in seconds, bytes or as a count."""

Measure = Callable[[], Figures]
"""Does the work once and says what it took."""


class UnavailableError(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Scale:
    """The amount of work: all of it, or just enough to see that it runs."""

    quick: bool = False

    def of(self, count: int) -> int:
        """Return `count`, or a hundredth of it."""
        return max(1, count // 100) if self.quick else count


@dataclass(frozen=True)
class Peer:
    """A peer that does a work.

    Attributes:
        name: Its name in tables; those that begin with "memgroup" are ours.
        code: The measured operation, as a short piece of Python.
        prepare: Prepares, and returns the function to measure. Raises UnavailableError.
    """

    name: str
    code: str
    prepare: Callable[[Scale], Measure]


@dataclass(frozen=True)
class Work:
    """A job that each of several peers can do.

    Attributes:
        name: Key of the work in tables, filters and reasons.
        title: A description of the job.
        per: The unit of work that a time refers to.
        peers: The peers; ours first.
        units: Unit of every figure: "s", "bytes" or "count". The first figure is the main one.
        values: Measurements in each process, after the first.
        passes: The number of processes for each peer; None for the suite's default.
        first: Whether the first measurement of a process is shown too: the cost in a new process.
        nbytes: Bytes that one round fills, if a bandwidth is more useful than a time.
        resident: Bytes of free memory that are made resident before the first measurement.
    """

    name: str
    title: str
    per: str
    peers: tuple[Peer, ...]
    units: dict[str, str] = field(default_factory=lambda: {"time": "s"})
    values: int = 5
    passes: int | None = None
    first: bool = False
    nbytes: int | None = None
    resident: int = 0
