"""The search of `memgroup gather`."""

from collections.abc import Callable, Iterator
from typing import Self, final

from memgroup._memgroup.list import MemList

@final
class TreeWalk(Iterator[list[bytes]]):
    """Finds the files below some paths: an iterator of lists of paths, as bytes, in the order of their names.

    A symlink is followed if it is given as a path, and nowhere else.

    Args:
        paths: Files and directories, as bytes; the current directory if there are none.
        ignore: Skip what the files .gitignore name.
    """

    def __new__(cls, paths: list[bytes], ignore: bool) -> Self: ...
    @property
    def skipped(self) -> dict[str, int]:
        """How many files of each other kind were skipped so far: symlink, fifo, socket, device."""
    @property
    def unreadable(self) -> list[tuple[bytes, int]]:
        """The paths so far that cannot be examined or listed, each with the number of the error."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> list[bytes]: ...

@final
class Pattern:
    """Texts or regular expressions, to be found in the lines of blocks.

    Args:
        patterns: As for `search_files`.
        syntax: As for `search_files`.

    Raises:
        ValueError: A pattern is no regular expression.
    """

    def __new__(cls, patterns: list[bytes], syntax: list[str]) -> Self: ...
    def occurs_in(self, blocks: MemList) -> memoryview:
        """Return a mask: whether it occurs in each block of a list."""

def is_text_utf8() -> bool:
    """Return whether text is UTF-8 in the locale that this process began with."""

def search_files(
    paths: list[bytes],
    patterns: list[bytes],
    syntax: list[str],
    style: list[str],
    memory: int,
    threads: int,
    output: int,
    errors: int = 2,
    listed: tuple[int, list[bool]] | None = None,
) -> tuple[int, int, int, int, int]:
    """Search files as `memgroup gather --find` does, and print to a descriptor. No signal is heard meanwhile.

    Args:
        paths: Files and directories, as bytes; the current directory if there are none.
        patterns: What is searched for, as bytes.
        syntax: Of "regex" and "ignore-case" those that hold; and "utf-8" or "bytes", where text is not that
            of the locale.
        style: What is printed: "lines", "counts", "files" or "quiet"; with "json", "colour", "numbers",
            "text", "ignore" and "paths" (before each line, although one file is searched) behind it where
            they hold.
        memory: The most bytes that are held of the files.
        threads: The number of threads; 0 for as many as the machine has.
        output: A descriptor.
        errors: The descriptor for what is wrong.
        listed: A descriptor and a list, where `paths` are files that another walk has found: the directory in
            which they are looked up, and of each whether it was given itself.

    Returns:
        The numbers of files, of bytes read, of lines that match, of files with such a line, and of files and
        directories that could not be read.

    Raises:
        ValueError: A pattern is no regular expression, or there is too little memory.
        MemoryError: There is no memory for the search.
        OSError: The output cannot be written.
    """

def search_rows(
    paths: list[bytes],
    patterns: list[bytes],
    syntax: list[str],
    options: list[str],
    memory: int,
    threads: int,
    receive: Callable[[list[bytes], bytes, bytes, bytes, bytes, bytes], object],
    listed: tuple[int, list[bool]] | None = None,
) -> tuple[tuple[int, int, int, int, int], list[tuple[bytes, str]]]:
    """Search files as `search_files` does, and hand the lines on as columns.

    Args:
        paths: As for `search_files`.
        patterns: As for `search_files`.
        syntax: As for `search_files`.
        options: Of "text" and "ignore" those that hold.
        memory: As for `search_files`.
        threads: As for `search_files`.
        receive: Called with the columns of some lines: a list of paths, then as bytes the number of each
            line's path in it ("I"), its offset in the file ("Q"), its number ("Q"; 0 for a binary file that
            matches, the line of which is left out), where its bytes end ("Q"), and all bytes.
        listed: As for `search_files`.

    Returns:
        The numbers that `search_files` returns, and the path of each file that could not be read, with the
        reason.

    Raises:
        ValueError: As for `search_files`.
        MemoryError: As for `search_files`.
    """
