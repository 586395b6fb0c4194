"""Wrapping of texts to the width of a terminal: no word is broken, and no number is parted from its unit."""

from __future__ import annotations

import os
import re
from contextlib import suppress

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

NO_BREAK = "\xa0"
"""A space at which `wrap` breaks no line. It becomes an ordinary space."""

# The space between a number and its unit, or what it counts: `31.2 MiB`, `4 slots`.
_AFTER_NUMBER = re.compile(r"(?<=\d) (?=\S)")


def wrap(text: str, width: int, first: str = "", behind: str = "") -> list[str]:
    """The lines of `text`, which begin with `first` and then with `behind`. Only a word can be wider."""
    import textwrap  # for long texts alone

    lines = textwrap.wrap(
        _AFTER_NUMBER.sub(NO_BREAK, text),
        width,
        initial_indent=first,
        subsequent_indent=behind,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(NO_BREAK, " ") for line in lines]


def wanted_columns() -> int | None:
    """The width that the environment asks for with COLUMNS."""
    with suppress(ValueError):
        return int(os.environ.get("COLUMNS", "")) or None
    return None


def terminal_columns(stream: TextIO | None) -> int | None:
    """The width of the terminal that `stream` writes to; None if it is no terminal, or does not know."""
    if stream is None:
        return None
    with suppress(OSError, AttributeError, ValueError):
        columns = os.get_terminal_size(stream.fileno()).columns
        return wanted_columns() or columns or None
    return None


def fit_terminal(text: str, stream: TextIO | None) -> str:
    """`text`, wrapped if `stream` writes to a terminal."""
    columns = terminal_columns(stream)
    return text if columns is None else "\n".join(wrap(text, columns))
