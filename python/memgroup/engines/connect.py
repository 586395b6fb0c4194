"""From what a user gives to an engine."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from memgroup.display.text import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from memgroup.engines.engine import Engine

_ADDRESS = re.compile(r"dask://(?:\[[0-9a-fA-F:.]+\]|[^\s:/?#\[\]@]+):(\d{1,5})")

EXPECTED = "local, or dask://HOST:PORT of a dask scheduler"


def address(text: str) -> str:
    """Return `text` if it is an address of workers.

    Raises:
        ValueError: It is none.
    """
    match = _ADDRESS.fullmatch(text)
    if text != "local" and not (match and 0 < int(match[1]) < 1 << 16):
        raise ValueError(f"give {EXPECTED}; not {show_text(text)}")
    return text


def connector(target: object) -> Callable[[], Engine]:
    """Return what connects to `local`, to an address, or by a client of dask: it raises `EngineError`.

    Raises:
        ValueError: There is no such engine.
    """
    if not isinstance(target, str):
        if type(target).__module__.partition(".")[0] != "distributed":
            raise ValueError(f"client must be a dask.distributed.Client, {EXPECTED}; not {target!r}")
    elif address(target) == "local":
        from memgroup.engines.local import LocalEngine

        return LocalEngine
    from memgroup.engines.dask import DaskEngine

    return partial(DaskEngine, target)
