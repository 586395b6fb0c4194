"""The progress of long work, shown on a terminal by rich."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn

from memgroup.display.report import Prose
from memgroup.display.text import show_number, show_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from rich.console import RenderableType
    from rich.progress import Task

    from memgroup.display.watch import Watch

# Seconds. Shorter work needs no progress bar.
_PATIENCE = 0.5

# In characters; a narrower terminal shows the count alone.
_BAR_WIDTH = 24
_BAR_FROM = 72


class _Count(ProgressColumn):
    """The progress and the rate of a step: `gather 1,234 of 5,000 files, 56.7 k/s`."""

    def __init__(self, noun: str) -> None:
        super().__init__()
        self._noun = noun

    def render(self, task: Task) -> Prose:
        done = int(task.completed)
        goal = "" if task.total is None else f" of {show_number(int(task.total))}"
        rate = show_rate(done / max(task.elapsed or 0, 1e-9))
        return Prose(f"{task.description} {show_number(done)}{goal} {self._noun}, {rate}")


class _WatchedProgress(Progress):
    """rich's progress, one step at a time. Its thread polls the work, which spends no time on it."""

    def follow(self, step: str, done: Callable[[], int], total: int | None) -> None:
        """Show `step` from now on."""
        for task in self.task_ids:
            self.remove_task(task)
        self.add_task(step, total=total, done=done)

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            self.update(task.id, completed=task.fields["done"]())
        yield from super().get_renderables()


@contextmanager
def live_progress(noun: str) -> Generator[Watch]:
    """A `Watch` that shows a bar on stderr when the work takes long. `noun` names the counted items."""
    console = Console(file=sys.stderr)
    bar = [BarColumn(_BAR_WIDTH)] if console.width >= _BAR_FROM else []
    progress = _WatchedProgress(
        *bar, _Count(noun), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    timer = threading.Timer(_PATIENCE, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield progress.follow
    finally:
        try:
            timer.cancel()
            timer.join()
        finally:
            progress.stop()
            # Ctrl-C may have interrupted rich, and the cursor would stay invisible.
            console.show_cursor()
