"""The progress of long work, shown on a terminal by rich."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from memgroup._text import show_number, show_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

# Work that is over sooner needs no progress bar. Seconds.
_PATIENCE = 0.5

_BAR_WIDTH = 24


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of the work as a `Watch` is told of it, and when it began."""

    name: str
    done: Callable[[], int]
    total: int | None
    start: float


class LiveProgress:
    """A `Watch` that shows a bar on stderr, once the work has taken a while.

    The bar looks at the work from a thread of its own, a few times a second; the work pays nothing for it.
    """

    def __init__(self, noun: str = "files") -> None:
        """Begin to wait; nothing is shown before the work is known to be long. `noun` is what it counts."""
        self._noun = noun
        self._step: _Step | None = None
        self._console = Console(file=sys.stderr)
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=10,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._timer = threading.Timer(_PATIENCE, self._live.start)
        self._timer.daemon = True
        self._timer.start()

    def __call__(self, step: str, done: Callable[[], int], total: int | None) -> None:
        """Follow `step` from now on."""
        self._step = _Step(step, done, total, time.perf_counter())

    def close(self) -> None:
        """Take the bar away and leave the terminal as it was."""
        try:
            self._timer.cancel()
            self._timer.join()
        finally:
            self._live.stop()
            # Ctrl-C may have come in the midst of all this, and an invisible cursor would stay.
            self._console.show_cursor()

    def _draw(self) -> RenderableType:
        return _draw_step(self._step, self._noun) if self._step else ""


def _draw_step(step: _Step, noun: str) -> RenderableType:
    """A bar, how far the step is and how fast: `gather 1,234 of 5,000 files, 56.7 k/s`."""
    done = step.done()
    seconds = time.perf_counter() - step.start
    goal = "" if step.total is None else f" of {show_number(step.total)}"
    rate = show_rate(done / max(seconds, 1e-9))
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(total=step.total, completed=done, width=_BAR_WIDTH),
        Text(f"{step.name} {show_number(done)}{goal} {noun}, {rate}", no_wrap=True, overflow="ellipsis"),
    )
    return line
