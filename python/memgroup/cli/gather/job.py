"""The main job: find files, gather them into one group, protect and inspect them, free them all in one shot.

This module prints nothing. It returns an `Outcome`; a `Watch` can follow the work.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memgroup.cli.gather.find import Finder, Found, Unreadable
from memgroup.cli.gather.inspect import Matches, Search, Sizes, measure
from memgroup.cli.gather.reach import is_long, reachable
from memgroup.cli.gather.shortage import Shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from memgroup import GroupStats, MemBlock, MemGroup, ReadResult
    from memgroup.display.watch import Watch

# Files read in one call: as many as read_files opens at once, which saves a system call by path for each
# size. A batch that does not fit costs little.
_BATCH = 128


@dataclass(frozen=True, slots=True)
class Job:
    """The files to gather, and the inspection.

    Attributes:
        paths: Files and directories.
        inspection: A search, or how many of the largest files to list.
    """

    paths: tuple[str, ...]
    inspection: Search | int


@dataclass(slots=True)
class Gathered:
    """Files in a group: `paths[i]` has the content `blocks[i]`.

    Two lists and not a list of pairs, so that a file needs no object besides its path and its block.

    Attributes:
        paths: The files that were read.
        blocks: Their content.
        changed: The number of files that had changed their size when they were read.
        unsized: The number of files that reported no size but had content, as the files of /proc.
        abandoned: Bytes that were allocated and then wasted, because a file was shorter than reported.
        unreadable: The files that could not be read.
        shortage: The files that were left out, if the group had no memory for some.
    """

    paths: list[str] = field(default_factory=list[str])
    blocks: list[MemBlock] = field(default_factory=list["MemBlock"])
    changed: int = 0
    unsized: int = 0
    abandoned: int = 0
    unreadable: list[Unreadable] = field(default_factory=list[Unreadable])
    shortage: Shortage | None = None

    def add(self, paths: Sequence[str], result: ReadResult) -> None:
        """Add the result of reading `paths`."""
        blocks, errors = result
        for number, (path, block) in enumerate(zip(paths, blocks, strict=True)):
            error = errors.get(number)
            if error is None:
                self.paths.append(path)
                self.blocks.append(block)
            elif isinstance(error, OSError):
                self.unreadable.append(Unreadable.because(path, error))
                self.abandoned += len(block)
            else:
                self.leave_out(path, error)
        self.changed += len(result.changed)
        self.unsized += len(result.unannounced)
        self.abandoned += result.abandoned

    def leave_out(self, path: str, error: Exception) -> None:
        """Count a file that the group had no memory for; keep the path and the reason of the first one."""
        first = self.shortage or Shortage(path, 0, str(error))
        self.shortage = first._replace(left=first.left + 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job: all data for a report.

    Attributes:
        paths: The requested paths.
        found: Files found.
        files: Files gathered.
        nbytes: Bytes of content in them.
        changed: As in `Gathered`.
        unsized: As in `Gathered`.
        abandoned: As in `Gathered`.
        shortage: As in `Gathered`.
        skipped: The number of files of each kind that is not regular.
        unreadable: Files and directories that could not be read.
        seconds: The time of each step: walk, gather, protect (not in an anonymous group), inspect, free.
        finding: The result of the inspection.
        backing: The backing of the group.
        base: Bytes of the group's first slot.
        limit: Bytes the group could commit, or None.
        stats: The group before it was freed.
    """

    paths: tuple[str, ...]
    found: int
    files: int
    nbytes: int
    changed: int
    unsized: int
    abandoned: int
    shortage: Shortage | None
    skipped: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    seconds: dict[str, float]
    finding: Sizes | Matches
    backing: str
    base: int
    limit: int | None
    stats: GroupStats

    @property
    def complete(self) -> bool:
        """Whether every file was gathered."""
        return not self.unreadable and self.shortage is None


def gather(job: Job, group: MemGroup, watch: Watch) -> Outcome:
    """Do `job` in `group`, and free the group, also if an exception ends the job."""
    try:
        return _gather(job, group, watch)
    finally:
        # Forced: after an interruption a system call may still hold a block.
        group.free(force=True)


def _gather(job: Job, group: MemGroup, watch: Watch) -> Outcome:
    seconds: dict[str, float] = {}
    with _timed(seconds, "walk"):
        found = _walk(job.paths, watch)
    with _timed(seconds, "gather"):
        gathered = _read_all(found.paths, group, watch)
    if group.backing != "anonymous":
        with _timed(seconds, "protect"):
            gathered.blocks[:] = map(group.protect, gathered.blocks)
    with _timed(seconds, "inspect"):
        finding = _inspect(job.inspection, gathered, watch)
    stats = group.stats()
    with _timed(seconds, "free"):
        group.free()
    return Outcome(
        paths=job.paths,
        found=len(found.paths),
        files=len(gathered.paths),
        nbytes=finding.nbytes,
        changed=gathered.changed,
        unsized=gathered.unsized,
        abandoned=gathered.abandoned,
        shortage=gathered.shortage,
        skipped=dict(found.skipped),
        unreadable=(*found.unreadable, *gathered.unreadable),
        seconds=seconds,
        finding=finding,
        backing=group.backing,
        base=group.base,
        limit=group.limit,
        stats=stats,
    )


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Generator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start


def _walk(paths: Sequence[str], watch: Watch) -> Found:
    found = Found()
    watch("walk", found.paths.__len__, None)
    Finder(found).find(paths)
    return found


def _read_all(paths: Sequence[str], group: MemGroup, watch: Watch) -> Gathered:
    """Read every file into its own block. Leave out files that the group has no memory for."""
    gathered = Gathered()
    done = 0
    watch("gather", lambda: done, len(paths))

    def follow(in_batch: int, _: int) -> None:
        nonlocal done
        done = first + in_batch

    for first in range(0, len(paths), _BATCH):
        batch = paths[first : first + _BATCH]
        try:
            gathered.add(batch, read_batch(group, batch, follow))
        except MemoryError:
            _read_singly(batch, group, gathered)
            done = first + len(batch)
    return gathered


def _read_singly(batch: Sequence[str], group: MemGroup, gathered: Gathered) -> None:
    """Read the files of a batch that fit, if not all of them fit."""
    for path in batch:
        try:
            gathered.add((path,), read_batch(group, (path,), None))
        except MemoryError as error:
            gathered.leave_out(path, error)


def read_batch(
    group: MemGroup, paths: Sequence[str], follow: Callable[[int, int], None] | None
) -> ReadResult:
    """Read some files; `follow` gets the numbers of finished files and of all files.

    Raises:
        MemoryError: The group has no room for all of them; no file was read.
    """
    with ExitStack() as stack:
        if any(map(is_long, paths)):
            paths = [_reach(path, stack) for path in paths]
        return group.read_files(paths, progress=follow)


def _reach(path: str, stack: ExitStack) -> str:
    try:
        return stack.enter_context(reachable(path))
    except OSError:
        return path  # reading it will report its error


def _inspect(inspection: Search | int, gathered: Gathered, watch: Watch) -> Sizes | Matches:
    if not isinstance(inspection, Search):
        return measure(gathered.paths, gathered.blocks, inspection)
    counts: list[int] = []
    watch("inspect", counts.__len__, len(gathered.blocks))
    return inspection.run(gathered.paths, gathered.blocks, counts)
