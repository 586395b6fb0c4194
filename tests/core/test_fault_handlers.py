"""Reports of crashes beside other handlers, threads, forks and stacks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from support import crashes
from support.crashes import (
    PROTECTED,
    Nursery,
    crash,
    report,
)

# Other handlers

CRASH = """
    group = MemGroup(name="crash")
    shown = group.protect(group.alloc(16))
    print(shown.address, flush=True)
    store(shown.address)
"""


TRACEBACK = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x"


def said_of(ended: crashes.Ended, tid: int | None = None) -> str:
    found = "byte 0 of a block of 16 bytes at offset 0"
    address, where = int(ended.out.split()[0]), "in the read-only mirror"
    return report("write", address, where, PROTECTED, ended.pid, offset=0, obj=found, tid=tid)


def test_faulthandler_before(empty):
    ended = empty.child("    faulthandler.enable()\n    memgroup.enable_fault_report()" + CRASH)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.startswith(said_of(ended) + TRACEBACK)
    assert ended.err.count("memgroup:") == ended.err.count("Fatal") == 1


def test_faulthandler_after(empty):
    ended = empty.child("    memgroup.enable_fault_report()\n    faulthandler.enable()" + CRASH)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.startswith(TRACEBACK)
    assert ended.err.endswith(said_of(ended))
    assert ended.err.count("memgroup:") == ended.err.count("Fatal") == 1


def test_faulthandler_after_in_a_thread_without_a_signal_stack(empty):
    crash_in_thread = """
        memgroup.enable_fault_report()
        faulthandler.enable()
        group = MemGroup(name="crash")
        shown = group.protect(group.alloc(16))
        print(shown.address, flush=True)

        def work():
            print(threading.get_native_id(), flush=True)
            store(shown.address)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    ended = empty.child(crash_in_thread)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.startswith("Fatal Python error: Segmentation fault\n\n")
    assert ended.err.endswith(said_of(ended, int(ended.out.split()[1])))


CHAINS = {
    "on, handler, off": ("ON FH OFF", True, False),
    "handler, on, off": ("FH ON OFF", True, False),
    "on, handler, off, on": ("ON FH OFF ON", True, True),
    "on, handler, on": ("ON FH ON", True, True),
    "on, handler, on, off": ("ON FH ON OFF", True, False),
    "on, handler, no handler": ("ON FH NOFH", False, True),
    "handler, on, no handler": ("FH ON NOFH", False, False),  # faulthandler takes the signal with it
    "handler, on, no handler, on": ("FH ON NOFH ON", False, True),
    "off": ("OFF", False, False),
    "on, off": ("ON OFF", False, False),
    "on, on, off": ("ON ON OFF", False, False),
    "on, off a hundred times, on": ("ON OFF " * 100 + "ON", False, True),
    "handler between, a hundred times": ("ON FH OFF NOFH " * 100 + "ON FH", True, True),
    "all a hundred times": ("ON FH ON OFF ON NOFH " * 100 + "ON", False, True),
}


STEPS = {
    "ON": "memgroup.enable_fault_report()",
    "OFF": "memgroup.disable_fault_report()",
    "FH": "faulthandler.enable()",
    "NOFH": "faulthandler.disable()",
}


@pytest.mark.parametrize("chain", CHAINS)
def test_handlers_come_and_go_in_any_order(empty, chain):
    steps, traceback, reported = CHAINS[chain]
    ended = empty.child("\n".join(f"    {STEPS[step]}" for step in steps.split()) + CRASH)
    assert ended.status == -signal.SIGSEGV
    assert ended.err.count("Fatal Python error") == traceback
    assert ended.err.count("memgroup: ") == reported
    assert (said_of(ended) in ended.err) == reported


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS])
@pytest.mark.parametrize("before", ["", "signal.signal(NUMBER, signal.SIG_IGN)"], ids=["default", "ignored"])
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), NUMBER)", "signal.raise_signal(NUMBER)"])
def test_signals_that_are_no_faults_keep_their_effect(empty, number, before, how):
    code = f"{before or 'pass'}; memgroup.enable_fault_report(); {how}; print('survived')"
    ended = empty.child(code, NUMBER=int(number))
    survived = "IGN" in before
    assert (ended.status, ended.out, ended.err) == (0 if survived else -number, "survived\n" * survived, "")


@pytest.mark.parametrize(
    "how", ["ctypes.string_at(8)", "ctypes.memset(load.__code__.co_consts.__hash__() | 1 << 63, 0, 1)"]
)
@pytest.mark.parametrize(
    "before", ["pass", "signal.signal(signal.SIGSEGV, signal.SIG_IGN)"], ids=["default", "ignored"]
)
def test_faults_outside_groups_are_passed_on_without_a_report(empty, how, before):
    ended = empty.child(f"{before}; memgroup.enable_fault_report(); groups = [MemGroup(), MemGroup()]; {how}")
    crash(ended, "")


def test_a_python_signal_handler_may_replace_it(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        signal.signal(signal.SIGSEGV, lambda *_: None)
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        """
        + CRASH.replace("\n    ", "\n        ")
    )
    crash(ended, "")


ACTION = """
    class Action(ctypes.Structure):
        _fields_ = [
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_ulong * 16),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        ]
"""

HANDLER = (
    ACTION
    + """


    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def handler(number, info, context):
        address = ctypes.c_void_p.from_address(info + 16).value
        mask = (ctypes.c_ulong * 16)()
        libc.pthread_sigmask(0, None, mask)
        blocked = [bool(mask[0] >> bit & 1) for bit in (10, 9)]
        print("handler", number, address == shown.address, *blocked, flush=True)
        os._exit(42)


    def install(flags):
        action = Action(handler=ctypes.cast(handler, ctypes.c_void_p), flags=flags | 4)
        action.mask[0] = 1 << 9  # SIGUSR1
        assert libc.sigaction(11, ctypes.byref(action), None) == 0
"""
)


@pytest.mark.parametrize(("flags", "blocked"), [(0, True), (0x40000000, False)], ids=["plain", "SA_NODEFER"])
def test_an_earlier_handler_gets_the_signal_unchanged(empty, flags, blocked):
    code = HANDLER + f"\n    install({flags})\n    memgroup.enable_fault_report()" + CRASH
    ended = empty.child(code)
    assert ended.status == 42
    assert ended.out.splitlines()[1] == f"handler 11 True {blocked} True"
    assert ended.err == said_of(ended)


def test_a_later_handler_gets_the_signal_first(empty):
    ended = empty.child(HANDLER + "\n    memgroup.enable_fault_report()\n    install(0)" + CRASH)
    assert (ended.status, ended.err) == (42, "")


# Threads, forks, stacks


def test_a_fault_in_a_forked_child_is_reported_by_the_child(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        shown = group.protect(group.alloc(16))
        print(shown.address, flush=True)
        child = os.fork()
        if child == 0:
            store(shown.address)
        print(child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        """
    )
    assert ended.status == 0
    address, child, status = map(int, ended.out.split())
    assert status == -signal.SIGSEGV
    found = "byte 0 of a block of 16 bytes at offset 0"
    where = "in the read-only mirror"
    assert ended.err == report("write", address, where, PROTECTED, child, offset=0, obj=found)


def test_a_child_reports_nothing_about_memory_that_its_parent_kept_warm(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        address = group.protect(group.alloc(16)).address
        del group
        assert memgroup.warm_memory().slots == 1
        child = os.fork()
        if child == 0:
            assert access_to(address) is access_to(address - 1) is None  # nor of its guards
            store(address)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        store(address)
        """
    )
    assert (ended.status, ended.out) == (-signal.SIGSEGV, f"{-signal.SIGSEGV}\n")
    assert ended.err.count("memgroup: ") == 1
    assert ended.err.endswith(f"in thread {ended.pid} of process {ended.pid}\n")


def test_many_threads_that_fault_at_once_leave_whole_reports(empty):
    ended = empty.child(
        """
        memgroup.enable_fault_report()
        group = MemGroup(name="crash")
        shown = [group.protect(group.alloc(16)) for _ in range(8)]
        gate = threading.Barrier(8)

        def work(block):
            gate.wait()
            ctypes.memset(block.address, 0, 16)

        threads = [threading.Thread(target=work, args=(block,)) for block in shown]
        for thread in threads:
            thread.start()
        threads[0].join()
        """
    )
    assert ended.status == -signal.SIGSEGV
    reports = ended.err.split("memgroup: ")[1:]
    assert 1 <= len(reports) <= 8
    assert all(len(said.splitlines()) == 6 for said in reports)


def test_a_stack_overflow_dies_as_before(empty):
    code = """
        memgroup.enable_fault_report()
        # The C library goes one call deeper for each parenthesis; Python 3.14 stops calls of its own in time.
        nested = b"(" * 1_000_000
        compiled = ctypes.create_string_buffer(4096)
        threading.stack_size(1 << 18)
        thread = threading.Thread(target=libc.regcomp, args=(compiled, nested, 1))
        thread.start()
        thread.join()
    """
    ended = empty.child(code)
    crash(ended, "")


def test_reports_do_not_wait_for_a_reader_that_does_not_read(empty):
    ended = empty.child("    memgroup.enable_fault_report()\n    os.close(2)" + CRASH)
    assert (ended.status, ended.err) == (-signal.SIGSEGV, "")


def test_errno_survives_a_fault_that_is_handled(empty):
    # A handler that has repaired the cause returns: the program continues unchanged.
    ended = empty.child(
        ACTION
        + """
    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def mend(number, info, context):
        libc.mprotect(pointer(page), ctypes.c_size_t(PAGE), 3)

    page = libc.mmap(None, ctypes.c_size_t(PAGE), 0, 0x22, -1, 0)
    action = Action(handler=ctypes.cast(mend, ctypes.c_void_p), flags=4)
    assert libc.sigaction(11, ctypes.byref(action), None) == 0
    memgroup.enable_fault_report()
    group = MemGroup(name="crash")
    for round in range(3):
        ctypes.set_errno(77)
        store(page, 5)
        assert load(page) == 5
        libc.mprotect(pointer(page), ctypes.c_size_t(PAGE), 0)
    assert ctypes.get_errno() == 77
    print("went on", flush=True)
"""
    )
    assert (ended.status, ended.out, ended.err) == (0, "went on\n", "")


# Enabling the reports


@pytest.mark.parametrize(
    ("value", "reported", "warned"),
    [("1", True, False), (" 1 ", True, False), ("0", False, False), ("", False, False), ("yes", False, True)],
)
def test_the_environment_switches_it_on(value, reported, warned):
    crashes_ = Nursery(MEMGROUP_FAULT_REPORT=value, PYTHONWARNINGS="ignore")
    ended = crashes_.child(CRASH)
    crash(ended, said_of(ended) if reported else "")
    crashes_.close()


def test_nonsense_in_the_environment_is_a_warning(child, monkeypatch):
    monkeypatch.setenv("MEMGROUP_FAULT_REPORT", "yes")
    ended = child.run("print('imported')")
    assert (ended.returncode, ended.stdout) == (0, "imported\n")
    assert (
        'RuntimeWarning: memgroup: MEMGROUP_FAULT_REPORT must be 1 or 0, not "yes": it is ignored'
        in ended.stderr
    )


# Output


def on_a_terminal(code: str, **environment: str) -> str:
    """The terminal output of a child that crashes."""
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", code], clean | environment)
    shown = b""
    with contextlib.suppress(OSError):  # the other end was closed
        while more := os.read(terminal, 4096):
            shown += more
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV
    return shown.decode()


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_colours_are_used_only_on_terminals_that_support_them(environment, coloured):
    shown = on_a_terminal(
        crashes.textwrap.dedent(crashes.PREPARATION)
        + "memgroup.enable_fault_report(); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        + crashes.textwrap.dedent(CRASH),
        **environment,
    )
    address, said = shown.replace("\r\n", "\n").split("\n", 1)
    assert ("\x1b[" in said) == coloured
    if coloured:
        head, *lines = said.splitlines()
        assert head.startswith("\x1b[1;31mmemgroup:\x1b[0m \x1b[1mwrite at ")
        assert head.endswith("\x1b[0m")
        assert all(line.startswith("  \x1b[2m") for line in lines)
    plain = re.sub("\x1b\\[[0-9;]*m", "", said)
    pid = int(plain.split()[-1])
    assert plain == said_of(crashes.Ended(pid, 0, address, plain))


PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_page_on_faults_shows_the_actual_reports(empty):
    """The samples of the page equal the output of its programs, except for numbers that vary."""
    page = PAGE.read_text()
    samples = re.findall(r"```python no-run\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert len(samples) == 3
    for program, expected in samples:
        ended = empty.child(program)
        assert ended.status == -signal.SIGSEGV
        assert numberless(ended.err) == numberless(expected)


def numberless(text: str) -> str:
    text = re.sub(r"0x[0-9a-f]{12}\b", "ADDRESS", text)
    return re.sub(r"thread \d+ of process \d+", "thread T of process P", text)
