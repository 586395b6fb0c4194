"""The C extension that serves as yardstick, compiled by the usual build tool for extensions."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

SOURCE = Path(__file__).with_name("yardstick.c")


def compile_yardstick(directory: Path) -> str:
    """Compile it into `directory` and return that, or "!" and the reason for the failure."""
    try:
        from setuptools import Distribution, Extension
        from setuptools.errors import BaseError
    except ImportError:
        return "!setuptools, which compiles the C extension, is not installed"
    directory.mkdir(parents=True, exist_ok=True)
    options = {"build_lib": str(directory), "build_temp": str(directory / "objects"), "force": True}
    extension = Extension("yardstick", [str(SOURCE)], extra_compile_args=["-O3"])
    distribution = Distribution({"name": "yardstick", "ext_modules": [extension]})
    command = distribution.get_command_obj("build_ext")
    for name, value in options.items():
        setattr(command, name, value)
    # It prints the compiler's command lines, paths and all; what matters is the error.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            distribution.run_command("build_ext")
    except BaseError as error:
        return f"!the C extension could not be compiled: {error}"
    return str(directory)
