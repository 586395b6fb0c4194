"""Recordings of kernel functions: kprobes, in an instance of tracefs of their own. They need root."""

from __future__ import annotations

import contextlib
import os

from support.kernel_objects import UnavailableError, tracefs


class Recording:
    """Calls of some functions, with some of what they are called with."""

    def __init__(self, name: str, **probes: str) -> None:
        """Record from now on.

        Each probe has the name of an event, and says the function, what of each call to record, and after
        "if" which calls, in the words of tracefs.
        """
        self.group = f"memgroup_{name}_{os.getpid()}"
        self.probes = probes
        self.tracing = tracefs()
        self.instance = self.tracing / "instances" / self.group
        self.events = self.instance / "events" / self.group
        try:
            for event, what in probes.items():
                self.probe(f"p:{self.group}/{event} {what.partition(' if ')[0]}")
            self.instance.mkdir()
            for event, what in probes.items():
                (self.events / event / "filter").write_text(what.partition(" if ")[2] or "0")
            (self.instance / "buffer_size_kb").write_text("16384")
            (self.events / "enable").write_text("1")
        except OSError as error:
            said = self.said()
            self.close()
            raise UnavailableError(f"{name} cannot be recorded: {error} {said}") from None

    def probe(self, command: str) -> None:
        """Add or remove a probe. open("a") seeks to the end, which this file refuses."""
        file = os.open(self.tracing / "kprobe_events", os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, command.encode() + b"\n")
        finally:
            os.close(file)

    def said(self) -> str:
        """The kernel's last words about a probe that it refused."""
        with contextlib.suppress(OSError):
            return " / ".join((self.tracing / "error_log").read_text().splitlines()[-3:])
        return ""

    def take(self) -> list[str]:
        """What was recorded since the last time."""
        trace = self.instance / "trace"
        lines = trace.read_text().splitlines()
        trace.write_text("")
        return lines

    def close(self) -> None:
        """Remove the probes and the recording."""
        with contextlib.suppress(OSError):
            (self.events / "enable").write_text("0")
        with contextlib.suppress(OSError):
            self.instance.rmdir()
        for event in self.probes:
            with contextlib.suppress(OSError):
                self.probe(f"-:{self.group}/{event}")
