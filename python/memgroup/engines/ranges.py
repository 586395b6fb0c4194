"""Ranges of a large file, which several workers search, and the joining of what they find.

A range has the lines that begin in it. Whether a file is binary, no range can tell alone. So a file with a
zero byte is searched as a whole.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from memgroup._memgroup import search_rows
from memgroup.engines.batches import Files, Range
from memgroup.engines.searching import Found, memory_file, open_directory, search_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from memgroup.engines.searching import Figures, Search
    from memgroup.engines.sums import Sums

_CHUNK_BYTES = 1024 * 1024

_INDIVISIBLE = frozenset(("colour", "json", "files", "quiet"))
"""Styles of which a range does not tell enough."""


class Lines(NamedTuple):
    """What a worker has found in a range.

    Attributes:
        of: The range.
        figures: As of `Found`, without the files that match.
        feeds: The lines that end in the range.
        found: The number of each line that matches, from 1 on within the range, and its bytes.
        hides: Whether another line matches, which is not shown.
        is_text: Whether all this holds: the range is text, and was read to its end.
    """

    of: Range
    figures: Figures
    feeds: int = 0
    found: tuple[tuple[int, bytes], ...] = ()
    hides: bool = False
    is_text: bool = True


def can_split(search: Search) -> bool:
    """Whether ranges of a file can be searched on their own."""
    return _INDIVISIBLE.isdisjoint(search.style)


def search_part(search: Search, part: Files | Range) -> Found | Lines:
    """Search some files, or the lines that begin in a range of one.

    Raises:
        Exception: As for `search_batch`.
    """
    return search_batch(search, part) if isinstance(part, Files) else _search_range(search, part)


def _search_range(search: Search, part: Range) -> Lines:
    is_first = int(part.start == 0)
    with ExitStack() as stack:
        directory = open_directory(stack, search.directory)
        copy = memory_file(stack, "range")
        try:
            file = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
            stack.callback(os.close, file)
            most = part.end - part.start + search.memory
            feeds = _copy_lines(file, part, copy, most, None if "text" in search.style else b"\0")
        except OSError:
            feeds = None
        if feeds is None:
            return Lines(part, (is_first, 0, 0, 0, 0), is_text=False)
        nbytes = os.fstat(copy).st_size
        if not nbytes:
            return Lines(part, (is_first, 0, 0, 0, 0))
        found: list[tuple[int, bytes]] = []

        def keep(_: list[bytes], __: bytes, ___: bytes, numbers: bytes, ends: bytes, data: bytes) -> None:
            begin = 0
            for number, end in zip(memoryview(numbers).cast("Q"), memoryview(ends).cast("Q"), strict=True):
                found.append((number, data[begin:end]))
                begin = end

        (_, _, lines, _, problems), _ = search_rows(
            [b"/proc/self/fd/%d" % copy],
            search.patterns,
            search.syntax,
            ["text"] if "text" in search.style else [],
            search.memory,
            search.threads,
            keep,
            (directory, [True]),
        )
    figures = is_first, nbytes, lines, 0, 0
    if "counts" in search.style:
        return Lines(part, figures, is_text=not problems)
    shown = tuple((number, line) for number, line in found if number)
    return Lines(part, figures, feeds, shown, len(shown) < len(found), not problems)


def _copy_lines(file: int, part: Range, copy: int, most: int, forbidden: bytes | None) -> int | None:
    """Copy the lines that begin in a range to another file; return how many line feeds they have.

    None, if they have a forbidden byte, or more than `most` bytes.
    """
    at, feeds, copied = part.start, 0, 0
    begins = not at
    at -= not begins  # a line begins behind a line feed
    while True:
        chunk = os.pread(file, _CHUNK_BYTES, at)
        begin = 0
        if not begins:
            begin = chunk.find(b"\n") + 1
            begins = begin > 0
        # The last line that begins in the range ends with the first line feed from its last byte on.
        last = -1 if part.is_last else chunk.find(b"\n", max(part.end - 1 - at, 0))
        taken = chunk[begin:] if last < 0 else chunk[begin : last + 1]
        if begins:
            copied += len(taken)
            if copied > most or (forbidden and forbidden in taken):
                return None
            feeds += taken.count(b"\n")
            _write(copy, taken)
        at += len(chunk)
        if last >= 0 or not chunk or (not begins and at >= part.end):
            return feeds


def _write(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def joined(search: Search, results: Iterable[Found | Lines], sums: Sums) -> Iterator[Found]:
    """The results with those of each file's ranges as one: what one machine would have printed.

    What the figures of the ranges lack is added to `sums`.
    """
    ranges: list[Lines] = []
    for result in results:
        if isinstance(result, Found):
            yield result
            continue
        ranges.append(result)
        if result.of.is_last:
            found = _joined(search, ranges)
            sums.count(found.figures)
            yield found
            ranges = []


def _joined(search: Search, ranges: list[Lines]) -> Found:
    """The figures are what those of the ranges lack."""
    path, is_given, *_ = ranges[0].of
    if not all(lines.is_text for lines in ranges):
        found = search_batch(search, Files([path], [is_given]))
        counted = [sum(numbers) for numbers in zip(*(lines.figures for lines in ranges), strict=True)]
        files, nbytes, matches, matching, problems = found.figures
        rest = files - counted[0], nbytes - counted[1], matches - counted[2], matching, problems
        return found._replace(figures=rest)
    matches = sum(lines.figures[2] for lines in ranges)
    name = path + b":" if "paths" in search.style else b""
    figures = 0, 0, 0, int(matches > 0), 0
    if "counts" in search.style:
        return Found(b"%b%d\n" % (name, matches), b"", figures)
    hides = any(lines.hides for lines in ranges)
    errors = b"memgroup: %b: binary file matches\n" % path if hides else b""
    return Found(b"".join(_shown(name, "numbers" in search.style, ranges)), errors, figures)


def _shown(name: bytes, has_numbers: bool, ranges: list[Lines]) -> Iterator[bytes]:
    before = 0
    for lines in ranges:
        for number, line in lines.found:
            yield b"%b%d:%b\n" % (name, before + number, line) if has_numbers else b"%b%b\n" % (name, line)
        before += lines.feeds
