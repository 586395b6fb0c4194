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
from memgroup.futures._results import Links, TaskFuture
from memgroup.futures._tasks import Arguments, Task

P = ParamSpec("P")
T = TypeVar("T")


class ProcessPoolExecutor(concurrent.futures.ProcessPoolExecutor):
    """`concurrent.futures.ProcessPoolExecutor`, with results and arguments that travel through shared memory.

    Buffers of 128 KiB or more that pickle out of band (of numpy arrays, pandas frames, pyarrow tables and
    others) are written to shared memory, 64-byte aligned, and read from there without a copy: they are
    read-only at the other end. A pickle of that size is loaded from there, too. Objects in `result_group()`
    or in another shared group are not copied at all. Everything else is as in the standard library.

    Args:
        max_workers: As in the standard library.
        mp_context: As in the standard library.
        initializer: As in the standard library.
        initargs: As in the standard library.
        max_tasks_per_child: As in the standard library.
        max_bytes: The most bytes of results that exist at a time, or None. Each worker has an equal share,
            and waits while the parent uses results of more than half of it.
        max_wait: The most seconds that such a wait takes without a result being dropped; then it raises
            MemoryError.
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
        """Submit a call, as in the standard library."""
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
        future.__class__ = TaskFuture
        future.add_done_callback(self._links.end_task)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the pool down, as in the standard library."""
        self._links.hang_up()
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._links.end()
