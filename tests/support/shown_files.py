"""Processes that are shown other files in /proc and /sys, so that they take the machine for another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PRELUDE

SHOW = """
while [ "$1" != -- ]; do
    mount --bind "$1" "$2" || exit 77
    shift 2
done
shift
exec "$@"
"""


class Machine:
    """Runs programs that see other files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shown: list[str] = []

    def show(self, file: str, text: str) -> None:
        """Show a file with that text in the place of another."""
        other = self.directory / Path(file).name
        other.write_text(text)
        self.shown += [str(other), file]

    def meminfo(self, **mebibytes: int) -> None:
        """Show /proc/meminfo with other figures, in MiB."""
        lines = []
        for line in Path("/proc/meminfo").read_text().splitlines():
            name = line.split(":")[0]
            lines.append(f"{name}: {mebibytes[name] * 1024} kB" if name in mebibytes else line)
        self.show("/proc/meminfo", "\n".join(lines) + "\n")

    def output(self, code: str) -> str:
        """Run `code` after the prelude, or skip the test if files cannot be shown."""
        unshare = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
        command = [*unshare, "sh", "-c", SHOW, "sh", *self.shown, "--", sys.executable, "-c", PRELUDE + code]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except OSError as error:
            pytest.skip(f"no other files can be shown: {error}")
        if ended.returncode == 77 or ended.stderr.startswith("unshare"):
            pytest.skip(f"no other files can be shown: {ended.stderr}")
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout


@pytest.fixture
def machine(tmp_path) -> Machine:
    """This machine, as long as nothing else is shown."""
    return Machine(tmp_path)
