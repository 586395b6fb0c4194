"""Progress on a terminal, or none."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from memgroup.display.watch import Watch


@contextmanager
def watching(noun: str) -> Generator[Watch]:
    """Show progress if stderr is a terminal; `noun` names the counted items."""
    if not sys.stderr.isatty():
        yield _no_progress
        return
    from memgroup.display.progress import live_progress

    with live_progress(noun) as watch:
        yield watch


def _no_progress(step: str, done: Callable[[], int], total: int | None) -> None:
    """Show nothing."""
