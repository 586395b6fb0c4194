"""The model against the running kernel: the same objects, the same pages shared and copied.

Where the kernel cannot be asked, these tests skip and say why.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from memgroup.forkcost import predict
from memgroup.rmap import Machine, Process
from support import kernel_objects, kernel_pages
from support.kernel_pages import EXCLUSIVE, FILE_OR_SHARED, FRAME, PAGES, PRESENT, PRIVATE, SHARED

MAPPINGS = 10


# Objects, as root


@functools.cache
def objects(depth: int, children: int, kind: str) -> Counter[str]:
    """The kernel objects of a family whose first process has mappings of that kind."""
    command = [sys.executable, kernel_objects.__file__, *map(str, (depth, children, MAPPINGS)), kind]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    if "unavailable" in said:
        pytest.skip(said["unavailable"])
    return Counter(said)


def caused_by(kind: str, depth: int, children: int) -> tuple[int, int]:
    """The anon_vmas and chain entries that the mappings cause."""
    with_them, without = objects(depth, children, kind), objects(depth, children, "nothing")
    with_them.subtract(without)
    return with_them["anon_vma"], with_them["anon_vma_chain"]


def counted(machine: Machine) -> tuple[int, int]:
    counts = machine.counts()
    return counts["anon_vmas"], counts["chains"]


def model(depth: int, children: int) -> tuple[int, int]:
    machine = Machine("running")
    generation = [machine.spawn()]
    for _ in range(MAPPINGS):
        generation[0].write(generation[0].mmap(1).start)
    for _ in range(depth):
        generation = [child for parent in generation for child in parent.fork(children)]
    return counted(machine)


@pytest.mark.parametrize(
    ("shape", "depth", "children", "expected"),
    [
        ("star:1000", 1, 1000, (10_010, 20_010)),
        ("chain:100", 100, 1, (1_010, 51_510)),
        ("tree:8", 8, 2, (5_110, 40_970)),
        ("tree:2:30", 2, 30, (9_310, 27_610)),
    ],
)
def test_the_kernel_makes_the_objects_of_the_model(shape, depth, children, expected):
    assert caused_by("written", depth, children) == expected
    assert model(depth, children) == expected
    told = predict(MAPPINGS * 4096, "anonymous", shape, mappings=MAPPINGS)
    assert (told.anon_vmas, told.chains) == expected


@pytest.mark.parametrize("kind", ["shared", "untouched"])
@pytest.mark.parametrize(("depth", "children"), [(1, 1000), (100, 1), (8, 2)])
def test_the_kernel_makes_no_objects_for_shared_or_untouched_mappings(kind, depth, children):
    assert caused_by(kind, depth, children) == (0, 0)


@pytest.mark.parametrize("generations", [1, 2, 3, 10, 400])
def test_the_kernel_keeps_the_objects_of_a_lineage_as_the_model_does(generations):
    machine = Machine("running")
    last = machine.spawn()
    for _ in range(MAPPINGS):
        last.write(last.mmap(1).start)
    for _ in range(generations):
        child = last.fork()
        last.exit()
        last = child
    assert caused_by("written", generations, 0) == counted(machine)


def test_a_recording_left_by_a_killed_process_is_removed_by_the_next():
    code = """
        import kernel_objects, os, signal
        with kernel_objects.instance(64) as place:
            print(place, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    objects(1, 1, "nothing")  # or skip
    command = [sys.executable, "-c", textwrap.dedent(code)]
    where = Path(kernel_objects.__file__).parent
    killed = subprocess.run(command, capture_output=True, text=True, cwd=where, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    name = Path(killed.stdout.strip()).name
    look = "import kernel_objects as k; print(*(one.name for one in (k.tracefs() / 'instances').iterdir()))"
    there = functools.partial(
        subprocess.run, [sys.executable, "-c", look], capture_output=True, text=True, cwd=where, check=True
    )
    assert name in there().stdout.split()
    objects.__wrapped__(1, 1, "nothing")
    assert name not in there().stdout.split()


# Pages, without any privilege


@pytest.fixture(scope="module")
def page_maps() -> None:
    """Skip where /proc/PID/pagemap does not have Linux's contents."""
    memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[0] = 1
    page = ctypes.addressof(ctypes.c_char.from_buffer(memory)) // 4096
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            (entry,) = struct.unpack("Q", os.pread(file.fileno(), 8, 8 * page))
    except (OSError, struct.error) as error:
        pytest.skip(f"no page map: {error}")
    if entry & (PRESENT | FILE_OR_SHARED | EXCLUSIVE) != PRESENT | EXCLUSIVE:
        pytest.skip(f"a private page of one's own is told as {entry:#x}")


class History:
    """The same history in the model and in real processes, compared after each step."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random.Random(seed)
        self.machine = Machine("running")
        first = self.machine.spawn()
        first.mmap(kernel_pages.PRIVATE_PAGES, at=PRIVATE)
        first.mmap(kernel_pages.SHARED_PAGES, shared=True, at=SHARED)
        self.members: dict[int, Process] = {1: first}
        # Where the page of zeros is mapped: the model has no page for it.
        self.zeros: dict[int, set[int]] = {1: set()}
        self.content: dict[int, int] = {}
        self.compared: Counter[str] = Counter()
        self.real = kernel_pages.Family(directory)

    def run(self, steps: int) -> None:
        try:
            for step in range(1, steps + 1):
                number = self.random.choice(list(self.members))
                self.step(step, number, self.members[number])
                self.compare()
        finally:
            self.real.close()

    def step(self, step: int, number: int, process: Process) -> None:
        deeds = {
            "write": 50,
            "read": 15,
            "fork": 15,
            "exit": 9,
            "advise": 5,
            "protect": 4,
            "move": 8,
            "unmap": 2,
        }
        if len(self.members) == 1:
            deeds["exit"] = 0
        if len(self.members) == 10:
            deeds["fork"] = 0
        deed = self.random.choices(list(deeds), list(deeds.values()))[0]
        self.compared["steps"] += 1
        match deed:
            case "write":
                self.write(step, number, process)
            case "read":
                self.read(number, process)
            case "fork":
                self.fork(number, process)
            case "exit":
                process.exit()
                self.real.exit(number)
                del self.members[number], self.zeros[number]
            case "move":
                self.move(number, process)
            case _:
                self.change(deed, number, process)

    def write(self, value: int, number: int, process: Process) -> None:
        page = self.random.choice(PAGES)
        try:
            id_ = process.write(page)
        except (LookupError, PermissionError):
            return
        self.real.tell(number, "write", page, value)
        self.content[id_] = value
        self.zeros[number].discard(page)

    def read(self, number: int, process: Process) -> None:
        # Of a shared mapping, reading one page brings in others beside it.
        page = self.random.choice(PAGES[: kernel_pages.PRIVATE_PAGES])
        try:
            id_ = process.read(page)
        except (LookupError, PermissionError):
            return
        read = self.real.tell(number, "read", page)
        self.compared["contents"] += 1
        if id_ is None:
            self.zeros[number].add(page)
            assert read == 0
        else:
            assert read == self.content[id_]

    def fork(self, number: int, process: Process) -> None:
        child = process.fork()
        self.real.fork(number, child.pid)
        self.members[child.pid] = child
        # Page tables are copied, or not, as the model says; the page of zeros goes with them.
        copied = {
            page for vma in child.vmas() if vma.anon_vma is not None for page in range(vma.start, vma.stop)
        }
        self.zeros[child.pid] = self.zeros[number] & copied

    def change(self, deed: str, number: int, process: Process) -> None:
        page = self.random.choice(PAGES[: kernel_pages.PRIVATE_PAGES])
        pages = min(self.random.randint(1, 4), PRIVATE + kernel_pages.PRIVATE_PAGES - page)
        whole = {one for vma in process.vmas() for one in range(vma.start, vma.stop)}
        if not whole.issuperset(range(page, page + pages)):
            return
        if deed == "unmap":
            process.munmap(page, pages)
            assert self.real.tell(number, "munmap", page, pages) == 0
            self.zeros[number] -= set(range(page, page + pages))
        elif deed == "protect":
            writable = self.random.randint(0, 1)
            process.mprotect(page, pages, "rw" if writable else "r")
            assert self.real.tell(number, "mprotect", page, pages, writable) == 0
        else:
            advice = self.random.choice(list(kernel_pages.ADVICE))
            process.madvise(page, pages, advice)
            assert self.real.tell(number, advice, page, pages) == 0

    def move(self, number: int, process: Process) -> None:
        page, to = self.random.choices(PAGES[: kernel_pages.PRIVATE_PAGES], k=2)
        pages = min(self.random.randint(1, 4), PRIVATE + kernel_pages.PRIVATE_PAGES - max(page, to))
        dontunmap = self.random.randint(0, 1)
        try:
            process.mremap(page, pages, to, dontunmap=bool(dontunmap))
        except (LookupError, ValueError):
            return
        assert self.real.tell(number, "mremap", page, pages, to, dontunmap) == 0
        self.compared["moves"] += 1
        old, new = set(range(page, page + pages)), set(range(to, to + pages))
        moved = {to + zero - page for zero in self.zeros[number] & old}
        self.zeros[number] = self.zeros[number] - old - new | moved

    def compare(self) -> None:
        """Every page of every member: the bits, and which members share it where the kernel shows frames."""
        frames: dict[int, int] = {}
        for number, process in self.members.items():
            mapped = {page for vma in process.vmas() for page in range(vma.start, vma.stop)}
            for page, entry in self.real.entries(number).items():
                told = entry & (PRESENT | FILE_OR_SHARED | EXCLUSIVE)
                id_ = process.page(page) if page in mapped else None
                assert told == self.expected(number, process, page, id_), (number, page, hex(entry), id_)
                self.compared["pages"] += 1
                self.compared[
                    "exclusive" if told & EXCLUSIVE else "common" if id_ is not None else "none"
                ] += 1
                if told & PRESENT and id_ is not None and entry & FRAME:
                    assert frames.setdefault(id_, entry & FRAME) == entry & FRAME
                    self.compared["frames"] += 1
        assert len(set(frames.values())) == len(frames), "two pages of the model are one of the kernel"
        assert self.machine.check() == []

    def expected(self, number: int, process: Process, page: int, id_: int | None) -> int:
        mappers = self.machine.mapped_by(id_) if id_ is not None else []
        if process not in mappers:
            return PRESENT if page in self.zeros[number] else 0
        bits = PRESENT | (EXCLUSIVE if len(mappers) == 1 else 0)
        return bits | (FILE_OR_SHARED if page >= SHARED else 0)


@pytest.mark.usefixtures("page_maps")
@pytest.mark.parametrize("seed", range(20))
def test_the_kernel_shares_and_copies_the_pages_of_the_model(seed, record_property):
    with tempfile.TemporaryDirectory() as directory:  # a short path, as sockets need
        history = History(seed, Path(directory))
        history.run(150)
    for name, number in history.compared.items():
        record_property(name, number)
    assert history.compared["steps"] == 150
    assert history.compared["pages"] >= 150 * len(PAGES)
