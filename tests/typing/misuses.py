"""Wrong uses, each of which pyright must find: a comment that suppresses nothing is an error itself.

This file is never run.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: B018

from __future__ import annotations

from memgroup import GroupStats, MemBlock, MemGroup, MemList, SlotStats


def wrong(group: MemGroup, block: MemBlock, several: MemList, stats: GroupStats, slot: SlotStats) -> None:
    MemGroup(base="64K")  # pyright: ignore[reportArgumentType]
    MemGroup(limit=1.5)  # pyright: ignore[reportArgumentType]
    MemGroup(size=1)  # pyright: ignore[reportCallIssue]
    MemBlock(5)  # pyright: ignore[reportCallIssue]
    group.alloc("100")  # pyright: ignore[reportArgumentType]
    group.alloc(1.0)  # pyright: ignore[reportArgumentType]
    group.alloc(100, 64)  # pyright: ignore[reportCallIssue]
    group.copy("text")  # pyright: ignore[reportArgumentType]
    group.alloc_many(["1"])  # pyright: ignore[reportArgumentType]
    group.alloc_many(count=5)  # pyright: ignore[reportCallIssue]
    group.alloc_many([1], count=1, size=1)  # pyright: ignore
    group.protect(b"bytes")  # pyright: ignore
    group.protect(5)  # pyright: ignore
    group.free(1)  # pyright: ignore[reportArgumentType]
    group.frames(5, byteorder="native")  # pyright: ignore[reportArgumentType]
    group.read_files(5)  # pyright: ignore[reportArgumentType]
    group.name = "new"  # pyright: ignore[reportAttributeAccessIssue]
    block[0] = b"x"  # pyright: ignore
    block[:1] = "x"  # pyright: ignore
    block.append(1)  # pyright: ignore
    block + block  # pyright: ignore
    {several: 1}  # pyright: ignore
    several[0] = b"x"  # pyright: ignore
    several.fill_from("text")  # pyright: ignore[reportArgumentType]
    slot.index = 5  # pyright: ignore[reportAttributeAccessIssue]
    stats.blocks = 5  # pyright: ignore[reportAttributeAccessIssue]


class Subclass(MemGroup):  # pyright: ignore[reportGeneralTypeIssues]
    """A group cannot be inherited from."""
