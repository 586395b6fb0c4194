"""Following long work: the watcher polls the work, which never stops to report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Watch(Protocol):
    """Receives each step that may take long.

    It gets the step's name, a function that returns how much is done, and how much there is to do, if that is
    known.
    """

    def __call__(self, step: str, done: Callable[[], int], total: int | None) -> None:
        """Follow `step` from now on."""
