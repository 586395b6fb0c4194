"""What the suite is made of: works, the peers that do them, and what one measurement gives."""

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
    """How much is done: all of it, or just enough to see that it runs."""

    quick: bool = False

    def of(self, count: int) -> int:
        """Return `count`, or a hundredth of it."""
        return max(1, count // 100) if self.quick else count


@dataclass(frozen=True)
class Peer:
    """Somebody who does a work.

    Attributes:
        name: Its name in tables; those that begin with "memgroup" are ours.
        code: What is done, in a few words of Python.
        prepare: Gets ready and returns what is measured. Raises UnavailableError.
    """

    name: str
    code: str
    prepare: Callable[[Scale], Measure]


@dataclass(frozen=True)
class Work:
    """Something that each of several peers can do.

    Attributes:
        name: Key of the work in tables, filters and reasons.
        title: What is done, in words.
        per: What a time is the time of.
        peers: Who does it; ours first.
        units: Unit of every figure: "s", "bytes" or "count". The first is the one that matters.
        values: Measurements in each process, after the first.
        passes: How often each peer gets a process of its own; None for as often as the suite says.
        first: Whether the first measurement of a process is shown too: what it takes of one that begins.
        nbytes: Bytes that one round fills, where a bandwidth says more than a time.
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
