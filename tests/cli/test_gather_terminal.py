"""The command `memgroup gather` at a terminal, and ended by a signal."""

import os
import re
import signal
import subprocess
import sys

import pytest
from support.gathering import COMMAND, ENOUGH, after
from support.terminals import Terminal

# Ctrl-C from within, at call number `call` of a function.
INTERRUPT_AT = """
import builtins, itertools, memgroup._files
real, calls = {owner}.{function}, itertools.count(1)
def interrupted(*arguments, **options):
    if next(calls) == {call}:
        os.kill(os.getpid(), signal.SIGINT)
    return real(*arguments, **options)
{owner}.{function} = interrupted
"""


class TestEnds:
    @pytest.mark.parametrize(
        ("owner", "function", "call"),
        [
            ("os", "lstat", 1),
            ("memgroup._files", "read_batch", 1),
            ("memgroup._files", "read_batch", 2),
            ("builtins", "print", 1),
        ],
    )
    def test_ctrl_c_at_any_moment(self, tree, tmp_path, owner, function, call):
        (tmp_path / "backing").mkdir()
        code = INTERRUPT_AT.format(owner=owner, function=function, call=call)
        command = after(code, tree, "--backing", tmp_path / "backing")
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENOUGH, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "memgroup: interrupted\n")
        assert not list((tmp_path / "backing").iterdir())

    def test_ctrl_c_while_modules_are_imported(self, tree):
        code = """
import importlib.abc
class Impatient(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "memgroup.cli.gather.job":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Impatient())
"""
        done = subprocess.run(after(code, tree), capture_output=True, text=True, timeout=ENOUGH, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "memgroup: interrupted\n")

    def test_ctrl_c_from_outside_in_the_midst_of_a_read(self, tree):
        ready, started = os.pipe()
        code = f"""
import memgroup._files
read_batch = memgroup._files.read_batch
def hang(group, paths, follow):
    os.write({started}, b"!")
    while True:
        read_batch(group, paths, follow)
        group.reset()
memgroup._files.read_batch = hang
"""
        with subprocess.Popen(
            after(code, tree), stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[started]
        ) as child:
            os.close(started)
            assert os.read(ready, 1) == b"!"
            os.close(ready)
            child.send_signal(signal.SIGINT)
            assert child.communicate(timeout=ENOUGH) == (b"", b"memgroup: interrupted\n")
        assert child.returncode == 130

    def test_ctrl_c_is_ignored_if_the_caller_ignores_it(self, tree):
        code = "signal.signal(signal.SIGINT, signal.SIG_IGN)" + INTERRUPT_AT.format(
            owner="memgroup._files", function="read_batch", call=1
        )
        done = subprocess.run(after(code, tree), capture_output=True, text=True, timeout=ENOUGH, check=False)
        assert done.returncode == 0
        assert done.stdout.startswith("Gathered 200 files")

    @pytest.mark.parametrize("arguments", [[], ["--json"], ["--find", "a", "-c"]])
    def test_a_closed_pipe_ends_the_command_quietly(self, tree, arguments):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as gone:
            done = subprocess.run(
                [*COMMAND, tree, *arguments], stdout=gone, stderr=subprocess.PIPE, timeout=ENOUGH, check=False
            )
        assert (done.returncode, done.stderr) == (141, b"")

    def test_a_full_output_is_reported(self, tree):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*COMMAND, tree], stdout=full, stderr=subprocess.PIPE, timeout=ENOUGH, check=False
            )
        assert done.returncode == 2
        assert done.stderr == b"memgroup: cannot write the output: No space left on device\n"

    @pytest.mark.parametrize(
        ("closed", "status", "words"),
        [
            (">&-", 2, b"memgroup: cannot write the output: stdout is closed\n"),
            ("2>&-", 0, b""),
            (">&- 2>&-", 2, b""),
        ],
    )
    def test_closed_outputs(self, tree, closed, status, words):
        shell = f'exec "$0" -m memgroup gather "$1" {closed}'
        done = subprocess.run(
            ["sh", "-c", shell, sys.executable, tree], capture_output=True, timeout=ENOUGH, check=False
        )
        assert (done.returncode, done.stderr) == (status, words)


# The first read waits until the test opens the gate; the progress bar does not wait.
HELD = """
import memgroup.display.progress
memgroup.display.progress._PATIENCE = 0
import memgroup._files
real = memgroup._files.read_batch
def held(*arguments):
    memgroup._files.read_batch = real
    os.read(GATE, 1)
    return real(*arguments)
memgroup._files.read_batch = held
"""


# A second Ctrl-C comes when the first has begun to take the bar away.
IMPATIENT = """
from rich.live import Live
stop = Live.stop
def interrupted(self):
    os.kill(os.getpid(), signal.SIGINT)
    stop(self)
Live.stop = interrupted
"""


HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


def assert_bar_has_gone(seen: str) -> None:
    assert SHOW_CURSOR in seen[seen.rindex(HIDE_CURSOR) :]
    assert ERASE_LINE in seen[seen.rindex("read 0 files") :]


class TestTerminal:
    def test_long_work_shows_a_progress_bar_and_takes_it_away(self, tree):
        terminal = Terminal(after(HELD, tree))
        terminal.wait_for("read 0 files")
        assert "━" in terminal.seen
        assert HIDE_CURSOR in terminal.seen
        terminal.open_gate()
        assert terminal.finish() == 0
        assert_bar_has_gone(terminal.seen)
        assert terminal.seen.index("Gathered 200 files") > terminal.seen.rindex("read 0 files")

    def test_short_work_shows_none(self, tree):
        code = "import memgroup.display.progress; memgroup.display.progress._PATIENCE = 3600"
        terminal = Terminal(after(code, tree))
        assert terminal.finish() == 0
        assert HIDE_CURSOR not in terminal.seen
        assert "read 0 files" not in terminal.seen

    @pytest.mark.parametrize("second", ["", IMPATIENT])
    def test_ctrl_c_takes_the_bar_away(self, tree, second):
        terminal = Terminal(after(HELD + second, tree))
        terminal.wait_for("read 0 files")
        terminal.child.send_signal(signal.SIGINT)
        assert terminal.finish() == 130
        assert_bar_has_gone(terminal.seen)
        assert terminal.seen.endswith("memgroup: interrupted\r\n")
        assert "Traceback" not in terminal.seen

    def test_no_progress_where_stderr_is_no_terminal(self, tree):
        done = subprocess.run(
            after("import memgroup.display.progress; memgroup.display.progress._PATIENCE = 0", tree),
            capture_output=True, text=True, timeout=ENOUGH, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")

    def test_colours_unless_they_are_unwanted(self, tree):
        coloured = Terminal([*COMMAND, tree])
        assert coloured.finish() == 0
        assert "\x1b[32m█" in coloured.seen
        plain = Terminal([*COMMAND, tree], NO_COLOR="1")
        assert plain.finish() == 0
        assert "█" in plain.seen
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain.seen)

    @pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
    def test_every_width_shows_whole_numbers_and_paths(self, tree, width):
        (tree / ("long" * 50)).write_bytes(b"ab" * 100_000)
        terminal = Terminal([*COMMAND, tree], COLUMNS=str(width), NO_COLOR="1")
        assert terminal.finish() == 0
        text = terminal.text
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert sum(text.count(letter) for letter in "l") >= 50
        for word in ("capacity", "waste", "protect", "inspect"):
            assert word in text

    def test_a_hostile_name_reaches_no_terminal(self, tmp_path):
        (tmp_path / "evil\x1b]0;title\x07\n").write_bytes(b"x")
        terminal = Terminal([*COMMAND, tmp_path], COLUMNS="300")
        assert terminal.finish() == 0
        assert "\x1b]0;" not in terminal.seen
        assert r"evil\x1b]0;title\x07\n" in terminal.seen

    def test_brackets_in_a_name_are_no_markup(self, tmp_path):
        (tmp_path / "[bold]name[").write_bytes(b"x")
        terminal = Terminal([*COMMAND, tmp_path], COLUMNS="300")
        assert terminal.finish() == 0
        assert "[bold]name[" in terminal.seen
