"""Optional parts: peers that may not be installed, and features that this memgroup may not have."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import memgroup

from model import UnavailableError

YARDSTICK = "MEMGROUP_BENCH_YARDSTICK"
"""Environment variable: the directory of the compiled C extension, or why there is none after a "!"."""


def module(name: str) -> Any:
    """Return the module `name`.

    Raises:
        UnavailableError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"{name} is not installed") from error


def yardstick() -> Any:
    """Return the hand-written C extension.

    Raises:
        UnavailableError: It could not be compiled here.
    """
    place = os.environ.get(YARDSTICK, "!the suite compiles it, so run that")
    if place.startswith("!"):
        raise UnavailableError(place[1:])
    if place not in sys.path:
        sys.path.append(place)
    return importlib.import_module("yardstick")


def alloc_many_of(group: Any) -> Any:
    """Return `group.alloc_many`.

    Raises:
        UnavailableError: This memgroup has none.
    """
    if not hasattr(group, "alloc_many"):
        raise UnavailableError("not available: this memgroup has no alloc_many")
    return group.alloc_many


def keep_no_warm_memory() -> None:
    """Make every group from now on start with fresh memory."""
    set_warm_limit = getattr(memgroup, "set_warm_limit", None)
    if set_warm_limit is not None:
        set_warm_limit(0)
