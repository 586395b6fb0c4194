"""What all workers have found together, and what each of them has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memgroup.engines.searching import Figures


@dataclass(slots=True)
class Share:
    """What one worker has done."""

    batches: int = 0
    files: int = 0
    nbytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Sums:
    """The figures of all batches so far.

    Attributes:
        files: Files searched.
        nbytes: Bytes read.
        lines: Lines that match.
        matching: Files with such a line.
        problems: Files and directories that could not be read.
        shares: What each worker has done, by its name.
    """

    files: int = 0
    nbytes: int = 0
    lines: int = 0
    matching: int = 0
    problems: int = 0
    shares: dict[str, Share] = field(default_factory=dict[str, Share])

    def add(self, worker: str, seconds: float, figures: Figures) -> None:
        """Add a batch."""
        self.count(figures)
        files, nbytes, *_ = figures
        share = self.shares.setdefault(worker, Share())
        share.batches += 1
        share.files += files
        share.nbytes += nbytes
        share.seconds += seconds

    def count(self, figures: Figures) -> None:
        """Add figures that no worker alone has."""
        files, nbytes, lines, matching, problems = figures
        self.files += files
        self.nbytes += nbytes
        self.lines += lines
        self.matching += matching
        self.problems += problems

    @property
    def figures(self) -> Figures:
        """The sums as the figures of one search."""
        return self.files, self.nbytes, self.lines, self.matching, self.problems
