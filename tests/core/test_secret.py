"""Secret groups: their bytes are in no core dump, in no swap, and in no memory after the end."""

from __future__ import annotations

import gc
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import memgroup
import pytest
from conftest import PRELUDE
from memgroup import MemGroup

KIB = 1024
PAGE = os.sysconf("SC_PAGE_SIZE")
SECRET = b"correct horse battery staple"

pytestmark = pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 4096 * KIB and os.getuid() != 0,
    reason="RLIMIT_MEMLOCK is too low for these tests",
)


@pytest.fixture(params=["memfd", "anonymous"])
def secret(request):
    """A group for secrets."""
    made = MemGroup(secret=True, backing=request.param)
    yield made
    made.free(force=True)


class Witness:
    """Another process that sees the memory of a memfd group: it holds the file, not a mapping."""

    def __init__(self, name: str) -> None:
        # The group keeps no descriptor, but its mappings lead to the file.
        shown = f"/memfd:{name} (deleted)"
        lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
        found = {line[4]: line[0] for line in lines if line[5:] == [shown]}
        self.files = [os.open(f"/proc/self/map_files/{mapping}", os.O_RDONLY) for mapping in found.values()]

    def bytes(self) -> bytes:
        return b"".join(os.pread(file, os.fstat(file).st_size, 0) for file in self.files)

    def close(self) -> None:
        for file in self.files:
            os.close(file)


@pytest.fixture
def witness(request):
    name = f"witnessed-{os.getpid()}-{time.monotonic_ns()}"
    group = MemGroup(secret=True, name=name)
    group.copy(SECRET)
    try:
        made = Witness(name)
    except PermissionError:
        pytest.skip("needs the right to open /proc/self/map_files")
    assert SECRET in made.bytes()
    yield group, made
    made.close()


def smaps(address: int) -> dict[str, str]:
    """The kernel's data about the mapping at an address."""
    found: dict[str, str] = {}
    within = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if mapping:
            within = int(mapping[1], 16) <= address < int(mapping[2], 16)
        elif within:
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return found


# Properties


def test_a_secret_group_says_so_and_an_ordinary_one_does_not(secret):
    assert (secret.secret, secret.name) == (True, "secret")
    assert re.fullmatch(r'<MemGroup "secret", (memfd|anonymous), secret: .*>', repr(secret))
    ordinary = MemGroup()
    assert not ordinary.secret
    assert "secret" not in repr(ordinary)
    assert MemGroup(secret=True, name="keys").name == "keys"


def test_a_repr_does_not_show_the_contents(secret):
    assert repr(secret.copy(SECRET)) == "<MemBlock, 28 bytes, secret>"
    assert "horse" not in repr(secret.alloc_many([28, 28]))


def test_a_secret_group_in_a_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'files reach the disk.*backing="memfd"'):
        MemGroup(secret=True, backing=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", [1, None, "yes"], ids=repr)
def test_the_flag_is_a_boolean(flag):
    with pytest.raises(TypeError):
        MemGroup(secret=flag)


def test_a_secret_group_works_like_any_other(secret):
    blocks = [secret.copy(bytes([number]) * size) for number, size in enumerate([1, 100, 5000, 300 * KIB])]
    assert [block[0] for block in blocks] == [0, 1, 2, 3]
    assert secret.alloc(100, zero=True) == bytes(100)
    if secret.backing == "memfd":
        assert secret.protect(blocks[1]) == b"\1" * 100
    secret.reset()
    assert secret.copy(SECRET) == SECRET


# Locked in memory, and left out of core dumps


@pytest.mark.parametrize("size", [100, 300 * KIB, 2 * KIB * KIB])
def test_committed_memory_is_locked_and_excluded_from_core_dumps(secret, size):
    block = secret.alloc(size)
    flags = smaps(block.address)["VmFlags"].split()
    assert {"dd", "lo"} <= set(flags)
    locked = int(smaps(block.address)["Locked"].split()[0]) * KIB
    assert size <= locked <= secret.stats().committed
    if secret.backing == "memfd":
        assert "dd" in smaps(secret.protect(block).address)["VmFlags"].split()


def test_memory_is_unlocked_when_its_group_ends():
    def locked():
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmLck"].split()[0])

    gc.collect()
    before = locked()
    group = MemGroup(secret=True)
    group.alloc(300 * KIB)
    assert locked() >= before + 300
    group.free()
    assert locked() == before


UNPRIVILEGED = """
limit, backing = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
if os.getuid() == 0:
    os.setuid(65534)
group = MemGroup(secret=True, backing=backing)
"""


@pytest.mark.parametrize("backing", ["memfd", "anonymous"])
def test_an_error_at_the_lock_limit_has_figures_and_a_remedy(child, backing):
    said = child.output(
        UNPRIVILEGED
        + """
kept = []
def fill():
    while True:
        kept.append(group.copy(b"x" * 1000))
print(outcome(fill))
print(sum(map(len, kept)), all(block == b"x" * 1000 for block in kept))
print(outcome(group.alloc, 5 << 20))
group.reset()
print(outcome(group.copy, b"works"))
print(open("/proc/self/status").read().split("VmLck:")[1].split()[0])
group.free()
print(open("/proc/self/status").read().split("VmLck:")[1].split()[0])
print(outcome(MemGroup().alloc, 1 << 20))
""",
        256 * KIB,
        backing,
    )
    full, kept, large, again, locked, free, ordinary = said.splitlines()
    words = r"MemoryError: cannot lock (\d+) more bytes .*: (\d+) of the 262144 .*RLIMIT_MEMLOCK.*ulimit -l"
    figures = re.match(words, full)
    assert figures
    wanted, had = map(int, figures.groups())
    assert wanted + had > 256 * KIB
    total, intact = kept.split()
    assert int(total) > 200 * 1000  # the limit of locked memory is used up
    assert intact == "True"
    assert re.match(words, large)
    assert (again, ordinary) == ("fine", "fine")
    assert 0 < int(locked) <= 256
    assert free == "0"


def test_nothing_is_allocated_where_nothing_may_be_locked(child):
    said = child.output(
        UNPRIVILEGED + "print(outcome(group.alloc, 1))\nprint(group.stats().committed)", 0, "memfd"
    )
    refused, committed = said.splitlines()
    assert re.match(r"MemoryError: cannot lock 4096 more bytes .*: 0 of the 0 .*RLIMIT_MEMLOCK", refused)
    assert committed == "0"


# No other memory of the process may contain the words, neither its code nor its arguments.
DUMPED = """
keep = []
for first, secret in ((17, True), (34, False)):
    for backing in ("memfd", "anonymous"):
        group = MemGroup(secret=secret, backing=backing)
        block = group.alloc(64)
        for n in range(64):
            block[n] = (first + 7 * n) % 251
        keep.append((group, block, group.protect(block) if backing == "memfd" else None))
print("ready", flush=True)
"""


def check_dump(core: Path) -> None:
    """The ordinary groups show that the dump contains all memory that it can contain."""
    dump = core.read_bytes()
    core.unlink()
    ordinary, secret = (bytes((first + 7 * n) % 251 for n in range(64)) for first in (34, 17))
    assert ordinary in dump
    assert secret not in dump


def test_a_core_dump_by_the_kernel_has_no_secret_bytes(child, tmp_path):
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip(f"the kernel writes core dumps elsewhere: {pattern}")
    ended = child.run(
        """
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
        except ValueError:
            print("no")
            sys.exit()
        os.chdir(sys.argv[1])
        """
        + textwrap.indent(DUMPED + "os.abort()", "        "),
        tmp_path,
    )
    if ended.stdout == "no\n":
        pytest.skip("RLIMIT_CORE cannot be raised")
    assert (ended.returncode, ended.stdout) == (-signal.SIGABRT, "ready\n")
    (core,) = tmp_path.iterdir()
    check_dump(core)


def test_a_core_dump_by_gcore_has_no_secret_bytes(tmp_path):
    if not shutil.which("gcore"):
        pytest.skip("needs gcore")
    command = [sys.executable, "-c", PRELUDE + DUMPED + "sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        dumped = subprocess.run(
            ["gcore", "-o", tmp_path / "core", str(process.pid)], capture_output=True, text=True, check=False
        )
        process.stdin.close()
    core = tmp_path / f"core.{process.pid}"
    if not core.exists():
        pytest.skip(f"gcore may not look: {dumped.stderr}")
    check_dump(core)


# Overwriting at the end


def test_reset_overwrites_and_later_blocks_are_zero(secret):
    block = secret.alloc(5000)
    block[:] = b"x" * 5000
    del block
    secret.reset()
    assert secret.alloc(5000) == bytes(5000)


def test_reset_overwrites_all_that_was_committed(witness):
    group, seen = witness
    group.copy(SECRET * 1000)
    group.reset()
    assert not any(seen.bytes())
    group.copy(SECRET)
    assert SECRET in seen.bytes()


ENDS = {
    "free": lambda group: group.free(),
    "with": lambda group: group.__exit__(None, None, None),
    "reset": lambda group: group.reset(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_every_end_overwrites_the_memory(witness, end):
    group, seen = witness
    end(group)
    assert not any(seen.bytes())


def test_dropping_the_last_reference_overwrites_the_memory(witness):
    _, seen = witness
    name = f"dropped-{os.getpid()}"
    group = MemGroup(secret=True, name=name)
    block = group.copy(SECRET)
    dropped = Witness(name)
    del group
    assert SECRET in dropped.bytes()
    del block
    gc.collect()
    assert not any(dropped.bytes())
    dropped.close()
    assert SECRET in seen.bytes()


@pytest.mark.parametrize("force", [False, True])
def test_free_overwrites_under_exporters(witness, force):
    group, seen = witness
    block = group.copy(SECRET * 2)
    view = memoryview(block) if force else None
    if view:
        with pytest.raises(BufferError):
            group.free()
        assert SECRET in seen.bytes()
    else:
        assert block.address
    held = group.free(force=force)
    assert not any(seen.bytes())
    assert (held == 0) is force
    if view:
        view.release()
    else:
        del block
        assert group.free() == 0


@pytest.mark.parametrize("end", ["reset", "with"])
def test_memory_of_exporters_is_overwritten_when_the_last_one_dies(witness, end):
    group, seen = witness
    block = group.copy(SECRET * 2)
    other = group.copy(SECRET)
    assert block.address
    assert other.address
    ENDS[end](group)
    assert SECRET * 2 in seen.bytes()  # unchanged until then
    del block
    assert SECRET in seen.bytes()
    del other
    gc.collect()
    assert not any(seen.bytes())


def test_secret_memory_is_never_kept_warm_nor_taken_from_warm_memory():
    ordinary = MemGroup(name="ordinary")
    ordinary.copy(b"left behind" * 100)
    ordinary.free()
    before = memgroup.warm_memory()
    assert before.slots > 0
    group = MemGroup(secret=True, name="ordinary")
    assert group.alloc(64 * KIB) == bytes(64 * KIB)
    assert memgroup.warm_memory().slots == before.slots
    group.free()
    assert memgroup.warm_memory().slots == before.slots


def test_many_threads_use_a_secret_group_and_no_secret_is_left(witness):
    group, seen = witness

    def fill():
        for _ in range(200):
            group.copy(SECRET)

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.bytes().count(SECRET) == 801
    group.free()
    assert not any(seen.bytes())


# Forks


def forked(work) -> int:
    """The exit status of a forked child: 0 if `work` returned true."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


CHILD_ENDS = {
    "free": lambda group: group.free(),
    "reset": lambda group: group.reset(),
    "with": lambda group: group.__exit__(None, None, None),
}


@pytest.mark.parametrize("end", CHILD_ENDS.values(), ids=CHILD_ENDS)
def test_a_childs_end_leaves_the_parents_secrets_alone(secret, end):
    block = secret.copy(SECRET)
    assert forked(lambda: block == SECRET and not end(secret)) == 0
    assert block == SECRET


def test_a_childs_own_secrets_are_overwritten_too():
    name = f"child-{os.getpid()}"

    def work():
        group = MemGroup(secret=True, name=name)
        group.copy(SECRET)
        try:
            seen = Witness(name)
        except PermissionError:
            return True
        there = SECRET in seen.bytes()
        group.free()
        return there and not any(seen.bytes())

    assert forked(work) == 0


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_owners_end_overwrites_the_bytes_that_a_child_sees(end):
    """The child has its own mapping, so it can check the bytes without privileges."""
    group = MemGroup(secret=True)
    block = group.copy(SECRET)
    ours, theirs = os.pipe()
    answer, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ours, 1)
        os.write(said, bytes(block))
        os._exit(0)
    end(group)
    os.write(theirs, b"x")
    assert os.read(answer, 100) == bytes(len(SECRET))
    os.waitpid(pid, 0)
    for file in (ours, theirs, answer, said):
        os.close(file)


def test_a_child_writes_to_slots_of_its_own(secret):
    secret.copy(SECRET)
    assert forked(lambda: secret.copy(b"mine") == b"mine" and secret.free() == 0) == 0
    assert secret.copy(SECRET) == SECRET
