"""Output on terminals of any width: nothing is lost, and no number or word is broken."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from memgroup import MemGroup
from memgroup.cli.gather.job import Job
from memgroup.cli.gather.job import gather as gather_files
from memgroup.cli.gather.report import report as gather_report
from memgroup.cli.gather.report import searched
from memgroup.display import as_rich
from memgroup.display.progress import _Count  # pyright: ignore[reportPrivateUsage]
from memgroup.display.report import Bar, Column, Report, Table
from memgroup.display.watching import watching
from memgroup.display.wrap import wrap
from memgroup.doctor import examine
from memgroup.doctor.report import report as doctor_report
from memgroup.engines.sums import Share
from memgroup.forkcost import compare
from memgroup.forkcost._report import report as forkcost_report
from rich.console import Console
from rich.progress import Progress
from support.terminals import Terminal

WIDTHS = [40, 60, 80, 120]


def drawn(thing: object, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width, highlight=False).print(thing)
    assert max(map(len, text.getvalue().splitlines())) <= width
    return text.getvalue()


def words(text: str) -> Counter[str]:
    """All but bars and the words that are too long for a narrow terminal, which are folded."""
    return Counter(
        word for word in text.split() if len(word) < min(WIDTHS) - 8 and not set(word) <= set("▓█▒·")
    )


def measures(text: str) -> Counter[str]:
    """The numbers with a unit, on one line."""
    return Counter(re.findall(r"\d[\d.,]* (?:%|(?:[KMGT]iB|B|[mµn]?s|[kM]?/s)\b)", text))


def surveyed() -> Report:
    group = MemGroup(name="gather")
    with watching("files") as watch:
        return gather_report(gather_files(Job((os.path.dirname(__file__),), 10, 1 << 28), group, watch))


def figures() -> Report:
    group = MemGroup(name="two words", huge_pages=False)
    group.protect(group.copy_many([bytes(1000)] * 100_001))
    group.borrow(b"lent")
    return as_rich(group)


REPORTS: dict[str, Callable[[], Report]] = {
    "doctor": lambda: doctor_report(examine()),
    "forkcost": lambda: forkcost_report(
        compare(1 << 20, ["none", "memfd", "anonymous", "anonymous+dontfork"], rounds=1)
    ),
    "gather": surveyed,
    "gather --find": lambda: searched(
        12_345, 678_901, 234, 56, 7, 8.9, {"tcp://10.11.12.13:40000": Share(8, 12_345, 678_901, 7.6)}
    ),
    "stats": figures,
}


@pytest.fixture(scope="module", params=REPORTS)
def report(request: pytest.FixtureRequest) -> Report:
    return REPORTS[request.param]()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_narrow_report_has_all_words_and_numbers_of_a_wide_one(report, width):
    wide, narrow = words(drawn(report, 120)), words(drawn(report, width))
    assert wide <= narrow
    assert measures(drawn(report, 120)) <= measures(drawn(report, width))


@pytest.mark.parametrize("width", WIDTHS)
def test_progress_is_whole(width):
    with Progress(_Count("files"), console=Console(file=io.StringIO(), width=width)) as progress:
        progress.add_task("read", total=12_345_678)
        text = drawn(progress.get_renderable(), width)
    assert words("read 0 of 12,345,678 files, 0 /s") <= words(text)


def test_rows_that_do_not_fit_are_stacked_with_their_titles():
    table = Table(
        "Files",
        (Column("bytes"), Column("", "bar"), Column("share"), Column("file", "text")),
        (("123,456 B", Bar(1), "12.5 %", "a" * 60), ("1 B", Bar(0), "", "b")),
    )
    assert [line.rstrip() for line in drawn(Report("Two", (), (table,)), 40).splitlines()] == [
        "Two",
        "",
        "Files",
        "  bytes 123,456 B",
        "    " + "█" * 36,
        "    share 12.5 %",
        "    file",
        "    " + "a" * 36,
        "    " + "a" * 24,
        "  bytes 1 B",
        "    " + "·" * 36,
        "    file b",
    ]


def test_a_number_stays_with_its_unit():
    assert wrap("used 31.2 MiB in 4 slots", 13) == ["used 31.2 MiB", "in 4 slots"]
    assert wrap("used 31.2 MiB in 4 slots", 12) == ["used", "31.2 MiB in", "4 slots"]
    assert wrap("a " + "long" * 10, 12) == ["a", "long" * 10]


def command_help(command: str, width: int) -> str:
    return subprocess.check_output(
        [sys.executable, "-m", "memgroup", *command.split(), "--help"],
        env={**os.environ, "COLUMNS": str(width)},
        text=True,
    )


@pytest.mark.parametrize("command", ["", "gather", "forkcost", "doctor"])
def test_help_breaks_no_word(command):
    said = command_help(command, 200).split()
    for width in WIDTHS:
        text = command_help(command, width)
        assert max(map(len, text.splitlines())) <= width
        assert text.split() == said


def test_the_command_alone_lists_the_commands():
    said = subprocess.check_output([sys.executable, "-m", "memgroup"], text=True)
    assert said == command_help("", 80)
    assert {"gather", "forkcost", "doctor"} <= set(said.split())


def shown(width: int, *command: str) -> str:
    terminal = Terminal([sys.executable, *command], COLUMNS=str(width))
    terminal.finish()
    assert max(map(len, terminal.text.splitlines())) <= width
    return terminal.text


ERRORS = {
    "argument": ("--memory", "5Q", "."),
    "path": ("no/such/directory",),
    "backing": ("--backing", "no/such/directory", "."),
}


@pytest.mark.parametrize("arguments", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("width", WIDTHS)
def test_errors_are_wrapped_on_terminals_alone(arguments, width):
    command = ("-m", "memgroup", "gather", *arguments)
    wide = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert len(wide.stderr.splitlines()[-1]) > 40
    assert shown(width, *command).split() == wide.stderr.split()


PRINTED = """
from memgroup import MemGroup
group = MemGroup(huge_pages=False)
group.protect(group.copy_many([bytes(1000)] * 100_001))
print(group.stats())
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_printed_statistics_fit_a_terminal(width):
    plain = words(subprocess.check_output([sys.executable, "-c", PRINTED], text=True))
    bars = {word for word in plain if word.startswith("[") or word.endswith("]")}
    assert Counter({word: many for word, many in plain.items() if word not in bars}) <= words(
        shown(width, "-c", PRINTED)
    )
