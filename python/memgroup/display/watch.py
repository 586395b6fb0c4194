"""Following long work: the watcher polls the work, which never stops to report."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Watch(Protocol):
    """Receives each step that may take long.

    It gets the step's name, a function that returns how much is done, and how much there is to do, if that is
    known.
    """

    def __call__(self, step: str, done: Callable[[], int], total: int | None) -> None:
        """Follow `step` from now on."""


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
