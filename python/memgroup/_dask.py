"""The sizes of blocks and lists for dask, which calls this module by its entry point."""

from __future__ import annotations

from memgroup._memgroup import MemBlock, MemList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMN_BYTES = 16
"""What a list takes for each record, besides the record, at most."""


def register_sizeof(sizeof: Any) -> None:
    """Register the sizes of blocks and lists with `dask.sizeof.sizeof`."""
    sizeof.register(MemBlock, _block_bytes)
    sizeof.register(MemList, _list_bytes)


def _block_bytes(block: MemBlock) -> int:
    return block.nbytes


def _list_bytes(blocks: MemList) -> int:
    return blocks.nbytes + COLUMN_BYTES * len(blocks)
