"""What a worker does for the report of `memgroup gather`: it reads files, and returns how long they are."""

from __future__ import annotations

import os
from array import array
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memgroup._files import FileReader, split, unreadable
from memgroup._reads import ReadResult
from memgroup.engines.connect import connector
from memgroup.engines.engine import spread
from memgroup.engines.reading import Part, Reading, parts_of_file, read_with

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import Self

    from memgroup._files import Batch
    from memgroup._memgroup import MemGroup, MemList, TreeWalk
    from memgroup.engines.searching import Figures
    from memgroup.engines.sums import Sums


@dataclass(slots=True)
class Measured:
    """What was read of some files, as a `ReadResult` tells it, without the contents.

    Attributes:
        sizes: How many bytes each file has.
        errors: As in `ReadResult`.
        changed: As in `ReadResult`.
        unannounced: As in `ReadResult`.
        abandoned: As in `ReadResult`.
    """

    sizes: array[int] = field(default_factory=lambda: array("Q"))
    errors: dict[int, Exception] = field(default_factory=dict[int, Exception])
    changed: list[int] = field(default_factory=list[int])
    unannounced: list[int] = field(default_factory=list[int])
    abandoned: int = 0

    def add(
        self,
        sizes: Iterable[int],
        errors: dict[int, Exception],
        changed: Iterable[int] = (),
        unannounced: Iterable[int] = (),
        abandoned: int = 0,
    ) -> None:
        """Add the files that follow, which are numbered from 0."""
        first = len(self.sizes)
        self.sizes.extend(sizes)
        self.errors.update((first + number, error) for number, error in errors.items())
        self.changed.extend(first + number for number in changed)
        self.unannounced.extend(first + number for number in unannounced)
        self.abandoned += abandoned

    def extend(self, other: Measured) -> None:
        """Add all files of another."""
        self.add(other.sizes, other.errors, other.changed, other.unannounced, other.abandoned)

    @property
    def figures(self) -> Figures:
        """The same as the figures of a search that has found nothing."""
        return len(self.sizes) - len(self.errors), sum(self.sizes), 0, 0, len(self.errors)


class _Measurer(FileReader):
    """Notes what was read, file by file."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self.measured = Measured()

    def _batch(self, paths: list[str], result: ReadResult, offset: int = 0) -> Batch:
        errors: dict[int, Exception] = {**result.errors}
        self.measured.add(result.blocks.sizes, errors, result.changed, result.unannounced, result.abandoned)
        return super()._batch(paths, result, offset)

    def none(self, errors: dict[str, Exception]) -> Batch:
        self.measured.add([0] * len(errors), dict(enumerate(errors.values())))
        return super().none(errors)


def measure_part(reading: Reading, part: Part) -> Measured:
    """Read files; return what was read."""
    paths = [os.path.join(reading.directory, path) for path in part.paths]
    with _Measurer(reading.memory) as reader:
        for _ in read_with(reader, paths, part):
            pass
        return reader.measured


def measured_on_workers(
    target: object, nbytes: int, sums: Sums, walk: TreeWalk, memory: int, group: MemGroup
) -> Generator[Batch]:
    """The batches that one machine would have read into `group`. Their blocks have no contents.

    Workers get files of so many bytes at once. What each has done goes to `sums`.

    Raises:
        EngineError: As for `spread`.
    """
    connect = connector(target)
    plan: deque[tuple[Part, bool]] = deque()

    def parts() -> Iterator[Part]:
        for part, ends_batch in _parts(walk, memory, nbytes):
            plan.append((part, ends_batch))
            yield part

    reading = Reading(os.getcwd(), memory, None, [])
    allocator = _Allocator(memory, group)
    with closing(spread(connect(), measure_part, reading, parts())) as replies:
        for reply in replies:
            part, ends_batch = plan.popleft()
            sums.add(reply.worker, reply.seconds, reply.result.figures)
            allocator.add(part, reply.result)
            if ends_batch:
                yield from allocator.batches()
    if errors := unreadable(walk):
        yield allocator.none(errors)


def _parts(walk: TreeWalk, memory: int, nbytes: int) -> Iterator[tuple[Part, bool]]:
    """What workers read at once, and whether a batch of one machine ends with it."""
    for paths, size in split(walk, memory):
        if size:
            yield from ((part, True) for part in parts_of_file(paths[0], size, memory))
            continue
        left = len(paths)
        for some, _ in split([[*map(os.fsencode, paths)]], nbytes):
            left -= len(some)
            yield Part(some), not left


class _Elsewhere(ReadResult):
    """What was read elsewhere."""

    @classmethod
    def of(cls, blocks: MemList, measured: Measured, numbers: list[int]) -> Self:
        """The result for the files of these numbers, which have these blocks here."""
        places = {number: place for place, number in enumerate(numbers)}
        errors: dict[int, Any] = {
            places[number]: error for number, error in measured.errors.items() if number in places
        }
        changed, unannounced = (
            tuple(places[number] for number in some if number in places)
            for some in (measured.changed, measured.unannounced)
        )
        abandoned, measured.abandoned = measured.abandoned, 0
        return cls._make(blocks, errors, changed, unannounced, abandoned)


class _Allocator(FileReader):
    """Allocates for each file what reading it would have."""

    def __init__(self, memory: int, group: MemGroup) -> None:
        super().__init__(memory, group)
        self._failed = ""
        self._begin()

    def _begin(self) -> None:
        self._parts: list[Part] = []
        self._measured = Measured()

    def add(self, part: Part, measured: Measured) -> None:
        """Add a part of a batch."""
        self._parts.append(part)
        self._measured.extend(measured)

    def batches(self) -> Iterator[Batch]:
        """What has been added, in one batch; in several, if the group has no memory for that."""
        first = self._parts[0]
        if first.nbytes is None:
            paths = [path for part in self._parts for path in part.paths]
            self._numbers = {path: number for number, path in enumerate(paths)}
            yield from self.read_whole(paths)
        elif not first.offset or first.paths != [self._failed]:
            yield self._piece(first.paths[0], first.offset, first.nbytes)
        self._begin()

    def _piece(self, path: str, offset: int, nbytes: int) -> Batch:
        error = self._measured.errors.get(0)
        if error is not None:
            self._failed = path  # nobody would have read on
        if isinstance(error, OSError):
            return self.none({path: error})
        self._reset()
        self._numbers = {path: 0}
        self._measured.sizes[0] = nbytes
        try:
            return self._batch([path], self._fill([path]), offset)
        except MemoryError as shortage:
            self._failed = path
            return self.none({path: shortage})

    def _fill(self, paths: list[str]) -> ReadResult:
        numbers = [self._numbers[path] for path in paths]
        blocks = self.group.alloc_many([self._measured.sizes[number] for number in numbers])
        return _Elsewhere.of(blocks, self._measured, numbers)
