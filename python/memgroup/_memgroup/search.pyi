"""The search of `memgroup gather`."""

from collections.abc import Callable, Iterator
from typing import Self, final

from memgroup._memgroup.list import MemList

@final
class TreeWalk(Iterator[list[bytes]]):
    """Finds the files below some paths: an iterator of lists of paths, as bytes, in the order of their names.

    A symlink is followed only if it is one of `paths`.

    Args:
        paths: Files and directories, as bytes; the current directory if there are none.
        ignore: Whether to skip paths that the files .gitignore name.
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
    """Texts or regular expressions to search for in the lines of blocks.

    Args:
        patterns: As for `search_files`.
        syntax: As for `search_files`.

    Raises:
        ValueError: A pattern is no valid regular expression.
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
    """Search files as `memgroup gather --find` does, and print to a descriptor, without signal handlers.

    Args:
        paths: Files and directories, as bytes; the current directory if there are none.
        patterns: The texts or expressions to search for, as bytes.
        syntax: "regex" and "ignore-case" if they apply; "utf-8" or "bytes" instead of the locale's encoding.
        style: The output: "lines", "counts", "files" or "quiet", followed by those of "json", "colour",
            "numbers", "text", "ignore" and "paths" (before each line, even for one file) that apply.
        memory: The most bytes of files that are in memory at a time.
        threads: The number of threads; 0 for as many as the machine has.
        output: A descriptor.
        errors: The descriptor for errors.
        listed: If `paths` are files that another walk has found, the descriptor of the directory that they
            are relative to, and for each whether it was an argument itself.

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
    """Search files as `search_files` does, and pass the lines on as columns.

    Args:
        paths: As for `search_files`.
        patterns: As for `search_files`.
        syntax: As for `search_files`.
        options: "text" and "ignore", if they apply.
        memory: As for `search_files`.
        threads: As for `search_files`.
        receive: Called with the columns of some lines: a list of paths; then, as bytes, for each line the
            index of its path ("I"), its offset in the file ("Q"), its number ("Q"; 0 for a binary file that
            matches, without its line) and the end of its bytes ("Q"); and the bytes of all lines.
        listed: As for `search_files`.

    Returns:
        The numbers that `search_files` returns, and the path of each file that could not be read, with the
        reason.

    Raises:
        ValueError: As for `search_files`.
        MemoryError: As for `search_files`.
    """
