"""dask.distributed as an engine."""

from __future__ import annotations

import logging
import pickle
import time
from asyncio import run_coroutine_threadsafe
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from memgroup.engines.engine import LACKING, Done, EngineError, LostWorker, Reply, perform, pickle_of_call

if TYPE_CHECKING:
    from memgroup.engines.engine import Task

_PATIENCE = 10
"""Seconds in which a scheduler has to answer and to have its first worker."""

_MAX_PAUSE = 120
"""Seconds for which there may be no worker at all before the job ends."""

_CHECK_INTERVAL = 1
"""Seconds between two checks of the workers."""


class DaskEngine:
    """Runs tasks on the workers of a scheduler."""

    def __init__(self, target: Any) -> None:
        """Use a client, or make one for `dask://HOST:PORT`.

        Raises:
            EngineError: dask.distributed is missing, or no scheduler with a worker answers.
        """
        try:
            self._distributed: Any = import_module("distributed")
        except ModuleNotFoundError as error:
            raise EngineError(f"dask:// needs dask.distributed ({error}): pip install distributed") from None
        self._is_own = isinstance(target, str)
        self._client: Any = self._connected(target) if self._is_own else target
        self._under_way: dict[Any, int] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._slots = 0
        self._seen = self._checked = 0.0
        self._check_workers()

    def _connected(self, target: str) -> Any:
        # What it would say of a worker that is gone, a retry or an EngineError says.
        for logger in ("distributed", "distributed.client"):
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        client = None
        try:
            client = self._distributed.Client(
                target.replace("dask://", "tcp://", 1), timeout=_PATIENCE, set_as_default=False
            )
            client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            if client is not None:
                client.close()
            lack = "no dask scheduler answers there" if client is None else "its scheduler has no worker"
            start = "dask scheduler" if client is None else f"dask worker {target.removeprefix('dask://')}"
            raise EngineError(f"{target}: {lack} ({error}): start one with `{start}`") from None
        return client

    def slots(self) -> int:
        """As many as the workers have threads."""
        if time.monotonic() - self._checked > _CHECK_INTERVAL:
            self._check_workers()
        return self._slots or 1

    def submit(self, number: int, task: Task) -> None:
        """Submit it to the scheduler."""
        key = f"memgroup-{uuid4().hex}"
        future = self._client.submit(pickle.loads, pickle_of_call(_perform, task), key=key, pure=False)
        self._under_way[future] = number
        future.add_done_callback(self._ended.put)

    def wait(self) -> Done:
        """Return a task that has ended."""
        future = self._next_ended()
        number = self._under_way.pop(future)
        try:
            return Done(number, self._reply(future))
        except EngineError:
            raise
        except CancelledError:
            raise _gone("a batch is cancelled") from None
        except Exception as error:
            if future.status == "error":
                return Done(number, self._explained(error))
            # The answer was lost on its way: with a worker, or with the scheduler.
            self._check_workers()
            return Done(number, LostWorker(str(error)))

    def close(self) -> None:
        """Cancel what is under way, and close the client if it is the engine's."""
        with suppress(OSError, RuntimeError):  # of a scheduler that has ended
            self._client.cancel(list(self._under_way), force=True)
        self._under_way.clear()
        if self._is_own:
            self._client.close()

    def _next_ended(self) -> Any:
        while True:
            try:
                return self._ended.get(timeout=_CHECK_INTERVAL)
            except Empty:
                self._check_workers()

    def _reply(self, future: Any) -> Reply:
        """The reply of a task, however long it takes to come: another call starts again."""
        reply: Future[Reply] = run_coroutine_threadsafe(
            self._client.gather(future, asynchronous=True), self._client.loop.asyncio_loop
        )
        try:
            while not wait([reply], _CHECK_INTERVAL).done:
                self._check_workers()
            return reply.result()
        finally:
            reply.cancel()

    def _check_workers(self) -> None:
        try:
            threads: dict[str, int] = self._client.nthreads()
        except (OSError, RuntimeError) as error:
            raise _gone(error) from None
        self._checked = time.monotonic()
        self._slots = sum(threads.values())
        if self._slots or not self._seen:
            self._seen = self._checked
        elif self._checked - self._seen > _MAX_PAUSE:
            raise EngineError(f"the dask scheduler has had no worker for {_MAX_PAUSE} s: start one")

    def _explained(self, error: BaseException) -> Exception:
        """What an error of a task means."""
        if isinstance(error, self._distributed.scheduler.KilledWorker):
            return LostWorker(str(error))
        reason: BaseException | None = error
        while reason is not None:
            if "No module named 'memgroup" in str(reason):
                return EngineError(LACKING)
            reason = reason.__cause__ or reason.__context__
        return error if isinstance(error, Exception) else EngineError(repr(error))


def _gone(reason: object) -> EngineError:
    return EngineError(f"the dask scheduler has ended, or cancelled the job ({reason}): start it again")


def _perform(task: Task) -> Reply:
    worker: Any = import_module("distributed").get_worker()
    return perform(worker.address, task)
