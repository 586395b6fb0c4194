"""The entry of the command `memgroup`: it returns the exit status, and handles early ends.

This module imports few others. It imports the work after it has installed its handling of Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from memgroup.cli.status import EXIT_SIGINT, EXIT_SIGPIPE, UNUSABLE

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


def main() -> int:
    """Run the command that `sys.argv` asks for.

    Returns:
        The exit status. It raises no exception: an early end is a status too.
    """
    # Only if the caller does not make this process ignore Ctrl-C, as `nohup` and a shell's `&` do.
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
            # The interpreter's shutdown follows, where a KeyboardInterrupt prints a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupt_once(_signal: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and ignore a second Ctrl-C, so that it does not disturb the clean-up."""
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
    except SystemExit as end:  # argparse raises it after --help and after bad usage
        return end.code if isinstance(end.code, int) else UNUSABLE


def _prepare_output() -> None:
    """Make every character printable, and discard errors if the caller closed stderr.

    Raises:
        OSError: The caller closed stdout, so the report would be lost.
    """
    closed = sys.stdout is None  # pyright: ignore[reportUnnecessaryComparison]  (typeshed leaves that out)
    # Occupy both descriptors; otherwise a file that is opened later would receive the output.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (open to the end)
        getattr(sys, name).reconfigure(errors="backslashreplace")
    if closed:
        raise OSError(errno.EBADF, "stdout is closed")


def _complain(words: str) -> None:
    """Print the reason for the end to stderr, if it is writable."""
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  (the end came before all else)
        return
    try:
        print(f"memgroup: {words}", file=sys.stderr, flush=True)
    except OSError:
        return  # the status still reports it


def _drop_output() -> None:
    """Discard buffered output, so that the interpreter's last flush cannot fail as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
