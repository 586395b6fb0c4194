"""Refused requests: the right exception, a message that names the remedy, and a group that stays usable."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from conftest import assign, memory_available
from memgroup import MemGroup
from support.overcommit import not_strict
from support.seccomp import WITHOUT_POPULATE, checked

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
PAGE = os.sysconf("SC_PAGE_SIZE")
HUGE = 10**5000  # longer than Python prints by default


class Index:
    """An object with `__index__` that cannot be compared."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Broken:
    def __index__(self) -> int:
        raise ArithmeticError("no number today")


def check_works(group: MemGroup) -> None:
    assert group.copy(b"still works") == b"still works"


def fill(group: MemGroup, n: int, *, tries: int) -> None:
    for _ in range(tries):
        group.alloc(n)


# Bad input

BAD_SIZES = {
    "str": ("5", TypeError, "size must be an integer, not str"),
    "float": (5.0, TypeError, "size must be an integer, not float"),
    "None": (None, TypeError, "size must be an integer, not NoneType"),
    "bytes": (b"5", TypeError, "size must be an integer, not bytes"),
    "-1": (-1, ValueError, "size must be .*negative, not -1"),
    "-2**70": (-(2**70), ValueError, "size must be .*negative"),
    "-10**5000": (-HUGE, ValueError, "size must be .*negative"),
    "Index(-1)": (Index(-1), ValueError, "size must be .*negative"),
    "2**46 + 1": (2**46 + 1, MemoryError, "split the request|larger base"),
    "2**63 - 1": (2**63 - 1, MemoryError, "split the request|larger base"),
    "2**64 - 1": (2**64 - 1, MemoryError, "split the request|larger base"),
    "2**64": (2**64, MemoryError, "split the request|larger base"),
    "10**5000": (HUGE, MemoryError, "split the request|larger base"),
    "Index(2**64)": (Index(2**64), MemoryError, "split the request|larger base"),
}

BAD_ALIGNMENTS = {
    "str": ("16", TypeError, "align must be an integer, not str"),
    "float": (16.0, TypeError, "align must be an integer, not float"),
    "None": (None, TypeError, "align must be an integer, not NoneType"),
    **{
        str(align) if abs(align) < 2**99 else "10**5000": (align, ValueError, "power of two from 1 to 4096")
        for align in (0, -1, -16, 3, 24, 4095, 8192, 2**63, 2**64, HUGE)
    },
}


@pytest.mark.parametrize(("n", "error", "message"), BAD_SIZES.values(), ids=BAD_SIZES)
def test_bad_sizes(group, n, error, message):
    with pytest.raises(error, match=message):
        group.alloc(n)
    check_works(group)


@pytest.mark.parametrize(("align", "error", "message"), BAD_ALIGNMENTS.values(), ids=BAD_ALIGNMENTS)
def test_bad_alignments(group, align, error, message):
    for work in (lambda: group.alloc(10, align=align), lambda: group.copy(b"abc", align=align)):
        with pytest.raises(error, match=message):
            work()
    check_works(group)


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5], ids=lambda data: type(data).__name__)
def test_bad_sources(group, data):
    with pytest.raises(TypeError, match=f"bytes-like object is required, not {type(data).__name__}"):
        group.copy(data)
    check_works(group)


BAD_OPTIONS = {
    "base 0": ({"base": 0}, ValueError, "base must be from 1 to .* not 0"),
    "base -1": ({"base": -1}, ValueError, "base must be from 1 to .* not -1"),
    "base 2**46 + 1": ({"base": 2**46 + 1}, ValueError, "base must be from 1 to"),
    "base 2**64": ({"base": 2**64}, ValueError, "base must be from 1 to"),
    "base 10**5000": ({"base": HUGE}, ValueError, "base must be from 1 to"),
    "base float": ({"base": 4096.0}, TypeError, "base must be an integer, not float"),
    "base None": ({"base": None}, TypeError, "base must be an integer, not NoneType"),
    "base str": ({"base": "64K"}, TypeError, "base must be an integer, not str"),
    "limit -1": ({"limit": -1}, ValueError, "limit must be .*negative, not -1"),
    "limit -10**5000": ({"limit": -HUGE}, ValueError, "limit must be .*negative"),
    "limit str": ({"limit": "1G"}, TypeError, "limit must be .*an integer.* not str"),
    "limit float": ({"limit": 1e9}, TypeError, "limit must be .*an integer.* not float"),
    "name int": ({"name": 5}, TypeError, "name"),
    "name bytes": ({"name": b"abc"}, TypeError, "name"),
    "name too long": ({"name": "x" * 201}, ValueError, "name must be at most 200 bytes"),
    "name too long in UTF-8": ({"name": "ö" * 101}, ValueError, "name must be at most 200 bytes"),
    "name with NUL": ({"name": "a\0b"}, ValueError, "without NUL"),
    "name with a surrogate": ({"name": "\udcff"}, ValueError, "surrogates not allowed"),
    "backing int": (
        {"backing": 5},
        TypeError,
        'backing must be "memfd", .* not int',
    ),
    "backing None": ({"backing": None}, TypeError, "backing must be .* a directory, not NoneType"),
    "backing empty": ({"backing": ""}, ValueError, "backing is empty"),
    "backing missing": ({"backing": "/nonexistent/directory"}, FileNotFoundError, "directory that exists"),
    "backing a file": ({"backing": __file__}, NotADirectoryError, "directory"),
    "backing /proc": ({"backing": "/proc"}, OSError, "name a directory"),
    "backing /sys": ({"backing": "/sys"}, OSError, "name a directory that you may write to"),
    "backing with NUL": ({"backing": "/tmp/a\0b"}, (ValueError, OSError), "(?i)nul|invalid"),
    "nothing we know": ({"size": 5}, TypeError, "size"),
}


@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        MemGroup(**options)


def test_an_os_error_carries_number_and_path():
    with pytest.raises(FileNotFoundError) as caught:
        MemGroup(backing="/nonexistent/directory")
    assert caught.value.filename == "/nonexistent/directory"
    assert caught.value.errno == 2


def test_no_message_says_that_an_existing_directory_is_missing():
    with pytest.raises(OSError, match="name a directory") as caught:
        MemGroup(backing="/proc")
    assert "name a directory that exists" not in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may write nowhere")
def test_a_directory_of_others_is_refused(child):
    said = child.output('os.setuid(65534); print(outcome(MemGroup, backing="/"))')
    assert re.match(r"PermissionError: .*name a directory that you may write to", said)


@pytest.mark.parametrize("flag", ["yes", 1, None], ids=repr)
def test_flags_are_booleans(group, flag):
    with pytest.raises(TypeError):
        group.alloc(1, zero=flag)
    with pytest.raises(TypeError):
        group.free(force=flag)
    check_works(group)


@pytest.mark.parametrize("index", [HUGE, -HUGE], ids=["huge", "-huge"])
def test_unprintable_numbers_are_refused_without_noise(group, index):
    block = group.copy(b"abc")
    with pytest.raises(IndexError, match="out of range"):
        block[index]
    with pytest.raises(ValueError, match="byte must be in range"):
        block[0] = index
    assert block.find(b"c", index) == b"abc".find(b"c", index)


BROKEN = {
    "alloc": lambda group: group.alloc(Broken()),
    "align": lambda group: group.alloc(1, align=Broken()),
    "base": lambda group: MemGroup(base=Broken()),  # type: ignore[arg-type]
    "limit": lambda group: MemGroup(limit=Broken()),
    "index": lambda group: group.alloc(1)[Broken()],
    "assign": lambda group: assign(group.alloc(1), Broken(), 0),
    "byte": lambda group: assign(group.alloc(1), 0, Broken()),
}


@pytest.mark.parametrize("use", BROKEN.values(), ids=BROKEN)
def test_exceptions_of_user_code_are_passed_on(group, use):
    with pytest.raises(ArithmeticError, match="no number today"):
        use(group)
    check_works(group)


# limit=


def test_nothing_is_committed_beyond_the_limit(backing):
    group = MemGroup(limit=100 * KIB, backing=backing)
    with pytest.raises(MemoryError, match=r"limit of 102400 .*higher limit"):
        fill(group, 1000, tries=1000)
    assert group.stats().committed <= 100 * KIB
    assert group.stats().requested > 90 * KIB


def test_a_request_over_the_limit_leaves_room_for_others(backing):
    group = MemGroup(limit=100 * KIB, backing=backing)
    for n in (101 * KIB, 200 * MIB):
        with pytest.raises(MemoryError, match="higher limit"):
            group.alloc(n)
    check_works(group)
    group.alloc(60 * KIB)[:] = b"x" * 60 * KIB


def test_the_limit_itself_can_be_reached():
    group = MemGroup(limit=PAGE)
    block = group.alloc(PAGE)
    assert (block.nbytes, group.stats().committed) == (PAGE, PAGE)
    with pytest.raises(MemoryError, match="higher limit"):
        group.alloc(1)
    group.reset()
    check_works(group)


def test_a_limit_of_0_allows_nothing_and_a_huge_one_everything():
    with pytest.raises(MemoryError, match="higher limit"):
        MemGroup(limit=0).alloc(1)
    check_works(MemGroup(limit=HUGE))


def test_memory_that_exporters_keep_over_a_reset_counts_against_the_limit():
    group = MemGroup(limit=96 * KIB)
    block = group.alloc(60 * KIB)
    assert block.address
    group.reset()
    with pytest.raises(MemoryError, match="higher limit"):
        group.alloc(60 * KIB)
    del block
    group.alloc(60 * KIB)


# The headroom of the machine


def test_requests_add_up_against_the_machines_headroom(child):
    """Unfaulted bytes are not committed a second time, so no signal comes later."""
    total = 2 * os.sysconf("SC_PHYS_PAGES") * PAGE
    for size in (15 * MIB, 256 * MIB):
        said = child.output(
            f"""
            group = MemGroup()
            def fill():
                for _ in range({total // size}):
                    group.alloc({size})
            print(outcome(fill), flush=True)
            group.reset()
            print(outcome(group.copy, b"works"))
            """
        )
        first, second = said.splitlines()
        assert re.match(r"MemoryError: .*available.*", first)
        assert second == "fine"


@not_strict
def test_unfaulted_bytes_of_all_groups_add_up(child):
    said = child.output(
        f"""
        groups = [MemGroup() for _ in range(2)]
        said = [outcome(group.alloc, {memory_available() * 4 // 5}) for group in groups]
        print(*said, sep="\\n")
        del groups
        print(outcome(MemGroup().alloc, {memory_available() * 4 // 5}))
        """
    )
    first, second, again = said.splitlines()
    assert (first, again) == ("fine", "fine")
    assert re.match(r"MemoryError: .*available", second)


@not_strict
def test_unfaulted_bytes_of_many_small_groups_add_up(child):
    said = child.output(
        f"""
        groups = []
        while len(groups) < {2 * memory_available() // (15 * MIB)}:  # others may free memory meanwhile
            groups.append(MemGroup())
            said = outcome(groups[-1].alloc, {15 * MIB})
            if said != "fine":
                break
        print(said)
        """
    )
    assert re.match(r"MemoryError: .*available", said)


@pytest.mark.parametrize("use", ["group.copy(huge)", "group.alloc(5) == huge", "huge in group.alloc(5)"])
def test_strided_buffers_that_fit_nowhere_are_an_error(child, use):
    pytest.importorskip("numpy")
    said = child.output(
        f"""
        import numpy
        group = MemGroup()
        huge = numpy.broadcast_to(numpy.zeros(1, "u1"), (1 << 46,))
        print(outcome(lambda: {use}))
        print(bytes(group.copy(b"abc")))
        """
    )
    assert re.fullmatch(r"(MemoryError: .*|fine)\nb'abc'", said)


@pytest.mark.parametrize("n", [200 * MIB, 1 << 40])
def test_a_refusal_leaves_nothing_behind(backing, n):
    group = MemGroup(limit=100 * KIB, backing=backing)
    group.alloc(10)
    before = repr(group.stats())
    for _ in range(2):
        with pytest.raises(MemoryError, match="limit"):
            group.alloc(n)
    assert repr(group.stats()) == before
    check_works(group)


@not_strict
def test_more_than_the_machine_has_is_refused_at_once(group):
    with pytest.raises(MemoryError, match="available"):
        group.alloc(memory_available() + 64 * GIB)
    check_works(group)


# Resource limits of a process


def test_address_space_runs_out(child, backing):
    said = child.output(
        """
        group = MemGroup(backing=sys.argv[1])
        old = group.copy(b"old")
        used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
        print(outcome(group.alloc, 100 << 20))
        print(outcome(group.alloc, 1000), outcome(group.copy, bytes(20000)), bytes(old))
        kept = []
        def fill():
            while True:
                kept.append(group.alloc(100_000))
        print(outcome(fill), len(kept) > 20)
        group.reset()
        print(outcome(group.copy, b"new"))
        """,
        backing,
    )
    refused, works, full, again = said.splitlines()
    assert re.match(r"MemoryError: .*RLIMIT_AS", refused)
    assert works == "fine fine b'old'"
    assert re.match(r"MemoryError: .*RLIMIT_AS.* True", full)
    assert again == "fine"


def test_private_memory_runs_out(child):
    """Only anonymous groups: shared mappings do not count against RLIMIT_DATA."""
    said = child.output("""
        groups = [MemGroup(backing=backing) for backing in ("anonymous", "memfd")]
        used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (used + (32 << 20), -1))
        for group in groups:
            print(outcome(group.alloc, 100 << 20), outcome(group.copy, bytes(20000)), sep="\\n")
    """)
    refused, works, *shared = said.splitlines()
    assert re.match(r"MemoryError: .*RLIMIT_DATA", refused)
    assert [works, *shared] == ["fine"] * 3


@pytest.mark.parametrize("free", [0, 1])
def test_descriptors_run_out(child, mirrored, free):
    said = child.output(
        """
        group = MemGroup(backing=sys.argv[1])
        old = group.copy(b"old")
        ceiling = len(os.listdir("/proc/self/fd")) - 1 + int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, 4096))
        said = outcome(group.alloc, 1 << 20)
        small = outcome(group.alloc, 1000)
        made = outcome(MemGroup, backing=sys.argv[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        print(said, small, bytes(old), outcome(group.alloc, 1 << 20), made, sep="\\n")
        """,
        mirrored,
        free,
    )
    large, small, old, later, made = said.splitlines()
    if mirrored == "memfd" and free:
        assert large == "fine"  # one descriptor is all it takes
    else:
        assert re.match(r"MemoryError: .*RLIMIT_NOFILE", large)
    assert (small, old, later) == ("fine", "b'old'", "fine")
    if mirrored != "memfd" and not free:
        assert re.match(r"OSError: .*RLIMIT_NOFILE", made)


def test_files_may_not_grow_beyond_the_limit(child, mirrored):
    said = child.output(
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, -1))
        group = MemGroup(backing=sys.argv[1])
        old = group.copy(b"old")
        print(outcome(group.alloc, 1 << 20))
        print(outcome(group.alloc, 200_000), bytes(old))
        def fill():
            while True:
                group.alloc(10_000)
        print(outcome(fill))
        group.reset()
        print(outcome(group.alloc, 200_000))
        """,
        mirrored,
    )
    large, small, full, again = said.splitlines()
    assert re.match(r"MemoryError: .*RLIMIT_FSIZE", large)
    assert (small, again) == ("fine b'old'", "fine")
    assert re.match(r"MemoryError: .*RLIMIT_FSIZE", full)


@pytest.fixture(scope="module")
def tiny_disk():
    """A directory, and a command prefix that runs a program with a tmpfs of 1 MiB mounted there."""
    directory = "/mnt"
    mount = f'mount -t tmpfs -o size=1m none {directory} && exec "$@"'
    under = ("unshare", "--mount", "sh", "-c", mount, "sh")
    tried = None
    if shutil.which("unshare"):
        with contextlib.suppress(OSError):
            tried = subprocess.run([*under, "true"], capture_output=True, check=False)
    if tried is None or tried.returncode != 0 or not Path(directory).is_dir():
        pytest.skip("needs the right to mount a tmpfs")
    return under, directory


@pytest.mark.parametrize("n", [2 * MIB, 20 * MIB])
def test_a_request_larger_than_the_disk_takes_nothing_from_it(child, tiny_disk, n):
    under, directory = tiny_disk
    said = child.output(
        f"""
        group = MemGroup(backing=sys.argv[1])
        old = group.copy(b"old")
        room = os.statvfs(sys.argv[1]).f_bfree
        print(outcome(group.alloc, {n}))
        print(room - os.statvfs(sys.argv[1]).f_bfree)
        print(outcome(group.copy, b"x" * 60_000), outcome(group.copy, b"x" * 500_000), bytes(old))
        """,
        directory,
        under=under,
    )
    refused, lost, works = said.splitlines()
    assert re.match(r"MemoryError: .*(another directory|free some)", refused)
    assert int(lost) == 0
    assert works == "fine fine b'old'"


@pytest.mark.parametrize("before", ["", WITHOUT_POPULATE], ids=["populated", "touched"])
@pytest.mark.parametrize("n", [100, 5000, 300_000])
def test_a_full_disk_is_a_memory_error_and_never_a_signal(child, tiny_disk, n, before):
    under, directory = tiny_disk
    said = child.output(
        before
        + textwrap.dedent(f"""
        group = MemGroup(backing=sys.argv[1])
        blocks = []
        def fill():
            while True:
                blocks.append(group.copy(b"x" * {n}))
        print(outcome(fill))
        print(sum(map(len, blocks)), all(block == b"x" * {n} for block in blocks))
        group.reset()
        print(outcome(group.copy, b"x" * {n}))
        """),
        directory,
        under=under,
    )
    refused, kept, again = checked(said).splitlines()
    assert re.match(r"MemoryError: .*(another directory|free some)", refused)
    taken, intact = kept.split()
    assert int(taken) > MIB // 2
    assert intact == "True"
    assert again == "fine"
