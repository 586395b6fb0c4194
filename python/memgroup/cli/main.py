"""The door of the command `memgroup`: it reports the exit status, and takes care of early ends.

Only what cannot wait is imported here. The work is imported once Ctrl-C is taken care of.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING

from memgroup.cli.status import EXIT_SIGINT, EXIT_SIGPIPE, UNUSABLE

if TYPE_CHECKING:
    from types import FrameType


def main() -> int:
    """Run the command that `sys.argv` asks for.

    Returns:
        The exit status. Nothing is raised: an early end is a status too.
    """
    # Not so if the caller has this process ignore Ctrl-C, as `nohup` and a shell's `&` do.
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, _interrupt_once)
    try:
        return _run(sys.argv[1:])
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_SIGINT
    finally:
        if interruptible:
            # What follows is the interpreter's own end, where a KeyboardInterrupt prints a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt_once(_signal: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and let no second Ctrl-C disturb the cleaning up that follows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    try:
        _prepare_output()
        status = _command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return EXIT_SIGPIPE
    except OSError as error:
        _drop_output()
        _complain(f"cannot write the output: {error.strerror or error}")
        return UNUSABLE
    return status


def _command(arguments: list[str]) -> int:
    from memgroup.cli.command import run

    try:
        return run(arguments)
    except SystemExit as end:  # argparse ends so, after --help as well as after bad usage
        return end.code if isinstance(end.code, int) else UNUSABLE


def _prepare_output() -> None:
    """Make every character printable, and complaints go nowhere where the caller closed stderr.

    Raises:
        OSError: The caller closed stdout, and so nobody would see the report.
    """
    closed = sys.stdout is None  # pyright: ignore[reportUnnecessaryComparison]  (typeshed leaves that out)
    # Both descriptors are taken, lest a file that is opened later becomes what is printed to.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (open to the end)
        getattr(sys, name).reconfigure(errors="backslashreplace")
    if closed:
        raise OSError(errno.EBADF, "stdout is closed")


def _complain(words: str) -> None:
    """Say on stderr why this is the end, if stderr can be written."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  (the end came before all else)
        return
    try:
        print(f"memgroup: {words}", file=sys.stderr, flush=True)
    except OSError:
        return  # the status still says it


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush cannot fail as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
