"""The cost of an import: the time of an interpreter with it, less that of one without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

from model import Measure, Peer, Scale, Work
from optional import module

STARTS = 4


def seconds(code: str) -> float:
    """Return the run time of an interpreter that runs `code`."""
    start = perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    return perf_counter() - start


def importing(name: str) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of an import."""

    def prepare(scale: Scale) -> Measure:
        module(name)

        def measure() -> dict[str, float]:
            # By turns, so that the machine's mood hits both.
            pairs = [
                (seconds(f"import {name}"), seconds("pass")) for _ in range(1 if scale.quick else STARTS)
            ]
            return {"extra": median(with_it - without for with_it, without in pairs)}

        return measure

    return prepare


WORKS = (
    Work(
        "import",
        "python -c 'import …' less the bare interpreter",
        "start",
        (
            Peer("memgroup", "import memgroup", importing("memgroup")),
            Peer(
                "shared_memory",
                "from multiprocessing import shared_memory",
                importing("multiprocessing.shared_memory"),
            ),
            Peer("numpy", "import numpy", importing("numpy")),
            Peer("pyarrow", "import pyarrow", importing("pyarrow")),
        ),
        {"extra": "s"},
        values=3,
    ),
)
