"""How much memory each cgroup of this process has left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = {2: ("memory.max", "memory.current"), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes")}

# Version 1 writes "no limit" as the largest multiple of a page.
_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Level:
    """One memory cgroup that this process is in, itself or through a child.

    Attributes:
        path: Its path below where the hierarchy is mounted.
        version: Of the interface, 1 or 2.
        limit: The maximum number of bytes that it may use, or None.
        usage: The number of bytes that it uses, caches included.
    """

    path: str
    version: int
    limit: int | None
    usage: int

    @property
    def headroom(self) -> int | None:
        """Bytes left below the limit, if there is one."""
        return None if self.limit is None else max(self.limit - self.usage, 0)


def levels(root: Path = Path("/")) -> list[Level]:
    """The memory cgroups of this process, its own first; none if no hierarchy is mounted or readable."""
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    found: list[Level] = []
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        version = 1 if controllers else 2
        if version == 2 or "memory" in controllers.split(","):
            found += _levels(root, version, path, mounts)
    return found


def _levels(root: Path, version: int, path: str, mounts: list[str]) -> Iterator[Level]:
    place = _mounted(version, mounts)
    if place is None:
        return
    mount, top = place
    # In a container only a part of the hierarchy may be mounted.
    inner = path.removeprefix(top) if top != "/" and f"{path}/".startswith(f"{top}/") else path
    parts = [part for part in inner.split("/") if part and part != ".."]
    for length in range(len(parts), -1, -1):
        shown = "/" + "/".join(parts[:length])
        directory = root / mount.lstrip("/") / "/".join(parts[:length])
        limit, usage = (_read(directory / name) for name in _FILES[version])
        if usage is not None:
            bounded = limit is not None and limit < _UNLIMITED
            yield Level(shown, version, limit if bounded else None, usage)


def _mounted(version: int, mounts: list[str]) -> tuple[str, str] | None:
    """The mount point of a hierarchy, and the mounted part of it."""
    for line in mounts:
        before, _, behind = line.partition(" - ")
        kind, _, options = behind.split(" ", 2)
        if kind == ("cgroup2" if version == 2 else "cgroup") and (
            version == 2 or "memory" in options.split(",")
        ):
            top, mount = before.split(" ")[3:5]
            return mount, top
    return None


def _read(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
