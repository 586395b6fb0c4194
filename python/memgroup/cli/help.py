"""The layout of `--help`: paragraphs are filled to the terminal's width, and no word is broken."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import suppress

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# The beginning of a line: its indentation, or a term and the gap before its meaning.
_START = re.compile(r" *\S+ {2,}| *")

# A part of a usage line: an option with its argument, or a word.
_PART = re.compile(r"\[[^]]*\]|\S+")

_NO_BREAK = "\xa0"


class HelpFormatter(argparse.HelpFormatter):
    """Fills each paragraph separately. A paragraph that begins with `term ` is indented after the term."""

    def __init__(self, prog: str) -> None:
        """Fit the terminal. argparse would ask shutil, which takes longer to import than all of argparse."""
        super().__init__(prog, width=_columns() - 2)

    def _format_usage(self, *arguments: Any, **options: Any) -> str:
        usage = super()._format_usage(*arguments, **options)
        if max(map(len, usage.splitlines())) <= self._width:
            return usage
        # argparse indents every line after the command's name, even on a narrow terminal.
        parts = (part.replace(" ", _NO_BREAK) for part in _PART.findall(usage))
        wrapped = _wrap(" ".join(parts), self._width, behind=" " * 4)
        return "\n".join([*wrapped, "", ""]).replace(_NO_BREAK, " ")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            line
            for start, words in _paragraphs(text)
            for line in _wrap(words, width, indent + start, indent + " " * len(start)) or [""]
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrap(" ".join(text.split()), width)


def _columns() -> int:
    """The width of the terminal, or 80."""
    with suppress(ValueError):
        return int(os.environ.get("COLUMNS", "")) or 80
    with suppress(OSError, AttributeError, ValueError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return 80


def _paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """The paragraphs of `text`: the beginning of each, and its words. An empty line is a paragraph, too."""
    start, words = "", ""
    for line in text.strip("\n").splitlines():
        begins, said = _start_and_words(line)
        if words and said and begins == " " * len(start):
            words += f" {said}"
            continue
        if words:
            yield start, words
        if not said:
            yield "", ""
        start, words = begins, said
    yield start, words


def _start_and_words(line: str) -> tuple[str, str]:
    match = _START.match(line)
    start = match[0] if match else ""
    return start, line.removeprefix(start)


def _wrap(words: str, width: int, first: str = "", behind: str = "") -> list[str]:
    import textwrap  # for help alone

    return textwrap.wrap(
        words,
        width,
        initial_indent=first,
        subsequent_indent=behind,
        break_long_words=False,
        break_on_hyphens=False,
    )
