"""Descriptions of the messages in a stream, for the `frames` of groups and of `memgroup.aio`."""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["Format"]


class Format(TypedDict, total=False):
    """The arguments of `MemGroup.frames` that describe messages; `frames(source, **format)` takes them."""

    prefix: int
    byteorder: Literal["big", "little"]
    limit: int
    counts_prefix: bool
    length: Literal["fixed", "varint"]
    length_size: int | None
    length_offset: int
    header: int | None
    adjust: int
    skip: int | None
    trailer: int
    delimiter: bytes | None
