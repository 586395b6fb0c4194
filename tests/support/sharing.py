"""Code of children that hand objects to other processes, and fixtures for tests that do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memgroup
import pytest


class Wire:
    """A socket pair with a group at each end: what is sent here arrives there."""

    def __init__(self, kind: int = socket.SOCK_STREAM) -> None:
        self.here, self.there = socket.socketpair(socket.AF_UNIX, kind)
        self.group = memgroup.MemGroup(base=4096, shared=True, name="sender")
        self.receiver = memgroup.MemGroup(base=4096, name="receiver")

    def send(self, obj: Any) -> Any:
        self.group.send(self.here, obj)
        return self.receiver.recv(self.there)

    def close(self) -> None:
        for end in (self.here, self.there):
            end.close()
        for group in (self.group, self.receiver):
            group.free(force=True)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def resources() -> tuple[int, int]:
    """How many descriptors this process has, and how many mappings of memfds."""
    maps = Path("/proc/self/maps").read_text()
    return len(list(Path("/proc/self/fd").iterdir())), maps.count("/memfd:")


def contents(obj: Any) -> Any:
    """What an object shows, to compare it with what arrived."""
    if isinstance(obj, memgroup.MemList):
        return [bytes(block) for block in obj]
    if isinstance(obj, memoryview):
        return obj.format, obj.shape, obj.tolist()
    return (obj.dtype, obj.tolist()) if hasattr(obj, "dtype") else bytes(obj)


# What a group makes of each kind of object that can be sent.
KINDS: dict[str, Callable[[memgroup.MemGroup], Any]] = {
    "block": lambda group: group.copy(b"some bytes"),
    "empty block": lambda group: group.alloc(0),
    "large block": lambda group: group.copy(b"0123456789abcdef" * 100_000),
    "protected block": lambda group: group.protect(group.copy(b"some bytes")),
    "part of a block": lambda group: group.copy(b"some bytes")[5:],
    "memoryview": lambda group: memoryview(group.copy(b"some bytes")),
    "part of a memoryview": lambda group: memoryview(group.copy(b"some bytes"))[8:1:-2],
    "memoryview of two dimensions": lambda group: memoryview(group.copy(bytes(48))).cast("i", (3, 4)),
    "memoryview of nothing": lambda group: memoryview(group.copy(b"some bytes"))[3:3],
    "list": lambda group: group.copy_many([b"one", b"", b"three" * 1000, b"4"]),
    "list of one size": lambda group: group.alloc_many(count=7, size=5, zero=True),
    "list of nothing": lambda group: group.alloc_many([]),
    "part of a list": lambda group: group.copy_many([b"one", b"", b"three", b"4"])[1:3],
    "list in another order": lambda group: group.copy_many([b"one", b"", b"three", b"4"])[::-1],
    "list of some": lambda group: group.copy_many([b"one", b"", b"three", b"4"]).take([3, 0, 3, 1]),
    "list of lines": lambda group: group.copy(b"a line\nand another\n\nend").splitlines(),
    "list over many slots": lambda group: group.copy_many([bytes([n % 251]) * n for n in range(1000)]),
    "protected list": lambda group: group.protect(group.copy_many([b"one", b"two"])),
}
