"""Measuring the cost of forking a family on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from memgroup.display.watch import Watch
from memgroup.forkcost._backing import DEFAULT_BACKINGS, read_backing
from memgroup.forkcost._machine import check_machine
from memgroup.forkcost._predict import Prediction, check_integers, predict

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator, Iterable, Iterator
    from io import FileIO

_PACKAGES = str(Path(__file__).parents[2])

# Without site and environment variables, so that the helper is small and the same everywhere.
_HELPER = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from memgroup.forkcost._child import main; main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))"
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The cost of the last fork of a family on this machine: medians of the rounds, times in seconds.

    The measured child has the group and hardly anything else, so that Python's own memory does not count. If
    the child does not get the group ("none", "+dontfork"), there is nothing to touch, and the attributes of
    touching are None.

    Attributes:
        prediction: The arguments, and the expected cost.
        rounds: How often the family was forked; the last process five times in each round.
        fork: How long the parent waits for a fork.
        fork_min: The shortest time.
        exit: The time from killing the child until the kernel has removed it.
        tables: Bytes of the child's page tables (VmPTE).
        pss: Bytes of the child's memory, with shared pages divided by the number of their processes (PSS).
        read_faults: Minor page faults of another child, an interpreter, that reads a byte of every page.
        read_time: The seconds that this takes.
        write_faults: Minor page faults when it then writes a byte of every page.
        write_time: The seconds that this takes.
        huge: The number of the group's bytes that were in huge pages before the fork.
    """

    prediction: Prediction
    rounds: int
    fork: float
    fork_min: float
    exit: float
    tables: int
    pss: int
    read_faults: int | None
    read_time: float | None
    write_faults: int | None
    write_time: float | None
    huge: int

    @property
    def backing(self) -> str:
        """The backing of the group."""
        return self.prediction.backing

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dict of numbers, dicts and lists, for JSON."""
        return asdict(self) | {"prediction": self.prediction.as_dict()}


def measure(
    size: int,
    backing: str = "memfd",
    shape: str = "star:1",
    *,
    mappings: int = 1,
    rounds: int = 7,
    watch: Watch | None = None,
) -> Measurement:
    """Fork a family of processes that have a group, and return the cost.

    A small helper process makes the group, writes to all of it and does the forking, so neither the caller's
    memory nor its threads matter. No process outlives the call, even if it raises.

    Args:
        size: Bytes of the group.
        backing: As `predict`.
        shape: As `predict`.
        mappings: As `predict`.
        rounds: How often the family is forked.
        watch: Called with the current step.

    Raises:
        ValueError: As `predict`, or the family is larger than the machine allows.
        MemoryError: It takes more memory than the machine has available; no process was forked.
        OSError: The kernel refused the memory, the advice or a fork.
        TimeoutError: The machine is too slow to measure a child within three seconds.
        RuntimeError: The helper was killed, for example by the kernel when memory ran out.
    """
    return _measure(expect(size, backing, shape, mappings, rounds), rounds, watch)


def compare(
    size: int,
    backings: Iterable[str] = DEFAULT_BACKINGS,
    shape: str = "star:1",
    *,
    mappings: int = 1,
    rounds: int = 7,
    watch: Watch | None = None,
) -> tuple[Measurement, ...]:
    """Call `measure` for each backing in turn, after checking the bounds of all.

    Raises:
        TypeError: `backings` is a str.
        TypeError, ValueError, MemoryError, OSError, RuntimeError: As `measure`.
    """
    if isinstance(backings, str):
        raise TypeError(f"backings must be several: give [{backings!r}]")
    expected = [expect(size, backing, shape, mappings, rounds) for backing in backings]
    return tuple(_measure(prediction, rounds, watch) for prediction in expected)


def expect(size: int, backing: str, shape: str, mappings: int, rounds: int) -> Prediction:
    """Return the prediction, after checking that the machine has room for the family.

    Raises:
        ValueError, MemoryError: As `measure`.
    """
    check_integers(rounds=rounds)
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    prediction = predict(size, backing, shape, mappings=mappings)
    if prediction.processes < 2:
        raise ValueError(f"{shape} forks no process; measure a family of two or more")
    check_machine(prediction, read_backing(backing))
    return prediction


def _measure(prediction: Prediction, rounds: int, watch: Watch | None) -> Measurement:
    facts: list[dict[str, Any]] = []
    if watch:
        watch(prediction.backing, lambda: max(len(facts) - 1, 0), rounds)
    with _helper(_job(prediction, rounds)) as (helper, output):
        for line in _lines(output):
            facts.append(line)
    if len(facts) != rounds + 1:
        raise RuntimeError(f"the helper process ended early: {_fate(helper.returncode)}")
    return _summary(prediction, facts[0], facts[1:])


def _job(prediction: Prediction, rounds: int) -> str:
    return json.dumps(
        {
            "size": prediction.nbytes,
            "backing": prediction.backing,
            "shape": prediction.shape,
            "mappings": prediction.mappings,
            "rounds": rounds,
        }
    )


@contextmanager
def _helper(job: str) -> Generator[tuple[subprocess.Popen[bytes], FileIO]]:
    """Run the helper and yield its output. Afterwards the helper and all processes that it forked are gone.

    Ctrl-C may come while the helper starts, before its process number is known. Therefore the helper also
    dies when its *lifeline* closes, a pipe whose other end is held here. All of the family hold the output
    open, so its end is the end of all processes.
    """
    import subprocess

    with ExitStack() as ends:
        lifeline, hold = (ends.enter_context(end) for end in _pipe())
        output, say = (ends.enter_context(end) for end in _pipe())
        numbers = map(str, (os.getpid(), lifeline.fileno()))
        command = [sys.executable, "-I", "-S", "-c", _HELPER, _PACKAGES, job, *numbers]
        helper: subprocess.Popen[bytes] | None = None
        try:
            # Its own session: only the caller gets Ctrl-C, and then ends the whole session.
            helper = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=say,
                pass_fds=[lifeline.fileno()],
                start_new_session=True,
            )
            say.close()
            yield helper, output
        finally:
            if helper:
                # It has not been waited for yet, so no other process or process group can have its number.
                with suppress(ProcessLookupError):
                    os.killpg(helper.pid, signal.SIGKILL)
            hold.close()
            say.close()
            output.readall()
            if helper:
                helper.wait()


def _pipe() -> tuple[FileIO, FileIO]:
    """A pipe whose ends are closed when their last reference is gone."""
    read, write = os.pipe()
    return open(read, "rb", buffering=0), open(write, "wb", buffering=0)


def _lines(output: FileIO) -> Iterator[dict[str, Any]]:
    for line in output:
        facts = json.loads(line)
        if "error" in facts:
            raise _ERRORS.get(facts["error"], OSError)(*_arguments(facts))
        yield facts


_ERRORS: dict[str, type[Exception]] = {
    "MemoryError": MemoryError,
    "TimeoutError": TimeoutError,
    "ValueError": ValueError,
}


def _arguments(facts: dict[str, Any]) -> tuple[Any, ...]:
    if facts["errno"]:
        return facts["errno"], facts["words"].partition("] ")[2] or facts["words"]
    return (facts["words"],)


def _fate(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _summary(prediction: Prediction, first: dict[str, Any], rounds: list[dict[str, Any]]) -> Measurement:
    forks = [fork / 1e9 for facts in rounds for fork in facts["fork"]]
    return Measurement(
        prediction=prediction,
        rounds=len(rounds),
        fork=median(forks),
        fork_min=min(forks),
        exit=median(one / 1e9 for facts in rounds for one in facts["exit"]),
        tables=round(median(facts["tables"] for facts in rounds)),
        pss=round(median(facts["pss"] for facts in rounds)),
        read_faults=_count(rounds, "read_faults"),
        read_time=_seconds(rounds, "read_time"),
        write_faults=_count(rounds, "write_faults"),
        write_time=_seconds(rounds, "write_time"),
        huge=first["huge"],
    )


def _count(rounds: list[dict[str, Any]], name: str) -> int | None:
    return round(median(one[name] for one in rounds)) if name in rounds[0] else None


def _seconds(rounds: list[dict[str, Any]], name: str) -> float | None:
    nanoseconds = _count(rounds, name)
    return None if nanoseconds is None else nanoseconds / 1e9
