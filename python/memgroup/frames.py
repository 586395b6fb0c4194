"""Descriptions of the messages in a stream, for the `frames` of groups and of `memgroup.aio`.

For a protocol that has a name in `PRESETS`::

    from memgroup.frames import PRESETS

    for message in group.frames(sock, **PRESETS["postgres"]):
        ...
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypedDict

__all__ = ["PRESETS", "Format"]


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


PRESETS: Mapping[str, Format] = MappingProxyType(
    {
        "postgres": Format(length_offset=1, adjust=-4, skip=0),
        "http2": Format(length_size=3, header=9, skip=0),
        "tls_record": Format(length_size=2, length_offset=3, skip=0),
        "dns_tcp": Format(length_size=2),
        "grpc": Format(length_offset=1, skip=0),
        "kafka": Format(length_size=4),
        "tfrecord": Format(length_size=8, byteorder="little", header=12, trailer=4),
        "protobuf_delimited": Format(length="varint"),
    }
)
"""Descriptions of the messages of well-known protocols and files, by name."""
