"""Ray as an engine."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from memgroup.engines.engine import LACKING, Done, EngineError, LostWorker, Reply, perform, pickle_of_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from memgroup.engines.engine import Task

_CHECK_INTERVAL = 1
"""Seconds between two checks of the nodes."""

_PATIENCE = 10
"""Seconds in which a port has to answer."""

_LOSSES = ("WorkerCrashedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")
"""Ray's errors for a worker, or its result, that is gone."""


class RayEngine:
    """Runs tasks on the workers of a Ray cluster."""

    def __init__(self, target: Any) -> None:
        """Use Ray where the program has connected it, or connect to `ray://HOST:PORT`.

        Raises:
            EngineError: Ray is missing, or does not answer.
        """
        try:
            self._ray: Any = import_module("ray")
            import_module("grpc")
        except ModuleNotFoundError as error:
            raise EngineError(f"ray:// needs Ray's client ({error}): pip install 'ray[client]'") from None
        self._connection: Any = self._connected(target) if isinstance(target, str) else None
        self._losses = tuple(getattr(self._ray.exceptions, name) for name in _LOSSES)
        # A lost worker is the caller's to count.
        self._load: Any = self._ray.remote(max_retries=0)(_loader())
        self._under_way: dict[Any, int] = {}
        self._slots = 1
        self._checked = 0.0

    def _connected(self, target: str) -> Any:
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        where = urlsplit(target)
        try:
            # Ray itself would try for half a minute.
            socket.create_connection((where.hostname or "", where.port or 0), _PATIENCE).close()
            with warnings.catch_warnings(action="ignore"):
                try:
                    return self._init(target)
                except ConnectionAbortedError:
                    # The head starts a process for each client, and gives it up if the machine is too busy.
                    return self._init(target)
        except (OSError, RuntimeError, ImportError, ValueError) as error:
            raise EngineError(
                f"{target}: no Ray cluster answers there ({error}): start one with `ray start --head`, "
                "and give the port of its client server (10001, or what --ray-client-server-port says)"
            ) from None

    def _init(self, target: str) -> Any:
        return self._ray.init(target, log_to_driver=False, logging_level=logging.CRITICAL)

    def slots(self) -> int:
        """As many as the cluster has processors."""
        if time.monotonic() - self._checked > _CHECK_INTERVAL:
            self._slots = max(int(self._ask(self._ray.cluster_resources).get("CPU", 0)), 1)
            self._checked = time.monotonic()
        return self._slots

    def submit(self, number: int, task: Task) -> None:
        """Submit it to the cluster."""
        self._under_way[self._ask(self._load.remote, pickle_of_call(_perform, task))] = number

    def wait(self) -> Done:
        """Return a task that has ended."""
        ended: list[Any] = []
        while not ended:
            ended, _ = self._ask(self._ray.wait, [*self._under_way], timeout=_CHECK_INTERVAL)
        number = self._under_way.pop(ended[0])
        try:
            return Done(number, self._ask(self._ray.get, ended[0]))
        except self._losses as error:
            return Done(number, LostWorker(str(error)))
        except self._ray.exceptions.RayError as error:
            return Done(number, _explained(error))

    def close(self) -> None:
        """Cancel what is under way, and end the connection if it is the engine's."""
        with suppress(self._ray.exceptions.RayError, OSError):
            for reference in self._under_way:
                self._ray.cancel(reference, force=True)
        self._under_way.clear()
        if self._connection is not None:
            self._connection.disconnect()

    def _ask(self, question: Any, *arguments: Any, **options: Any) -> Any:
        """Call a function of Ray. What goes wrong beside a task is the cluster's fault."""
        try:
            return question(*arguments, **options)
        except self._ray.exceptions.RayError:
            raise
        except Exception as error:
            raise EngineError(f"Ray no longer answers ({error}): start it again") from None


def _loader() -> Callable[[bytes], Reply]:
    """`pickle.loads` as a function that Ray sends whole, because it is no module's."""

    def gather(task: bytes) -> Reply:
        import pickle

        reply: Reply = pickle.loads(task)
        return reply

    return gather


def _perform(task: Task) -> Reply:
    util: Any = import_module("ray.util")
    return perform(f"{util.get_node_ip_address()} process {os.getpid()}", task)


def _explained(error: Exception) -> Exception:
    """What an error of a task means."""
    if "No module named 'memgroup" in str(error):
        return EngineError(LACKING)
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
