"""What every engine can do, and `spread`, which has one work on many batches."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from memgroup._memgroup import __version__

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Work = Callable[[Any, Any], Any]

MAX_LOST = 20
"""A batch that has cost so many workers ends the job: the cause is probably the batch."""

AHEAD = 4
"""Batches that are under way, or wait for an earlier one, for each that the workers can run at once."""


LACKING = "a worker has no memgroup, or an older one: pip install the same version of it on all of them"
"""What an engine says of workers that cannot perform a task."""


class LostWorker(Exception):  # noqa: N818  (an event, which costs a retry)
    """The worker that had a batch has ended."""


class EngineError(RuntimeError):
    """An engine cannot do the work: it cannot be reached, or its workers have no memgroup."""


class Task(NamedTuple):
    """What a worker has to do: call `work(job, batch)`. It can be pickled."""

    work: Work
    job: Any
    batch: Any
    version: str


class Reply(NamedTuple):
    """A worker's answer: its name, how long it worked, and the result."""

    worker: str
    seconds: float
    result: Any


class Done(NamedTuple):
    """A task that has ended: its reply, or why there is none."""

    number: int
    reply: Reply | Exception


class Engine(Protocol):
    """Runs tasks on workers. One thread uses it."""

    def slots(self) -> int:
        """Return how many tasks run at once, 1 or more."""
        ...

    def submit(self, number: int, task: Task) -> None:
        """Have a worker call `perform(name of the worker, task)`, without waiting for it."""
        ...

    def wait(self) -> Done:
        """Wait until a task that was submitted has ended. `LostWorker` says that it may be submitted again.

        Raises:
            EngineError: There are no workers any more.
        """
        ...

    def close(self) -> None:
        """Cancel the tasks that are under way, and end what the engine has started."""
        ...


def perform(worker: str, task: Task) -> Reply:
    """Perform a task: every engine has its workers call this.

    Raises:
        EngineError: The task comes from another version of memgroup.
    """
    if task.version != __version__:
        raise EngineError(
            f"{worker} has memgroup {__version__}, and the job comes from {task.version}: "
            "install the same version on both"
        )
    start = time.perf_counter()
    result = task.work(task.job, task.batch)
    return Reply(worker, time.perf_counter() - start, result)


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[[Task], Reply], task: Task) -> None:
        self._call = function, (task,)

    def __reduce__(self) -> tuple[Callable[[Task], Reply], tuple[Task]]:
        return self._call


def pickle_of_call(function: Callable[[Task], Reply], task: Task) -> bytes:
    """A pickle whose loading calls `function(task)`.

    Workers are told to load it, so that one without memgroup fails with the task. To take apart a message
    that names a function which it has not, would end a worker of dask.
    """
    return pickle.dumps(_Call(function, task))


def spread(engine: Engine, work: Work, job: Any, batches: Iterable[Any]) -> Generator[Reply]:
    """Have workers call `work(job, batch)` for each batch; yield the replies in the order of the batches.

    The engine is closed at the end, also at an early end.

    Raises:
        EngineError: A batch has cost too many workers, or there are none left.
        Exception: The work has raised it.
    """
    try:
        yield from _spread(engine, (Task(work, job, batch, __version__) for batch in batches))
    finally:
        engine.close()


def _spread(engine: Engine, tasks: Iterable[Task]) -> Generator[Reply]:
    source = enumerate(tasks)
    under_way: dict[int, Task] = {}
    replies: dict[int, Reply] = {}
    losses: Counter[int] = Counter()
    following = 0
    while True:
        wanted = AHEAD * engine.slots() - len(under_way) - len(replies)
        for number, task in islice(source, max(wanted, 0)):
            under_way[number] = task
            engine.submit(number, task)
        if not under_way:
            return
        number, reply = engine.wait()
        if isinstance(reply, Reply):
            del under_way[number]
            replies[number] = reply
        else:
            losses[number] += 1
            _check_loss(reply, losses[number])
            engine.submit(number, under_way[number])
        while following in replies:
            yield replies.pop(following)
            following += 1


def _check_loss(reason: Exception, losses: int) -> None:
    """Raise an error unless the task may be submitted again."""
    if not isinstance(reason, LostWorker):
        raise reason
    if losses > MAX_LOST:
        raise EngineError(f"a batch failed: {losses} workers ended with it, the last: {reason}")
