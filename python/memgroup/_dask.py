"""What dask has to know of blocks and lists: how much memory they take, and what loads them."""

from __future__ import annotations

from inspect import getsource

from memgroup import _stand_in
from memgroup._memgroup import MemBlock, MemList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_loaders: dict[str, _stand_in.Loader] = {}

COLUMN_BYTES = 16
"""What a list takes for each record, besides the record, at most."""


def register_sizeof(sizeof: Any) -> None:
    """Register the sizes of blocks and lists with `dask.sizeof.sizeof`. Dask's entry point names this."""
    sizeof.register(MemBlock, _block_bytes)
    sizeof.register(MemList, _list_bytes)


def _block_bytes(block: MemBlock) -> int:
    return block.nbytes


def _list_bytes(blocks: MemList) -> int:
    return blocks.nbytes + COLUMN_BYTES * len(blocks)


def loader(name: str) -> _stand_in.Loader:
    """Return a function of `memgroup._pickle` that can be sent to any process of dask."""
    # The same for every object: a pickle has it once.
    if name not in _loaders:
        _loaders[name] = _stand_in.Loader(getsource(_stand_in), name)
    return _loaders[name]
