"""Shared by the arguments of all commands: parsing, and errors."""

from __future__ import annotations

import argparse
import sys

from memgroup.cli.output import complain
from memgroup.cli.status import UNUSABLE
from memgroup.display.text import show_text

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

SIZE_HELP = """
SIZE:
  Bytes, or with a suffix: K, M, G, T (or KiB, ...) are powers of 1024, KB, MB, ... are powers of 1000.
"""


def argument(read: Callable[[str], object]) -> Callable[[str], object]:
    """`read` for argparse, keeping the message of its ValueError, which argparse would replace."""

    def convert(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def count_or_all(text: str) -> int:
    """A number from 0 on, or all."""
    if text == "all":
        return sys.maxsize
    if text.isascii() and text.isdecimal():
        return int(text)
    raise ValueError(f"give a number from 0 on, or all; not {show_text(text)}")


def positive(text: str) -> int:
    """A number from 1 on."""
    if text.isascii() and text.isdecimal() and int(text):
        return int(text)
    raise ValueError(f"give a number from 1 on, not {show_text(text)}")


def refuse(command: str, reason: str) -> NoReturn:
    """Exit before any work is done, without showing the usage, because the arguments are well-formed."""
    complain(f"memgroup {command}: {reason}")
    raise SystemExit(UNUSABLE)
