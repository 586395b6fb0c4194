"""From what a user gives to an engine."""

from __future__ import annotations

import re
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from memgroup.display.text import show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from memgroup.engines.engine import Engine

_ADDRESS = re.compile(r"(?:dask|ray)://(?:\[[0-9a-fA-F:.]+\]|[^\s:/?#\[\]@]+):(\d{1,5})")

EXPECTED = "local, dask://HOST:PORT (of a scheduler) or ray://HOST:PORT (of a client server)"


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
    """Return what connects to `local`, to an address, or by a client; it raises `EngineError`.

    Raises:
        ValueError: There is no such engine.
    """
    kind = address(target).partition(":")[0] if isinstance(target, str) else _kind_of_client(target)
    if kind == "local":
        from memgroup.engines.local import LocalEngine

        return LocalEngine
    if kind == "dask":
        from memgroup.engines.dask import DaskEngine

        return partial(DaskEngine, target)
    if kind == "ray":
        from memgroup.engines.ray import RayEngine

        return partial(RayEngine, target)
    raise ValueError(f"client must be a dask.distributed.Client, the module ray, {EXPECTED}; not {target!r}")


def _kind_of_client(client: object) -> str:
    if isinstance(client, ModuleType):
        return client.__name__
    return "dask" if type(client).__module__.partition(".")[0] == "distributed" else ""
