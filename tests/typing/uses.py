"""Typical uses, as type checkers see them: `mypy --strict` and strict pyright must agree with every line.

It also runs: `test_typing.py` calls `main`, so the objects behave as their types claim.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import memgroup
from memgroup import (
    FrameReader,
    GroupStats,
    MemBlock,
    MemGroup,
    MemList,
    ReadResult,
    SlotStats,
    WarmMemory,
    aio,
    rmap,
)
from memgroup.forkcost import predict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from typing_extensions import Buffer  # collections.abc.Buffer from 3.12 on


def digest(data: Buffer) -> bytes:
    return hashlib.sha256(data).digest()


def groups(directory: Path) -> None:
    assert_type(MemGroup(), MemGroup)
    assert_type(MemGroup(base=1 << 20, limit=None, backing="anonymous", name=None), MemGroup)
    assert_type(MemGroup(4096, 1 << 20, directory, "here"), MemGroup)
    assert_type(MemGroup(backing=os.fsencode(directory)), MemGroup)
    with MemGroup(name="results") as group:
        assert_type(group, MemGroup)
        assert_type(group.name, str)
        assert_type(group.base, int)
        assert_type(group.limit, int | None)
        assert_type(group.backing, str)
        assert_type(group.freed, bool)
        block = group.alloc(8)
        assert_type(block in group, bool)
        del block
        group.reset()
    group.free()
    group.free(force=True)


def inspecting(group: MemGroup) -> None:
    records = group.copy_many([b"one", bytearray(b"two"), memoryview(b"three")], align=1)
    assert_type(records, MemList)
    assert_type(records.contains(b"o").tolist(), list[int])
    assert_type(records.take(records.contains(b"o")), MemList)
    assert_type(records.take([0, -1]), MemList)
    assert_type(records.tolist(), list[bytes])
    text = group.copy(b"a line\nanother\n")
    assert_type(text.splitlines(keepends=True), MemList)
    assert_type(text.split(b" ", 1), MemList)
    assert_type(text.rfind(b"a", 1), int)
    assert_type(text.startswith((b"a", b"b")), bool)
    assert_type(text.strip(), MemBlock)
    assert_type(text.partition(b"\n"), tuple[MemBlock, MemBlock, MemBlock])
    assert_type(text.decode(), str)
    assert_type(text.hex(":"), str)


def blocks(group: MemGroup) -> None:
    block = group.alloc(100, align=64, zero=True)
    assert_type(block, MemBlock)
    assert_type(group.copy(b"bytes"), MemBlock)
    assert_type(group.copy(memoryview(b"bytes"), align=32), MemBlock)
    assert_type(group.copy(block), MemBlock)
    assert_type(block[3], int)
    assert_type(len(block), int)
    block[:5] = b"hello"
    block[5:10] = bytearray(b"world")
    block[10] = ord("!")
    assert_type(block.nbytes, int)
    assert_type(block.readonly, bool)
    assert_type(block.address, int)
    assert_type(block.find(b"world"), int)
    assert_type(block.find(0x21, 5, None), int)
    assert_type(block.index(b"hello"), int)
    assert_type(block.count(b"l"), int)
    assert_type(block.tobytes(), bytes)
    assert_type(b"hello" in block, bool)
    assert_type(block == b"hello", bool)
    assert_type(block < b"i", bool)
    assert_type(iter(block), Iterator[int])
    assert_type(list(block), list[int])
    # A block is accepted wherever bytes are.
    assert_type(memoryview(block), memoryview)
    assert_type(bytes(block), bytes)
    assert digest(block) == digest(bytes(block))
    struct.pack_into("<Q", block, 0, 7)
    assert_type(int.from_bytes(block[:8], "little"), int)


def protection(group: MemGroup, block: MemBlock, several: MemList, view: memoryview) -> None:
    assert_type(group.protect(block), MemBlock)
    assert_type(group.protect(several), MemList)
    assert_type(group.protect(view), memoryview)
    assert_type(group.unprotect(group.protect(block)), MemBlock)
    assert_type(group.unprotect(group.protect(several)), MemList)


def lists(group: MemGroup) -> None:
    several = group.alloc_many([10, 0, 30])
    assert_type(several, MemList)
    assert_type(group.alloc_many(array("I", [1, 2])), MemList)
    assert_type(group.alloc_many(size for size in range(3)), MemList)
    assert_type(group.alloc_many(count=100, size=64, align=64, zero=True), MemList)
    assert_type(several[0], MemBlock)
    assert_type(several[1:], MemList)
    assert_type(len(several), int)
    assert_type(list(several), list[MemBlock])
    assert_type(list(reversed(several)), list[MemBlock])
    assert_type(several.nbytes, int)
    assert_type(several.readonly, bool)
    assert_type(several.sizes, memoryview)
    assert_type(several.slots, tuple[tuple[int, int, int, int], ...])
    assert_type(several.join(), MemBlock)
    assert_type(several.index(b""), int)
    assert_type(several.count(b""), int)
    several.fill_from(bytes(several.nbytes))
    several[0][:] = b"0123456789"
    rows: Sequence[MemBlock] = several
    assert rows[0] == b"0123456789"


def files(group: MemGroup, directory: Path) -> None:
    path = directory / "data"
    path.write_bytes(b"0123456789")
    several = group.alloc_many([4, 6])
    with path.open("r+b", buffering=0) as file:
        assert_type(several.preadv(file, 0), int)
        assert_type(several.readv(file.fileno(), start=2), int)
        assert_type(several.pwritev(file, 0), int)
        file.readinto(several[0])
    result = group.read_files([path, str(path), os.fsencode(path)], progress=lambda done, of: None)
    assert_type(result, ReadResult)
    assert_type(result.blocks, MemList)
    assert_type(result.errors, dict[int, OSError | EOFError | MemoryError])
    assert_type(result.check(), MemList)
    assert_type(result.changed, tuple[int, ...])
    contents, failed = group.read_files([path])
    assert_type(contents, MemList)
    assert_type(failed, dict[int, OSError | EOFError | MemoryError])
    records, errors = group.read_ranges(path, [0, 5], [2, 5])
    assert_type(records, MemList)
    assert_type(records[1], MemBlock)
    assert_type(errors, dict[int, OSError | EOFError | MemoryError])
    assert_type(group.read_ranges(path, [0, 5], [2, 5]).check()[1], MemBlock)


def messages(group: MemGroup) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\0\0\0\2hi" * 2)
        reader = group.frames(ours, prefix=4, byteorder="big", limit=1000)
        assert_type(reader, FrameReader)
        assert_type(next(reader), MemBlock)
        assert_type(reader.partial, MemBlock | None)
        assert_type(reader.missing, int)
        assert_type(reader.ahead, bytes)
        assert_type(iter(reader), FrameReader)
        reader.close()
        assert_type(group.alloc_many([3]).sendmsg(theirs), int)


async def next_of(messages: aio.FrameReader) -> MemBlock:
    """Not run: a protocol without a connection receives nothing."""
    return await anext(messages)


async def awaited(group: MemGroup) -> int:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        sent = await aio.sendmsg(group.alloc_many([5]), theirs)
        assert_type(sent, int)
        messages = aio.FrameProtocol(group, length_offset=1).messages
        assert_type(messages, aio.FrameReader)
        received = await aio.recvmsg_into(group.alloc_many([sent]), ours)
        assert_type(received, int)
        return received


def figures(group: MemGroup) -> None:
    stats = group.stats()
    assert_type(stats, GroupStats)
    assert_type(stats.slots, tuple[SlotStats, ...])
    assert_type(stats.slots[0].protected, int)
    assert_type(stats.protected, int)
    assert_type(stats.as_dict(), dict[str, Any])
    assert_type(stats.slots[0].as_dict(), dict[str, int])
    shown: RenderableType = group.__rich__()
    assert shown
    assert_type(group._repr_html_(), str)  # pyright: ignore[reportPrivateUsage]  # Jupyter's name for it
    assert_type(memgroup.warm_memory(), WarmMemory)
    assert_type(memgroup.warm_memory().limit, int)
    memgroup.set_warm_limit(memgroup.warm_memory().limit)
    assert_type(memgroup.__version__, str)


def models() -> None:
    machine = rmap.Machine("modern")
    parent = machine.spawn()
    memory = parent.mmap(4)
    assert_type(parent.write(memory.start), int)
    assert_type(parent.fork(), rmap.Process)
    assert_type(parent.fork(2), list[rmap.Process])
    assert_type(machine.check(), list[rmap.Broken])
    assert_type(machine.draw().svg, str)
    assert_type(predict(1 << 20, "memfd", "star:3").chains, int)


def main(directory: Path) -> None:
    """Run all of it; `directory` is for files."""
    groups(directory)
    with MemGroup() as group:
        blocks(group)
        inspecting(group)
        view = memoryview(group.alloc(8)).cast("I")
        protection(group, group.alloc(1), group.alloc_many([1]), view)
        view.release()
        lists(group)
        files(group, directory)
        messages(group)
        assert asyncio.run(awaited(group)) == 5
        figures(group)
    models()
