"""What a worker does for `memgroup.gather`: it reads files, and returns those that match."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from memgroup._files import Batch, FileReader, matching, open_file, pieces, split, unreadable
from memgroup._memgroup import MemGroup, Pattern, TreeWalk, is_text_utf8
from memgroup.engines.connect import connector
from memgroup.engines.engine import spread

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


class Reading(NamedTuple):
    """How files are read, and which of them are returned.

    Attributes:
        directory: Where relative paths begin.
        memory: The most bytes that are read at once.
        texts: What has to occur in a file, or None.
        syntax: As for `Pattern`.
    """

    directory: str
    memory: int
    texts: list[bytes] | None
    syntax: list[str]


class Part(NamedTuple):
    """Files that are read whole, or a piece of one."""

    paths: list[str]
    offset: int = 0
    nbytes: int | None = None


def read_on_workers(
    client: object, walk: TreeWalk, memory: int, texts: list[bytes] | None, syntax: list[str]
) -> Generator[Batch]:
    """The batches that one machine would have read.

    Raises:
        ValueError: `client` is no client.
        EngineError: As for `spread`.
    """
    connect = connector(client)
    charset = "utf-8" if is_text_utf8() else "bytes"
    reading = Reading(os.getcwd(), memory, texts, [*syntax, charset])

    def batches() -> Generator[Batch]:
        with closing(spread(connect(), read_part, reading, _parts(walk, memory))) as replies:
            for reply in replies:
                yield from reply.result
        if errors := unreadable(walk):
            yield Batch([], MemGroup().alloc_many([]), [], errors, None)

    return batches()


def _parts(walk: TreeWalk, memory: int) -> Iterator[Part]:
    for paths, size in split(walk, memory):
        yield from parts_of_file(paths[0], size, memory) if size else [Part(paths)]


def parts_of_file(path: str, size: int, memory: int) -> Iterator[Part]:
    """The pieces of a file that is larger than the memory."""
    try:
        file = open_file(path)
    except OSError:
        yield Part([path], 0, 0)  # reading it will tell what is wrong
        return
    try:
        for offset, nbytes in pieces(file, size, memory):
            yield Part([path], offset, nbytes)
    finally:
        os.close(file)


def read_part(reading: Reading, part: Part) -> list[Batch]:
    """Read files; return those in which the texts occur, each batch in a group of its own."""
    shown = {os.path.join(reading.directory, path): path for path in part.paths}
    pattern = None if reading.texts is None else Pattern(reading.texts, reading.syntax)
    batches = read_with(_KeepingReader(reading.memory), [*shown], part)
    return [_renamed(batch, shown) for batch in matching(batches, pattern)]


def read_with(reader: FileReader, paths: list[str], part: Part) -> Iterator[Batch]:
    """Read a part, the files of which have these paths here."""
    if part.nbytes is None:
        yield from reader.read_whole(paths)
        return
    try:
        file = open_file(paths[0])
    except OSError as error:
        yield reader.none({paths[0]: error})
        return
    try:
        yield reader.read_piece(paths[0], file, part.offset, part.nbytes)
    finally:
        os.close(file)


class _KeepingReader(FileReader):
    """Reads each batch into a group that lives as long as its blocks."""

    def _reset(self) -> None:
        self.group = self._make()


def _renamed(batch: Batch, shown: dict[str, str]) -> Batch:
    """The batch with the paths that the caller of `gather` knows."""
    for error in batch.errors.values():
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = shown.get(error.filename, error.filename)
    errors = {shown[path]: error for path, error in batch.errors.items()}
    return Batch([shown[path] for path in batch[0]], batch[1], batch.offsets, errors, None)
