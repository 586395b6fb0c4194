"""The command `memgroup forkcost`, and that it leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from memgroup.forkcost import DEFAULT_BACKINGS, compare, measure, predict
from support.forkcosts import MIB

COMMAND = [sys.executable, "-m", "memgroup", "forkcost"]


ENOUGH = 60


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=ENOUGH, check=False)


# A measurement that takes long, in a process whose family is found by a mark in the environment.
LONG = """
import sys
from memgroup.forkcost import measure
print("begun", flush=True)
measure(1 << 20, "memfd", "tree:3", rounds=1_000_000)
"""


def marked(mark: str) -> list[int]:
    """The live processes with the mark, which the helper's family inherits."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if f"FORKCOST_MARK={mark}".encode() in environment.split(b"\0"):
            found.append(int(pid))
    return found


def wait_until(true) -> None:
    deadline = time.monotonic() + ENOUGH
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


class TestNoProcessIsLeft:
    @pytest.fixture
    def long(self, tmp_path):
        with subprocess.Popen(
            [sys.executable, "-c", LONG],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "FORKCOST_MARK": str(tmp_path)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            start_new_session=True,
        ) as caller:
            wait_until(lambda: len(marked(str(tmp_path))) > 8)
            yield caller
            caller.kill()

    def test_ctrl_c(self, long, tmp_path):
        long.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in long.communicate(timeout=ENOUGH)[1]
        assert marked(str(tmp_path)) == []

    def test_ctrl_c_on_a_terminal_reaches_the_whole_group(self, long, tmp_path):
        os.killpg(long.pid, signal.SIGINT)
        assert b"KeyboardInterrupt" in long.communicate(timeout=ENOUGH)[1]
        assert marked(str(tmp_path)) == []

    def test_a_caller_that_is_killed(self, long, tmp_path):
        long.kill()
        long.communicate(timeout=ENOUGH)
        wait_until(lambda: not marked(str(tmp_path)))

    def test_a_helper_that_is_killed(self, long, tmp_path):
        helpers = Path(f"/proc/{long.pid}/task/{long.pid}/children").read_text().split()
        (helper,) = map(int, helpers)
        os.kill(helper, signal.SIGKILL)
        assert (
            b"RuntimeError: the helper process ended early: killed by SIGKILL"
            in long.communicate(timeout=ENOUGH)[1]
        )
        assert marked(str(tmp_path)) == []

    def test_a_member_that_is_killed(self, long, tmp_path):
        helper = int(Path(f"/proc/{long.pid}/task/{long.pid}/children").read_text())
        while long.poll() is None:  # which process dies, and when, does not matter
            for pid in sorted(set(marked(str(tmp_path))) - {long.pid, helper}, reverse=True)[:3]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        said = long.communicate(timeout=ENOUGH)[1]
        assert b"OSError: a process of the family was killed" in said
        assert marked(str(tmp_path)) == []

    def test_ctrl_c_while_the_helper_is_being_started(self, monkeypatch, tmp_path):
        started = []

        class Popen(subprocess.Popen):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                started.append(self)
                raise KeyboardInterrupt

        monkeypatch.setenv("FORKCOST_MARK", str(tmp_path))
        monkeypatch.setattr(subprocess, "Popen", Popen)
        descriptors = os.listdir("/proc/self/fd")
        with pytest.raises(KeyboardInterrupt):
            measure(MIB, shape="tree:3", rounds=1_000_000)
        assert set(marked(str(tmp_path))) <= {os.getpid()}
        (helper,) = started
        assert helper.wait() in (1, -signal.SIGKILL)  # before or after it opened its lifeline
        assert len(os.listdir("/proc/self/fd")) <= len(descriptors)

    def test_a_helper_whose_lifeline_is_closed(self, child):
        child.output("""
            import subprocess
            from memgroup.forkcost import _measure
            from memgroup.forkcost._predict import predict
            job = _measure._job(predict(1 << 20, "memfd", "tree:3"), 1_000_000)
            lifeline, hold = os.pipe()
            command = [sys.executable, "-I", "-S", "-c", _measure._HELPER, _measure._PACKAGES, job]
            helper = subprocess.Popen([*command, str(os.getpid()), str(lifeline)], pass_fds=[lifeline],
                                      stdout=subprocess.PIPE)
            helper.stdout.readline()  # it has begun
            helper.stdout.readline()
            os.close(hold)
            helper.stdout.read()  # the end of all processes
            assert helper.wait() == -signal.SIGKILL
        """)

    def test_a_child_that_dies_before_it_is_known(self, child):
        said = child.output("""
            import time
            from memgroup.forkcost import _child
            from memgroup.forkcost._backing import read_backing
            from memgroup.forkcost._shape import read_shape
            fork = os.fork
            def die():
                pid = fork()
                if not pid:
                    os._exit(1)
                time.sleep(0.2)
                return pid
            os.fork = die
            memory = _child.Memory(read_backing("none"), 4096, 1)
            print(outcome(_child.Family(read_shape("star:3"), memory).live))
        """)
        assert said == "OSError: a process of the family was killed"

    def test_a_machine_too_slow_to_look(self, child):
        said = child.output("""
            import time
            from memgroup.forkcost import _lean
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            _lean._SLEEP = 1
            read = _lean.read_kilobytes
            def slowly(*arguments):
                time.sleep(1.5)
                return read(*arguments)
            _lean.read_kilobytes = slowly
            print(outcome(_lean.fork_and_look, _lean.new_stack(), look=True))
            _lean.read_kilobytes = read
            print(outcome(_lean.fork_and_look, _lean.new_stack(), look=True))
        """)
        slow, fast = said.splitlines()
        assert slow.startswith("TimeoutError: measuring a child took longer than the 1 s for which it stays;")
        assert fast == "fine"


class TestCommand:
    def test_plain(self):
        done = run("2M", "--rounds", "1")
        assert (done.returncode, done.stderr) == (0, "")
        first, said, *_ = done.stdout.splitlines()
        assert first.startswith("2 MiB, all written, then the last fork of 2 processes (star:1)")
        assert said.endswith(".")
        for backing in DEFAULT_BACKINGS:
            assert f"\n  {backing} " in done.stdout

    def test_json(self):
        arguments = [
            "1M",
            "--backing",
            "none",
            "--backing",
            "anonymous",
            "--rounds",
            "2",
            "--shape",
            "chain:4",
        ]
        done = run(*arguments, "--mappings", "8", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        _, anonymous = json.loads(done.stdout)["measurements"]
        assert anonymous["rounds"] == 2
        assert anonymous["prediction"]["chains"] == 8 * 15

    @pytest.mark.parametrize(
        ("words", "arguments"),
        [
            ("argument SIZE: not a size", ["much"]),
            ("argument --backing: no advice is called 'x'", ["--backing", "memfd+x"]),
            ("argument --shape: not a shape: 'ring'", ["--shape", "ring"]),
            ("argument --rounds: give a number from 1 on, not 0", ["--rounds", "0"]),
            ("memgroup forkcost: size must be at least one byte", ["0"]),
            ("memgroup forkcost: star:1 with 1 EiB of memfd takes up to", ["1E", "--shape", "star:1"]),
            ("No such file or directory", ["1M", "--backing", "/nowhere"]),
        ],
    )
    def test_bad_arguments(self, words, arguments):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr

    def test_help_imports_nothing_of_it(self):
        code = (
            "import sys; sys.argv = ['memgroup', '--help']; from memgroup.cli.main import main; main(); "
            "sys.exit(any(name.startswith('memgroup.forkcost') for name in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "forkcost" in done.stdout


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (predict, {"size": 1e6}, "size must be an integer, not float"),
        (predict, {"size": "1G"}, "size must be an integer, not str"),
        (predict, {"size": 4096, "mappings": 1.0}, "mappings must be an integer, not float"),
        (predict, {"size": 4096, "backing": None}, "a backing is a str, not NoneType"),
        (predict, {"size": 4096, "shape": 1000}, "a shape is a str, not int"),
        (measure, {"size": 4096, "rounds": 1.5}, "rounds must be an integer, not float"),
        (compare, {"size": 4096, "backings": "memfd"}, "backings must be several"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(call, arguments, message):
    with pytest.raises(TypeError, match=message):
        call(**arguments)


@pytest.mark.parametrize("backing", ["anonymus", "Anonymous+huge", "no-such-directory"])
def test_a_misspelt_backing_is_no_directory(backing):
    with pytest.raises(ValueError, match="no backing is called"):
        predict(1 << 20, backing)


def test_memory_kept_from_children_stays_so_in_every_round(child):
    child.output("""
        from memgroup.forkcost._backing import read_backing
        from memgroup.forkcost._child import Memory
        from memgroup.forkcost._lean import kept_from_children
        memory = Memory(read_backing("anonymous+dontfork"), 1 << 20, 1)
        (start, _), = memory.ranges()
        def flags():
            lines = iter(open("/proc/self/smaps"))
            for line in lines:
                if line.startswith(f"{start:x}-"):
                    return next(line for line in lines if line.startswith("VmFlags")).split()
        assert "dc" in flags()
        with kept_from_children(memory.ranges()):
            assert "dc" in flags()
        assert "dc" in flags()
    """)


def test_a_directory_of_any_name_serves(tmp_path):
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/d\xff")
    os.mkdir(directory)
    measured = measure(1 << 20, directory, rounds=1)
    assert measured.prediction.backing == directory


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_kernel_does_not_hold_root_to_the_limit_of_a_user(child):
    said = child.output("""
        from memgroup.forkcost import measure
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        print(outcome(measure, 4096, "none", "star:2", rounds=1))
        os.setuid(65534)
        print(outcome(measure, 4096, "none", "star:2", rounds=1))
    """)
    first, second = said.splitlines()
    assert first == "fine"
    assert "RLIMIT_NPROC (ulimit -u) allows 1" in second
