"""Interpreters for child processes: this one, or a copy of it whose files nobody else has cached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import memgroup

MAPPED = """
import array, functools, mmap, threading, traceback
import memgroup
lines = open("/proc/self/maps").read().splitlines()
print(*{line.split(maxsplit=5)[5] for line in lines if "/" in line}, sep="\\n")
"""


class Interpreter(NamedTuple):
    """A program, and what its environment has beside that of this process."""

    program: Path
    variables: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a process, without the settings of this interpreter."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**inherited, **self.variables}

    def run(
        self, code: str, *arguments: object, under: Sequence[object] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run `code`, optionally under another program."""
        return subprocess.run(
            [*map(str, (*under, self.program, "-c", code, *arguments))],
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
            env=self.environment,
        )


THIS = Interpreter(Path(sys.executable), {})


def copied(directory: Path) -> Interpreter:
    """Copy the interpreter, its libraries and this package to a directory, and drop them from the page cache.

    The first process that maps the copies is charged for them.
    """
    mapped = subprocess.run([THIS.program, "-c", MAPPED], capture_output=True, text=True, check=True).stdout
    libraries, modules = directory / "lib", directory / "modules"
    package = Path(memgroup.__file__).parent
    shutil.copytree(package, modules / "memgroup")
    libraries.mkdir()
    for file in map(Path, mapped.splitlines()):
        if ".so" not in file.name or package in file.parents:
            continue
        shutil.copy(file, modules if ".cpython-" in file.name else libraries)
    program = directory / "python"
    shutil.copy(os.path.realpath(sys.executable), program)
    for file in directory.rglob("*"):
        if file.is_file():
            drop_from_cache(file)
    return Interpreter(
        program,
        {
            "LD_LIBRARY_PATH": str(libraries),
            "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}",
            "PYTHONPATH": str(modules),
        },
    )


def drop_from_cache(file: Path) -> None:
    """Have the kernel forget what it has read of a file."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
