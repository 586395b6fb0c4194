"""Warm memory: later groups reuse the memory of ended ones, within a bound, and no other owner sees it."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap

import memgroup
import pytest
from conftest import PRELUDE
from memgroup import MemGroup

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(autouse=True)
def warm(cold):
    """Begin with no warm memory, and a limit that allows some."""
    memgroup.set_warm_limit(64 * MIB)


# The limit and the figures


def test_warm_memory_can_be_inspected():
    with MemGroup() as group:
        group.alloc(100_000)
        stats = group.stats()
    kept = memgroup.warm_memory()
    assert (kept.limit, kept.committed, kept.slots) == (64 * MIB, stats.committed, len(stats.slots))
    figures = f"committed={kept.committed}, slots={kept.slots}, handles={kept.handles}"
    assert repr(kept) == f"WarmMemory(limit={64 * MIB}, {figures})"
    assert json.loads(json.dumps(kept.as_dict())) == {
        "limit": kept.limit,
        "committed": kept.committed,
        "slots": kept.slots,
        "handles": kept.handles,
    }
    assert kept == memgroup.warm_memory()
    with pytest.raises(AttributeError):
        kept.limit = 5  # type: ignore[misc]


@pytest.mark.parametrize("end", ["with", "free", "force", "del"])
def test_every_end_leaves_its_memory_to_the_next_group(end):
    group = MemGroup()
    group.alloc(10)
    if end == "with":
        with group:
            pass
    elif end == "del":
        del group
        gc.collect()
    else:
        group.free(force=end == "force")
    assert memgroup.warm_memory().slots == 1
    again = MemGroup()
    again.alloc(10)
    assert memgroup.warm_memory().slots == 0


def test_a_reset_keeps_its_memory_in_the_group():
    group = MemGroup()
    group.alloc(10)
    group.reset()
    assert memgroup.warm_memory().slots == 0


def test_files_are_never_kept(tmp_path):
    with MemGroup(backing=str(tmp_path)) as group:
        group.alloc(10)
    assert memgroup.warm_memory().slots == 0


def test_lowering_the_limit_gives_memory_back_at_once():
    with MemGroup() as group:
        group.alloc(MIB)[:] = bytes(MIB)
    assert memgroup.warm_memory().committed >= MIB
    memgroup.set_warm_limit(0)
    assert memgroup.warm_memory().as_dict() == {"limit": 0, "committed": 0, "slots": 0, "handles": 0}


def test_memory_given_back_is_really_given_back(child):
    given_back = child.output("""
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
        before = resident()
        with MemGroup() as group:
            for _ in range(100):
                group.copy(bytes(1 << 20))
        warm = resident()
        memgroup.set_warm_limit(0)
        print(warm - before, resident() - before)
    """)
    warm, cold = map(int, given_back.split())
    assert warm >= 100
    assert cold < 20


@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        (-1, ValueError, "the warm limit must be .*not negative, not -1"),
        (-(10**5000), ValueError, "the warm limit must be .*not negative"),
        ("64M", TypeError, "the warm limit must be an integer, not str"),
        (1e9, TypeError, "the warm limit must be an integer, not float"),
        (None, TypeError, "the warm limit must be an integer, not NoneType"),
    ],
    ids=["-1", "-huge", "str", "float", "None"],
)
def test_bad_limits(limit, error, message):
    with pytest.raises(error, match=message):
        memgroup.set_warm_limit(limit)
    assert memgroup.warm_memory().limit == 64 * MIB


def test_an_absurdly_large_limit_is_accepted():
    memgroup.set_warm_limit(10**30)
    assert memgroup.warm_memory().limit > 1 << 60


def limited_by(value: str | None, *flags: str) -> subprocess.CompletedProcess[str]:
    """The warm limit of a process with this environment."""
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "MEMGROUP"))
    }
    if value is not None:
        environment["MEMGROUP_WARM_LIMIT"] = value
    code = "import memgroup; print(memgroup.warm_memory().limit)"
    command = [sys.executable, *flags, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


DEFAULT = min(256 * MIB, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 16)


@pytest.mark.parametrize(
    ("value", "limit"), [(None, DEFAULT), ("", DEFAULT), ("0", 0), ("1048576", MIB), (" 4096 ", 4096)]
)
def test_the_environment_sets_the_limit(value, limit):
    ended = limited_by(value)
    assert (ended.stdout, ended.stderr, ended.returncode) == (f"{limit}\n", "", 0)


@pytest.mark.parametrize("value", ["64M", "-1", "much", "1" * 30])
def test_nonsense_in_the_environment_is_warned_of_and_ignored(value):
    ended = limited_by(value)
    assert (ended.stdout, ended.returncode) == (f"{DEFAULT}\n", 0)
    assert re.search(
        f'RuntimeWarning: .*MEMGROUP_WARM_LIMIT must be a number of bytes .*"{value}"', ended.stderr
    )
    assert limited_by(value, "-W", "ignore").stderr == ""


# Bytes that must not be visible


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_memory_that_exporters_keep_is_never_reused(backing):
    np = pytest.importorskip("numpy")
    arrays, released = [], []
    for number in range(40):
        with MemGroup(backing=backing) as group:
            blocks = [group.copy(bytes([number]) * 1000) for _ in range(200)]
            arrays.append(np.ndarray((1000,), "u1", buffer=blocks[number]))
            released.append(blocks[-1])
            memoryview(released[-1]).release()
    assert [set(array.tolist()) for array in arrays] == [{number} for number in range(40)]
    assert [set(block.tobytes()) for block in released] == [{number} for number in range(40)]


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_a_stale_address_is_a_segfault_however_many_groups_follow(child, backing):
    pytest.importorskip("numpy")
    child.segfaults(
        """
        import numpy as np
        group = MemGroup(backing=sys.argv[1])
        array = np.ndarray((1000,), "u1", buffer=group.copy(b"A" * 1000))
        group.free(force=True)
        for _ in range(100):
            with MemGroup(backing=sys.argv[1]) as other:
                other.copy(b"B" * 60000)
        kept = [MemGroup(backing=sys.argv[1]).copy(b"B" * 60000) for _ in range(100)]
        print("before", flush=True)
        print("other data:", bytes(array[:10]))
        """,
        backing,
    )


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_addresses_reserved_without_access_are_never_reused(child, backing):
    said = child.output(
        """
        for _ in range(3):
            with MemGroup(backing=sys.argv[1]) as group:
                group.copy(b"A" * 60000)
            print(memgroup.warm_memory().slots, end=" ")
            group = MemGroup(backing=sys.argv[1])
            block = group.copy(b"B" * 60000)
            assert block.address
            group.free(force=True)
            del block
            print(memgroup.warm_memory().slots, end=" ")
        """,
        backing,
    )
    assert said == "1 0 1 0 1 0"


def test_blocks_of_an_ended_group_never_show_later_contents():
    groups, blocks = [], []
    for number in range(20):
        group = MemGroup()
        blocks.append(group.copy(bytes([number]) * 100))
        group.free()
        groups.append(group)
    following = MemGroup()
    following.copy(b"B" * 100)
    for group, block in zip(groups, blocks, strict=True):
        for use in (bytes, len, lambda b: b[0], group.protect, lambda b: b in following or bytes(b)):
            with pytest.raises(ValueError, match="freed"):
                use(block)
        with pytest.raises(ValueError, match="does not live in this group"):
            following.protect(block)


def test_zeroed_means_zero_in_warm_memory():
    for n in (100, 70_000, 3 * MIB) * 3:
        with MemGroup() as group:
            block = group.alloc(n, zero=True)
            assert bytes(block) == bytes(n)
            block[:] = b"\xff" * n


def test_a_forked_child_gets_no_warm_memory(child):
    said = child.output("""
        def use():
            with MemGroup() as group:
                group.alloc(100)
            return memgroup.warm_memory().slots
        use()
        live = MemGroup()
        kept = live.copy(b"parent")
        reader, writer = os.pipe()
        if os.fork() == 0:
            said = [memgroup.warm_memory().slots, use(), bytes(kept)]
            live.free()
            said.append(memgroup.warm_memory().slots)
            os.write(writer, repr(said).encode())
            os._exit(0)
        os.wait()
        print(os.read(reader, 1000).decode(), memgroup.warm_memory().slots, bytes(kept), use())
    """)
    assert said == "[0, 1, b'parent', 1] 0 b'parent' 1"


# The purpose


def test_warm_memory_never_causes_a_refusal(child):
    said = child.output("""
        memgroup.set_warm_limit(1 << 40)
        with MemGroup() as group:
            group.alloc(300 << 20)
        used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
        before = memgroup.warm_memory().slots
        print(before, outcome(MemGroup(base=200 << 20).alloc, 200 << 20), memgroup.warm_memory().slots)
    """)
    assert said == "1 fine 1"  # freed memory is kept again, the large slot instead of the other


ROUNDS = """
    def round():
        group = MemGroup(backing=sys.argv[1])
        blocks = [group.alloc(100) for _ in range(1000)]
        for block in blocks:
            block[0] = 1
        large = group.alloc(3 << 20)
        large[::4096] = pattern
        del blocks, block, large
        group.free()

    pattern = b"x" * (3 << 8)
    gc.disable()
    for _ in range(300):
        round()
"""


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_rounds_after_the_first_do_not_fault(child, backing):
    code = (
        ROUNDS
        + """
    resource.getrusage(resource.RUSAGE_SELF)  # takes a page of Python's own the first time
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(100):
        round()
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt)
    """
    )
    assert child.output(code, backing) == "0 0"


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_rounds_after_the_first_do_not_call_the_kernel(tmp_path, backing):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    marked = (
        ROUNDS
        + """
    os.access("/begin", 0)
    for _ in range(100):
        round()
    os.access("/end", 0)
    """
    )
    code = PRELUDE + textwrap.dedent(marked)
    command = [strace, "-f", "-o", trace, sys.executable, "-c", code, backing]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if ended.returncode != 0 and "ptrace" in ended.stderr:
        pytest.skip(f"may not trace: {ended.stderr.strip()}")
    assert (ended.returncode, ended.stderr) == (0, "")
    calls = trace.read_text().splitlines()
    begin, end = (
        next(i for i, call in enumerate(calls) if f'"/{mark}"' in call) for mark in ("begin", "end")
    )
    assert calls[begin + 1 : end] == []
