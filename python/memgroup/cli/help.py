"""The layout of `--help`: paragraphs are filled to the terminal's width, and no word is broken."""

from __future__ import annotations

import argparse
import re
import sys

from memgroup.cli.status import UNUSABLE
from memgroup.display.wrap import NO_BREAK, fit_terminal, terminal_columns, wanted_columns, wrap

# Importing typing would take as long as a small search.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

# The beginning of a line: its indentation, or a term and the gap before its meaning.
_START = re.compile(r" *\S+ {2,}| *")

# A part of a usage line: an option with its argument, or a word.
_PART = re.compile(r"\[[^]]*\]|\S+")


class Parser(argparse.ArgumentParser):
    """Lays out its help and its errors for terminals of any width."""

    def __init__(self, **options: Any) -> None:
        """The options are argparse's."""
        super().__init__(formatter_class=HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit."""
        self.print_usage(sys.stderr)
        self.exit(UNUSABLE, f"{fit_terminal(f'{self.prog}: error: {message}', sys.stderr)}\n")


class HelpFormatter(argparse.HelpFormatter):
    """Fills each paragraph separately. A paragraph that begins with `term ` is indented after the term."""

    def __init__(self, prog: str) -> None:
        """Fit the terminal. argparse would ask shutil, which takes longer to import than all of argparse."""
        super().__init__(prog, width=(wanted_columns() or terminal_columns(sys.stdout) or 80) - 2)

    def _format_usage(self, *arguments: Any, **options: Any) -> str:
        usage = super()._format_usage(*arguments, **options)
        if max(map(len, usage.splitlines())) <= self._width:
            return usage
        # argparse indents every line after the command's name, even on a narrow terminal.
        parts = (part.replace(" ", NO_BREAK) for part in _PART.findall(usage))
        return "\n".join([*wrap(" ".join(parts), self._width, behind=" " * 4), "", ""])

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(
            line
            for start, words in _paragraphs(text)
            for line in wrap(words, width, indent + start, indent + " " * len(start)) or [""]
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(" ".join(text.split()), width)


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
