"""The model against the running kernel: the same objects, the same pages shared and copied.

Where the kernel cannot be asked, these tests skip and say why.
"""

from __future__ import annotations

import ctypes
import functools
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from memgroup.forkcost import predict
from memgroup.rmap import POLICIES, Machine
from support import kernel_history, kernel_objects
from support.kernel_chains import Chains
from support.kernel_objects import UnavailableError
from support.kernel_pages import EXCLUSIVE, FILE_OR_SHARED, PAGES, PRESENT

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


# Chains, as root


@pytest.fixture(scope="module")
def chains() -> Iterator[Chains]:
    """A recording of the chains that forks make."""
    try:
        recording = Chains()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    yield recording
    recording.close()


@pytest.mark.parametrize("what", [*range(4), kernel_history.STORIES[-1]])
def test_the_kernel_gives_a_child_the_chains_of_the_model(chains, what):
    assert kernel_history.compare(what, swap=False, chains=chains)["chains"]


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {Machine("running").policy}))
def test_the_chains_of_another_design_are_others(chains, policy):
    with pytest.raises(AssertionError, match="gets the chains"):
        kernel_history.compare(kernel_history.STORIES[-1], swap=False, policy=policy, chains=chains)


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


@pytest.mark.usefixtures("page_maps")
@pytest.mark.parametrize("seed", range(20))
def test_the_kernel_shares_and_copies_the_pages_of_the_model(seed, record_property):
    compared = kernel_history.compare(seed, swap=False)
    for name, number in compared.items():
        record_property(name, number)
    assert compared["steps"] == kernel_history.STEPS
    assert compared["pages"] >= kernel_history.STEPS * len(PAGES)
