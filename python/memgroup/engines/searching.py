"""What a worker does with a batch of files: it returns what `memgroup gather` prints of them."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from memgroup._memgroup import search_files, search_rows
from memgroup.display.text import show_text
from memgroup.engines.engine import EngineError

if TYPE_CHECKING:
    from memgroup.engines.batches import Files

Columns = tuple[list[bytes], bytes, bytes, bytes, bytes, bytes]
"""Some lines that match, as `search_rows` hands them on."""

Figures = tuple[int, int, int, int, int]
"""Files, bytes, lines that match, files with such a line, and what could not be read."""


class Search(NamedTuple):
    """What is searched for, and how: the arguments of `search_files`.

    Attributes:
        directory: Where relative paths begin.
        patterns: As there.
        syntax: As there.
        style: As there.
        memory: As there.
        threads: As there.
    """

    directory: bytes
    patterns: list[bytes]
    syntax: list[str]
    style: list[str]
    memory: int
    threads: int


class Rows(NamedTuple):
    """Lines that match as columns, the files that could not be read and why, and the figures."""

    columns: list[Columns]
    problems: list[tuple[bytes, str]]
    figures: Figures


class Found(NamedTuple):
    """What one machine would have printed of the files, and the figures."""

    output: bytes
    errors: bytes
    figures: Figures


def search_batch(search: Search, files: Files) -> Found:
    """Search some files.

    Raises:
        ValueError: As `search_files`.
        MemoryError: As `search_files`.
        EngineError: There is no such directory here.
    """
    with ExitStack() as stack:
        directory = open_directory(stack, search.directory)
        output, errors = (memory_file(stack, name) for name in ("output", "errors"))
        figures = search_files(
            files.paths,
            search.patterns,
            search.syntax,
            search.style,
            search.memory,
            search.threads,
            output,
            errors,
            (directory, files.are_given),
        )
        return Found(_content(output), _content(errors), figures)


def rows_of_batch(search: Search, files: Files) -> Rows:
    """Search some files for rows of a table. `style` are the options of `search_rows`.

    Raises:
        Exception: As for `search_batch`.
    """
    columns: list[Columns] = []

    def keep(
        paths: list[bytes], files: bytes, offsets: bytes, numbers: bytes, ends: bytes, data: bytes
    ) -> None:
        columns.append((paths, files, offsets, numbers, ends, data))

    with ExitStack() as stack:
        directory = open_directory(stack, search.directory)
        figures, problems = search_rows(
            files.paths,
            search.patterns,
            search.syntax,
            search.style,
            search.memory,
            search.threads,
            keep,
            (directory, files.are_given),
        )
    return Rows(columns, problems, figures)


def open_directory(stack: ExitStack, path: bytes) -> int:
    """Open a directory until the end of `stack`.

    Raises:
        EngineError: There is none.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(
            f"{socket.gethostname()} cannot open the directory {show_text(os.fsdecode(path))} "
            f"({error.strerror}): workers need the files at the same paths"
        ) from None
    stack.callback(os.close, directory)
    return directory


def memory_file(stack: ExitStack, name: str) -> int:
    """Make a file in memory, until the end of `stack`."""
    file = os.memfd_create(name)
    stack.callback(os.close, file)
    return file


def _content(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", closefd=False) as stream:
        return stream.read()
