"""Files of trees, read in batches into the memory of a group."""

from __future__ import annotations

import os

from memgroup._memgroup import MemGroup, MemList
from memgroup._reach import Reachable, is_long

# Modules that only some programs need are imported on first use, because importing memgroup has to be fast.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from contextlib import ExitStack
    from typing import Self

    from memgroup import ReadResult
    from memgroup._memgroup import Pattern, TreeWalk

    _Follow = Callable[[int, int], object]

# What a group may commit beyond a batch: gaps, and the rest of its last window.
_SLACK = 4 * 1024 * 1024

# The end of a line is looked for in so many of the last bytes of a piece of a large file.
_TAIL = 64 * 1024


class Batch(tuple["list[str]", MemList]):
    """Some files of a tree: `paths, files = batch`, where `files[i]` is the content of `paths[i]`.

    Attributes:
        offsets: The offset of each content in its file: 0, unless it is a piece of a file larger than
            `memory`.
        errors: The files that could not be read, and why: a dict of exceptions by path.
        result: The ReadResult of the call that read them, or None if none of them could be.
    """

    offsets: list[int]
    errors: dict[str, Exception]
    result: ReadResult | None

    def __new__(
        cls,
        paths: list[str],
        files: MemList,
        offsets: list[int],
        errors: dict[str, Exception],
        result: ReadResult | None,
    ) -> Self:
        """Make a pair with attributes."""
        batch = super().__new__(cls, (paths, files))
        batch.offsets, batch.errors, batch.result = offsets, errors, result
        return batch

    def __reduce__(self) -> tuple[type[Batch], tuple[object, ...]]:
        """Pickle without `result`, which tells of descriptors and addresses of this process."""
        paths, files = self
        return Batch, (paths, files, self.offsets, self.errors, None)

    def take(self, indices: Sequence[int]) -> Batch:
        """The same with only the files of these numbers."""
        paths, files = self
        return Batch(
            [paths[index] for index in indices],
            files.take(indices),
            [self.offsets[index] for index in indices],
            self.errors,
            self.result,
        )


def matching(batches: Iterable[Batch], pattern: Pattern | None) -> Iterator[Batch]:
    """The batches with only the files in which a pattern occurs."""
    if pattern is None:
        yield from batches
        return
    for batch in batches:
        mask = pattern.occurs_in(batch[1])
        found = batch.take([index for index, matches in enumerate(mask) if matches])
        if found[0] or found.errors:
            yield found


class FileReader:
    """Reads files into a group: its own, or one that is given. As a context, it ends the group."""

    def __init__(self, memory: int, group: MemGroup | None = None) -> None:
        """Read so many bytes at once."""
        self._memory = memory
        self._is_own = group is None
        self.group = self._make() if group is None else group
        # Called, while files are read, with how many of the call's are done, and how many these are.
        self.follow: _Follow | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.group.__exit__(None, None, None)

    def _make(self) -> MemGroup:
        return MemGroup(limit=self._memory + _SLACK, name="gather")

    def read_whole(self, paths: list[str]) -> Iterator[Batch]:
        """Read files whole: all in one batch, or in two halves if there is no memory for that."""
        self._reset()
        try:
            batch = self._batch(paths, self._fill(paths))
        except MemoryError as error:
            if len(paths) == 1:
                yield self.none({paths[0]: error})
                return
            half = len(paths) // 2
            yield from self.read_whole(paths[:half])
            yield from self.read_whole(paths[half:])
        else:
            yield batch

    def read_piece(self, path: str, file: int, offset: int, nbytes: int) -> Batch:
        """Read a piece of a file."""
        self._reset()
        try:
            return self._batch([path], self.group.read_ranges(file, [offset], [nbytes]), offset)
        except (OSError, MemoryError) as error:
            return self.none({path: error})

    def _fill(self, paths: list[str]) -> ReadResult:
        return read_batch(self.group, paths, self.follow)

    def _batch(self, paths: list[str], result: ReadResult, offset: int = 0) -> Batch:
        files, errors = result.blocks, result.errors
        by_path: dict[str, Exception] = {paths[index]: error for index, error in errors.items()}
        batch = Batch(paths, files, [offset] * len(paths), by_path, result)
        return batch.take([index for index in range(len(paths)) if index not in errors]) if errors else batch

    def none(self, errors: dict[str, Exception]) -> Batch:
        """A batch of no files."""
        return Batch([], self.group.alloc_many([]), [], errors, None)

    def _reset(self) -> None:
        """Make the memory free for the next batch: another group's, where a view still uses it."""
        try:
            self.group.reset()
        except BufferError:
            if not self._is_own:
                raise
            self.group.__exit__(None, None, None)
            self.group = self._make()


class Reader(FileReader):
    """Reads the files of a walk: an iterable of batches."""

    def __init__(self, walk: TreeWalk, memory: int, group: MemGroup | None = None) -> None:
        """Read so many bytes at once, into a group of the reader's own or one that is given."""
        super().__init__(memory, group)
        self._walk = walk

    def __iter__(self) -> Generator[Batch]:
        for paths, size in split(self._walk, self._memory):
            yield from self._read_pieces(paths[0], size) if size else self.read_whole(paths)
        if errors := unreadable(self._walk):
            yield self.none(errors)

    def _read_pieces(self, path: str, size: int) -> Iterator[Batch]:
        try:
            file = open_file(path)
        except OSError as error:
            yield self.none({path: error})
            return
        try:
            for offset, nbytes in pieces(file, size, self._memory):
                batch = self.read_piece(path, file, offset, nbytes)
                yield batch
                if batch.errors:
                    return
        except OSError as error:
            yield self.none({path: error})
        finally:
            os.close(file)


def split(walk: Iterable[list[bytes]], memory: int) -> Iterator[tuple[list[str], int]]:
    """The files of a walk in few lists that the memory holds, each with 0; or a larger one with its size."""
    for some in walk:
        paths = [os.fsdecode(path) for path in some]
        first = total = 0
        for index, path in enumerate(paths):
            size = _size(path)
            total += size
            if total <= memory:
                continue
            if first < index:
                yield paths[first:index], 0
            first, total = index, size
            if size > memory:
                yield [path], size
                first, total = index + 1, 0
        if first < len(paths):
            yield paths[first:], 0


def unreadable(walk: TreeWalk) -> dict[str, Exception]:
    """What a walk could not examine or list, and why."""
    return {
        os.fsdecode(path): OSError(code, os.strerror(code), os.fsdecode(path))
        for path, code in walk.unreadable
    }


def open_file(path: str) -> int:
    """Open a file, whatever the length of its path."""
    with Reachable(path) as near:
        return os.open(near, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def pieces(file: int, size: int, memory: int) -> Iterator[tuple[int, int]]:
    """The offset and the length of each piece of a large file."""
    offset = 0
    while offset < size:
        nbytes = _piece(file, offset, min(memory, size - offset), size)
        yield offset, nbytes
        offset += nbytes


def _size(path: str) -> int:
    """The size that a file announces; 0 if reading it will tell what is wrong."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _piece(file: int, offset: int, nbytes: int, size: int) -> int:
    """How many of the next `nbytes` bytes to read, so that a line ends there if that is possible."""
    if offset + nbytes == size:
        return nbytes
    tail = os.pread(file, min(_TAIL, nbytes), offset + nbytes - min(_TAIL, nbytes))
    feed = tail.rfind(b"\n")
    return nbytes if feed < 0 else nbytes - (len(tail) - feed - 1)


def read_batch(group: MemGroup, paths: Sequence[str], follow: _Follow | None) -> ReadResult:
    """Read some files; `follow` gets the numbers of finished files and of all files.

    Raises:
        MemoryError: The group has no room for all of them; no file was read.
    """
    if not any(map(is_long, paths)):
        return group.read_files(paths, progress=follow)
    from contextlib import ExitStack

    with ExitStack() as stack:
        return group.read_files([_reach(path, stack) for path in paths], progress=follow)


def _reach(path: str, stack: ExitStack) -> str:
    try:
        return stack.enter_context(Reachable(path))
    except OSError:
        return path  # reading it will report its error
