"""Properties of this Python: whether it has a GIL, its warm memory, the installed optional packages."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from importlib import metadata
from typing import TYPE_CHECKING

from memgroup.display.text import show_size, show_text
from memgroup.doctor.findings import OPTIONAL, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = "Python"

_VARIABLE = "MEMGROUP_WARM_LIMIT"


def interpreter() -> Iterator[Finding]:
    """Check this Python."""
    from memgroup import __version__

    yield Finding(TOPIC, "memgroup", "ok", __version__, "this package", {"version": __version__})
    yield _python()
    yield _gil()
    yield _warm()
    yield from map(_partner, ("numpy", "pyarrow"))


def _python() -> Finding:
    version, kind = platform.python_version(), platform.python_implementation()
    meaning = "one wheel, for the stable ABI, serves every CPython from 3.11 on"
    return Finding(TOPIC, kind, "ok", version, meaning, {"version": version, "implementation": kind})


def _gil() -> Finding:
    built_without = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    # Only builds that can run without a GIL have this function.
    enabled = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
    facts = {"free_threaded_build": built_without, "enabled": enabled}
    if not built_without:
        meaning = "threads take turns; long work (copies, input and output, commits) releases it"
        return Finding(TOPIC, "GIL", "ok", "yes", meaning, facts)
    if enabled:
        meaning = "this build needs none, but a module or PYTHON_GIL has turned it on"
        return Finding(TOPIC, "GIL", OPTIONAL, "turned on", meaning, facts)
    return Finding(TOPIC, "GIL", "ok", "none", "threads allocate side by side", facts)


def _warm() -> Finding:
    from memgroup import warm_memory

    warm, given = warm_memory(), os.environ.get(_VARIABLE)
    facts = {"bytes": warm.limit, "variable": given}
    meaning = f"memory of ended groups that later groups reuse; set_warm_limit() or {_VARIABLE} sets it"
    if given is not None and given.strip() and not given.strip().isdecimal():
        meaning = f"{_VARIABLE}={show_text(given)} is no number of bytes, and is ignored"
        return Finding(TOPIC, "warm limit", OPTIONAL, show_size(warm.limit), meaning, facts)
    if warm.limit == 0:
        meaning = f"nothing is kept warm: every group pays for fresh pages ({_VARIABLE})"
        return Finding(TOPIC, "warm limit", OPTIONAL, "0 B", meaning, facts)
    return Finding(TOPIC, "warm limit", "ok", show_size(warm.limit), meaning, facts)


def _partner(name: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        meaning = f"not installed; only needed to share memory with {name}"
        return Finding(TOPIC, name, "ok", "–", meaning, {"version": None})
    return Finding(
        TOPIC, name, "ok", version, "shares memory with groups, without a copy", {"version": version}
    )
