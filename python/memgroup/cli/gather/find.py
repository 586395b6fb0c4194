"""Finding the files below some paths."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from memgroup.cli.gather.reach import reachable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_KINDS = {
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}

_by_name = attrgetter("name")


class Unreadable(NamedTuple):
    """A file or directory that could not be read, and why."""

    path: str
    reason: str

    @classmethod
    def because(cls, path: str, error: OSError) -> Unreadable:
        """Make one from the error that reading raised."""
        return cls(path, error.strerror or str(error))


@dataclass(slots=True)
class Found:
    """The files below some paths.

    Attributes:
        paths: The regular files. A directory's are in the order of their names, and those below it follow.
        skipped: The number of files of each other kind: symlink, fifo, socket, device.
        unreadable: Directories that could not be listed, and given paths that could not be examined.
    """

    paths: list[str] = field(default_factory=list[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    unreadable: list[Unreadable] = field(default_factory=list[Unreadable])


class _Identity(NamedTuple):
    """The identity of a directory, which is the same for every path to it."""

    device: int
    inode: int


class Finder:
    """Finds every regular file below some paths, each only once, also if several paths lead to it.

    A path that is given is followed if it is a symlink; symlinks met below it are skipped. Two hard links are
    two files. Nothing but directories is opened.
    """

    def __init__(self, found: Found) -> None:
        """Add files to `found`, which another thread may watch."""
        self._found = found
        self._listed: set[_Identity] = set()
        # Files that were given as paths, so that a later directory skips them.
        self._given: dict[_Identity, set[str]] = {}

    def find(self, paths: Iterable[str]) -> None:
        """Add the files below `paths`; add paths that cannot be examined as unreadable."""
        for path in paths:
            try:
                self._find_one(path)
            except OSError as error:
                self._found.unreadable.append(Unreadable.because(path, error))

    def _find_one(self, path: str) -> None:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            self._find_below(path)
        elif stat.S_ISREG(mode):
            self._add_given(path)
        else:
            self._found.skipped[_kind(mode)] += 1

    def _add_given(self, path: str) -> None:
        parent, name = os.path.split(os.path.realpath(path))
        directory = _identify(parent)
        given = self._given.setdefault(directory, set())
        if directory not in self._listed and name not in given:
            given.add(name)
            self._found.paths.append(path)

    def _find_below(self, root: str) -> None:
        # A stack, not recursion: a tree may be deeper than Python's recursion limit.
        pending = [root]
        while pending:
            directory = pending.pop()
            try:
                pending.extend(reversed(self._list(directory)))
            except OSError as error:
                self._found.unreadable.append(Unreadable.because(directory, error))

    def _list(self, directory: str) -> list[str]:
        """Add the files of one directory, unless they were added before; return the directories in it."""
        with reachable(directory) as near:
            identity = _identify(near)
            if identity in self._listed:
                return []
            with os.scandir(near) as entries:
                inside = os.path.join(directory, "")
                given = self._given.get(identity, ())
                below = self._sort_out(inside, sorted(entries, key=_by_name), given)
        self._listed.add(identity)
        return below

    def _sort_out(
        self, inside: str, entries: Iterable[os.DirEntry[str]], given: Collection[str]
    ) -> list[str]:
        below: list[str] = []
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                if entry.name not in given:
                    self._found.paths.append(inside + entry.name)
            elif entry.is_dir(follow_symlinks=False):
                below.append(inside + entry.name)
            else:
                self._found.skipped[_kind_of(entry)] += 1
        return below


def _identify(directory: str) -> _Identity:
    status = os.stat(directory)
    return _Identity(status.st_dev, status.st_ino)


def _kind_of(entry: os.DirEntry[str]) -> str:
    return "symlink" if entry.is_symlink() else _kind(entry.stat(follow_symlinks=False).st_mode)


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "other")
