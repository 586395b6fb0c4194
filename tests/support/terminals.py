"""Children that write to a terminal."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import subprocess
from pathlib import Path

import pytest
from support.gathering import ENOUGH


class Terminal:
    """A child whose stdin, stdout and stderr are a terminal of its own."""

    def __init__(self, command: list[str | Path], **environment: str) -> None:
        self._master, slave = pty.openpty()
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        self.gate_read, self._gate = os.pipe()
        self.child = subprocess.Popen(
            [str(part).replace("GATE", str(self.gate_read)) for part in command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=[self.gate_read],
            start_new_session=True,
            env={**plain, "TERM": "xterm-256color", "COLUMNS": "80", "PYTHONUTF8": "1", **environment},
        )
        os.close(slave)
        self.seen = ""
        self._letters = codecs.getincrementaldecoder("utf-8")("replace")

    def open_gate(self) -> None:
        """Let the child go on that reads from the gate."""
        os.write(self._gate, b"!")

    def wait_for(self, words: str) -> None:
        while words not in self.seen:
            assert self._read(), f"{words!r} never came: {self.seen!r}"

    def finish(self) -> int:
        while self._read():
            pass
        for fd in (self._master, self.gate_read, self._gate):
            os.close(fd)
        return self.child.wait(ENOUGH)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], ENOUGH)[0]:
            self.child.kill()
            pytest.fail(f"the child hangs: {self.seen!r}")
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # EIO: the child has closed its end
            chunk = b""
        self.seen += self._letters.decode(chunk)  # a character may arrive in two reads
        return bool(chunk)

    @property
    def text(self) -> str:
        """What it has shown, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen).replace("\r\n", "\n")
