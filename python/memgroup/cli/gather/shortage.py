"""The reason why a group had no memory for a file, and the remedy on the command line."""

from __future__ import annotations

import re
from typing import NamedTuple

from memgroup.display.text import show_size, show_text

# A group's message: the reason, then one of these separators, then the remedy for programs.
_REMEDY = "; "

# Bytes within a reason. A number of more than three digits is a number of bytes even without a unit; digits
# within a path are not changed.
_BYTES = re.compile(r"(?<![\w./-])(?:(\d+)( more)? bytes\b|(\d{4,})(?![\w./-]))")

# The kernel's error text is enough without its number.
_ERROR_NUMBER = re.compile(r" \(os error \d+\)")

_RESOURCE_LIMIT = re.compile(r"(RLIMIT_\w+)\W+(ulimit -\w)")


class Shortage(NamedTuple):
    """The first file that the group had no memory for, the number of such files, and the group's message."""

    path: str
    left: int
    words: str

    @property
    def reason(self) -> str:
        """The group's message without its remedy, which is meant for programs."""
        return self.words.partition(_REMEDY)[0]


def show_reason(shortage: Shortage) -> str:
    """The reason why memory ran out, with sizes for people: `cannot commit 64 KiB more: ...`."""
    return _BYTES.sub(_show_bytes, _ERROR_NUMBER.sub("", shortage.reason))


def _show_bytes(match: re.Match[str]) -> str:
    number, more, bare = match.groups(default="")
    return f"{show_size(int(number or bare))}{more}"


def remedy(shortage: Shortage, limit: int | None, backing: str) -> str:
    """The remedy for `shortage` in a group of `backing` that could commit `limit` bytes."""
    exceeded = _RESOURCE_LIMIT.search(shortage.words)
    if limit is not None and "group's limit" in shortage.reason:
        return "Raise --limit."
    if exceeded:
        return f"Raise {exceeded[1]} ({exceeded[2]})."
    if shortage.reason.startswith("cannot allocate"):
        return "Raise --base."  # it bounds the largest slot, and no backing has a larger one
    if backing in ("memfd", "anonymous"):
        return "Name a directory with room: --backing DIR."
    return f"Make room in {show_text(backing)} or name another with --backing."
