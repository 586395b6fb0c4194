"""The report's job: read files in batches into one group, protect and measure them, make room for the next.

This module prints nothing. It returns an `Outcome`; a `Watch` can follow the work.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from memgroup._files import Reader
from memgroup._memgroup import TreeWalk
from memgroup.cli.gather.inspect import Largest, Sizes, measure
from memgroup.cli.gather.shortage import Shortage

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from memgroup import Batch, GroupStats, MemGroup
    from memgroup.display.watch import Watch

Read = Callable[[TreeWalk, int, "MemGroup"], "Generator[Batch]"]
"""Reads the files of a walk in batches of so many bytes into a group."""


class Unreadable(NamedTuple):
    """A file or directory that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """The files to gather, and what to tell of them.

    Attributes:
        paths: Files and directories.
        largest: How many of the largest files to list.
        memory: The most bytes to read at once.
        ignore: Whether to skip what the files .gitignore name.
    """

    paths: tuple[str, ...]
    largest: int
    memory: int
    ignore: bool = False


@dataclass(slots=True)
class Gathered:
    """What is known of the files so far.

    Attributes:
        sizes: The size of each file.
        last: The path of the last one.
        largest: The largest of them.
        batches: The number of batches.
        changed: The number of files that had changed their size when they were read.
        unsized: The number of files that reported no size but had content, as the files of /proc.
        abandoned: Bytes that were allocated and then wasted, because a file was shorter than reported.
        unreadable: The files that could not be read.
        shortage: The files that were left out, if the group had no memory for some.
        stats: The group when it was fullest.
    """

    largest: Largest
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    last: str = ""
    batches: int = 0
    changed: int = 0
    unsized: int = 0
    abandoned: int = 0
    unreadable: list[Unreadable] = field(default_factory=list[Unreadable])
    shortage: Shortage | None = None
    stats: GroupStats | None = None

    def add(self, batch: Batch, stats: GroupStats) -> None:
        """Add a batch, and the group that holds it."""
        self.batches += 1
        for path, nbytes, offset in zip(batch[0], batch[1].sizes, batch.offsets, strict=True):
            if offset:
                self.sizes[-1] += nbytes  # a further piece of the same file
            else:
                self.finish()
                self.sizes.append(nbytes)
                self.last = path
        for path, error in batch.errors.items():
            self._leave_out(path, error)
        if batch.result is not None:
            self.changed += len(batch.result.changed)
            self.unsized += len(batch.result.unannounced)
            self.abandoned += batch.result.abandoned
        if self.stats is None or stats.requested > self.stats.requested:
            self.stats = stats

    def finish(self) -> None:
        """Count the file added last, no piece of which will follow."""
        if self.sizes:
            self.largest.add(self.last, self.sizes[-1])

    def _leave_out(self, path: str, error: Exception) -> None:
        if isinstance(error, MemoryError):
            first = self.shortage or Shortage(path, 0, str(error))
            self.shortage = first._replace(left=first.left + 1)
        else:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self.unreadable.append(Unreadable(path, reason))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job: all data for a report.

    Attributes:
        paths: The requested paths.
        files: Files gathered.
        nbytes: Bytes of content in them.
        batches: As in `Gathered`.
        changed: As in `Gathered`.
        unsized: As in `Gathered`.
        abandoned: As in `Gathered`.
        shortage: As in `Gathered`.
        skipped: The number of files of each kind that is not regular.
        unreadable: Files and directories that could not be read.
        seconds: The time of each step: read (and walk), protect (not in an anonymous group), inspect, free.
        sizes: The sizes of the files.
        backing: The backing of the group.
        base: Bytes of the group's first slot.
        limit: Bytes the group could commit, or None.
        stats: The group when it was fullest.
    """

    paths: tuple[str, ...]
    files: int
    nbytes: int
    batches: int
    changed: int
    unsized: int
    abandoned: int
    shortage: Shortage | None
    skipped: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    seconds: dict[str, float]
    sizes: Sizes
    backing: str
    base: int
    limit: int | None
    stats: GroupStats

    @property
    def complete(self) -> bool:
        """Whether every file was gathered."""
        return not self.unreadable and self.shortage is None


def read_here(walk: TreeWalk, memory: int, group: MemGroup) -> Generator[Batch]:
    """Read the files of a walk into a group."""
    yield from Reader(walk, memory, group)


def gather(job: Job, group: MemGroup, watch: Watch, read: Read = read_here) -> Outcome:
    """Do `job` in `group`, and free the group, also if an exception ends the job."""
    try:
        return _gather(job, group, watch, read)
    finally:
        # Forced: after an interruption a system call may still hold a block.
        group.free(force=True)


def _gather(job: Job, group: MemGroup, watch: Watch, read: Read) -> Outcome:
    steps = ["read", "inspect"] if group.backing == "anonymous" else ["read", "protect", "inspect"]
    seconds = dict.fromkeys([*steps, "free"], 0.0)
    gathered = Gathered(Largest(job.largest))
    watch("read", gathered.sizes.__len__, None)
    walk = TreeWalk([os.fsencode(path) for path in job.paths], job.ignore)
    with closing(read(walk, job.memory, group)) as batches:
        for batch in _timed_batches(batches, seconds):
            files = batch[1]
            if "protect" in seconds:
                with _timed(seconds, "protect"):
                    group.protect(files)
            with _timed(seconds, "inspect"):
                gathered.add(batch, group.stats())
    gathered.finish()
    stats = gathered.stats or group.stats()
    with _timed(seconds, "free"):
        group.free()
    sizes = measure(gathered.sizes, gathered.largest)
    return Outcome(
        paths=job.paths,
        files=sizes.files,
        nbytes=sizes.nbytes,
        batches=gathered.batches,
        changed=gathered.changed,
        unsized=gathered.unsized,
        abandoned=gathered.abandoned,
        shortage=gathered.shortage,
        skipped=dict(walk.skipped),
        unreadable=tuple(gathered.unreadable),
        seconds=seconds,
        sizes=sizes,
        backing=group.backing,
        base=group.base,
        limit=group.limit,
        stats=stats,
    )


def _timed_batches(batches: Iterator[Batch], seconds: dict[str, float]) -> Iterator[Batch]:
    """The batches, with the time that reading them takes."""
    while True:
        with _timed(seconds, "read"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Generator[None]:
    start = time.perf_counter()
    yield
    seconds[step] += time.perf_counter() - start
