"""What is compiled to be measured: a C extension that serves as yardstick, and peers in Rust."""

from __future__ import annotations

import contextlib
import ctypes
import io
import subprocess
from pathlib import Path

from model import UnavailableError
from timing import on_all_cpus

BENCHES = Path(__file__).parents[1]
COMPILED = BENCHES.parent / "target/benches"
"""Where what is compiled goes."""

SOURCE = Path(__file__).with_name("yardstick.c")


def compile_yardstick(directory: Path) -> str:
    """Compile the C extension into `directory` and return that, or "!" and the reason for the failure."""
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


def rust_library(crate: str) -> ctypes.CDLL:
    """Build a crate of the benchmarks, which is no part of memgroup's, and load its library.

    Raises:
        UnavailableError: It cannot be built: there is no cargo, or no network to get what it depends on.
    """
    target = COMPILED / crate
    manifest = BENCHES / crate / "Cargo.toml"
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", str(manifest)]
    try:
        with on_all_cpus():
            built = subprocess.run(
                [*command, "--target-dir", str(target)], capture_output=True, text=True, check=False
            )
    except OSError as error:
        raise UnavailableError(f"cargo, which builds it, cannot be run: {error.strerror}") from error
    if built.returncode != 0:
        reason = next(iter(built.stderr.splitlines()), f"exit status {built.returncode}")
        raise UnavailableError(f"cargo cannot build benches/{crate}: {reason}")
    [library] = (target / "release").glob("*.so")
    return ctypes.CDLL(str(library))
