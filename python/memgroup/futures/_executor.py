"""The executor."""

from __future__ import annotations

import concurrent.futures
import os
import weakref
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any, ParamSpec, TypeVar

from memgroup._memgroup import MemGroup
from memgroup.futures import _worker
from memgroup.futures._pickling import SMALL, is_plain
from memgroup.futures._results import Links, show_traceback
from memgroup.futures._tasks import Arguments, Task

P = ParamSpec("P")
T = TypeVar("T")


class ProcessPoolExecutor(concurrent.futures.ProcessPoolExecutor):
    """`concurrent.futures.ProcessPoolExecutor`, with results and arguments that travel through shared memory.

    What pickles out of band (arrays of numpy, frames of pandas, tables of pyarrow and others) and has 128 KiB
    or more is written to memory of the sender, 64-byte aligned, and read from there without a copy: it is
    read-only at the other end. A pickle of that size is loaded from there, too. What lives in
    `result_group()` or in another shared group is not copied at all. All else is as there.

    Args:
        max_workers: As there.
        mp_context: As there.
        initializer: As there.
        initargs: As there.
        max_tasks_per_child: As there.
        max_bytes: How many bytes of results may be under way, or None for any number. Each worker has an
            equal share, and waits while results of more than half of it are used in the parent.
        max_wait: After so many seconds in which no result was dropped, such a wait ends with a MemoryError.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_bytes: int | None = None,
        max_wait: float = 60.0,
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        share = None
        if max_bytes is not None:
            workers = max_workers or os.cpu_count() or 1
            share = max_bytes // workers
            if share < 2 * _worker.FIRST_SLOT:
                raise ValueError(
                    f"max_bytes must be at least 2 MiB for each of {workers} workers, not {max_bytes}"
                )
        links = self._links = Links()
        self._arguments = Arguments()
        told = (links.theirs, links.id, os.getpid(), share, max_wait)
        more = {} if max_tasks_per_child is None else {"max_tasks_per_child": max_tasks_per_child}
        try:
            super().__init__(max_workers, mp_context, _worker.start, (told, initializer, initargs), **more)
            # Has multiprocessing send objects of shared groups by handle.
            MemGroup(shared=True).free()
        except BaseException:
            links.end()
            raise
        weakref.finalize(self, links.end).atexit = False

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Submit a call, as there."""
        self._links.add_task()
        try:
            if all(is_plain(arg, SMALL) for arg in (*args, *kwargs.values())):
                future = super().submit(_worker.run, fn, args, kwargs)
            else:
                task: Any = Task(self._arguments, fn, args, kwargs)
                future = super().submit(_worker.run_task, task)
                future.add_done_callback(task.done)
        except BaseException:
            self._links.end_task(None)
            raise
        future.add_done_callback(show_traceback)
        future.add_done_callback(self._links.end_task)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the pool down, as there."""
        self._links.hang_up()
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._links.end()
