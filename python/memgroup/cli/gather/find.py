"""Which files there are below some paths."""

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
        """The same from the error that reading it raised."""
        return cls(path, error.strerror or str(error))


@dataclass(slots=True)
class Found:
    """What lies below some paths.

    Attributes:
        paths: The regular files. A directory's are in the order of their names, and those below it follow.
        skipped: How many of each other kind there were: symlink, fifo, socket, device.
        unreadable: Directories that could not be listed, and paths given that could not be looked at.
    """

    paths: list[str] = field(default_factory=list[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    unreadable: list[Unreadable] = field(default_factory=list[Unreadable])


class _Identity(NamedTuple):
    """What tells one directory from all others, whatever path leads there."""

    device: int
    inode: int


class Finder:
    """Finds every regular file below some paths, and each only once, whatever way the paths lead there.

    A path that is given is followed if it is a symlink; symlinks met below it are skipped. Two hard links are
    two files. Nothing but directories is opened.
    """

    def __init__(self, found: Found) -> None:
        """Let what is found be added to `found`, which may be watched meanwhile."""
        self._found = found
        self._listed: set[_Identity] = set()
        # Files given by themselves, so that a directory that comes later leaves them out.
        self._given: dict[_Identity, set[str]] = {}

    def find(self, paths: Iterable[str]) -> None:
        """Add what lies below `paths`; what cannot be looked at is added as unreadable."""
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
        # A stack, not recursion: a tree may be deeper than Python's own.
        pending = [root]
        while pending:
            directory = pending.pop()
            try:
                pending.extend(reversed(self._list(directory)))
            except OSError as error:
                self._found.unreadable.append(Unreadable.because(directory, error))

    def _list(self, directory: str) -> list[str]:
        """Add the files of one directory, unless that was done before; return the directories in it."""
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
