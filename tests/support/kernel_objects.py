"""Count the anon_vmas and chain entries that the kernel makes for a family of processes, by its tracepoints.

`python kernel_objects.py DEPTH CHILDREN MAPPINGS KIND` forks the family and prints what was allocated, less
what was freed, as JSON, or why it cannot be told here. With 0 CHILDREN it is a lineage: each process has one
child and ends. KIND says what is in the first process before it forks:

- written: so many private mappings of one page, each written
- untouched: the same, not written
- shared: as many shared mappings, each written
- nothing: none of them

An interpreter has mappings of its own; "nothing" tells what those cost. Address space randomisation and hash
randomisation are off, and so they cost the same each time.

Needs root. Where tracefs is not mounted it is mounted in a mount namespace of this process alone; the events
are recorded in an instance of their own, which is removed. If this process is killed it stays behind, with
its buffers, until the next one that runs removes it.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ADDRESS = 0x1000_0000  # below all mappings of an interpreter
PAGE = 4096
CALLERS = ("__anon_vma_prepare", "anon_vma_clone", "anon_vma_fork")
EVENT = re.compile(
    r"kmem_cache_(alloc|free): call_site=(\w+)\S* ptr=(\w+)(?: name=(\w+))?(?: bytes_req=(\d+))?"
)
NAMES = 'name == "anon_vma" || name == "anon_vma_chain"'
CHAIN_BYTES = "64"  # in every kernel; an anon_vma has more

CLONE_NEWNS, MS_PRIVATE, MS_REC, ADDR_NO_RANDOMIZE = 0x20000, 1 << 18, 1 << 14, 0x0040000
PR_SET_PDEATHSIG = 1
MAP_FIXED_NOREPLACE = 0x100000

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


class UnavailableError(Exception):
    """This machine does not allow tracing; the message gives the reason."""


# The family


def be_family(depth: int, children: int, mappings: int, kind: str) -> None:
    """Map, touch, fork; report when all processes exist, and wait for the end of stdin."""
    gate_in, gate_out = os.pipe()
    ready_in, ready_out = os.pipe()
    addresses = [] if kind == "nothing" else map_pages(mappings, kind)
    print("up", flush=True)
    sys.stdin.readline()  # tracing has begun
    if kind in ("written", "shared"):
        for address in addresses:
            ctypes.memset(address, 1, 1)
    if not children:
        be_lineage(depth)
    expected = sum(children**generation for generation in range(1, depth + 1))
    generation, left = 0, children if depth else 0
    while left:
        left -= 1
        before = os.getpid()
        if not os.fork():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != before:
                os._exit(1)
            generation += 1
            left = children if generation < depth else 0
    if generation:
        os.write(ready_out, b".")
        os.close(gate_out)
        os.read(gate_in, 1)
        os._exit(0)
    while expected:
        expected -= len(os.read(ready_in, expected))
    print("there", flush=True)
    sys.stdin.read()
    os._exit(0)


def be_lineage(depth: int) -> None:
    """Fork and end; the last one stays until the end of stdin."""
    for _ in range(depth):
        before = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == before:  # it has released its memory once it is no longer the parent
            time.sleep(0.0001)
    print("there", flush=True)
    sys.stdin.read()
    os._exit(0)


def map_pages(number: int, kind: str) -> list[int]:
    """Map pages that do not touch each other."""
    flags = (mmap.MAP_SHARED if kind == "shared" else mmap.MAP_PRIVATE) | mmap.MAP_ANONYMOUS
    addresses = [ADDRESS + 2 * PAGE * i for i in range(number)]
    for address in addresses:
        mapped = libc.mmap(
            address, PAGE, mmap.PROT_READ | mmap.PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0
        )
        assert mapped == address, f"{address:#x} is taken"
    return addresses


# The tracing


def tracefs() -> Path:
    """The path of tracefs, mounted for this process alone if necessary."""
    usual = Path("/sys/kernel/tracing")
    if os.geteuid():
        raise UnavailableError("tracepoints need root")
    if (usual / "instances").exists():
        return usual
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise UnavailableError(f"no mount namespace of one's own: {os.strerror(ctypes.get_errno())}")
    if not usual.is_dir() or libc.mount(b"none", bytes(usual), b"tracefs", 0, None):
        raise UnavailableError(f"tracefs cannot be mounted: {os.strerror(ctypes.get_errno())}")
    return usual


@contextlib.contextmanager
def instance(kilobytes: int) -> Iterator[Path]:
    """An instance that records the two kinds of objects."""
    instances = tracefs() / "instances"
    # Process numbers are valid in one namespace only.
    ours = f"rmap-{os.stat('/proc/self/ns/pid').st_ino}-"
    for stale in instances.glob(f"{ours}*"):
        if not Path("/proc", stale.name.removeprefix(ours)).exists():
            with contextlib.suppress(OSError):
                stale.rmdir()
    place = instances / f"{ours}{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        raise UnavailableError(f"no instance of tracefs: {error.strerror}") from None
    try:
        events = place / "events" / "kmem"
        if not (events / "kmem_cache_alloc").exists():
            raise UnavailableError("this kernel has no tracepoint kmem:kmem_cache_alloc")
        (place / "buffer_size_kb").write_text(str(kilobytes))
        (place / "trace_clock").write_text("mono")  # in order across processors
        try:
            (place / "options" / "hash-ptr").write_text("0")
        except OSError:  # before 5.12; hashes of 32 bits collide
            raise UnavailableError("the pointers of this kernel's events are hashed") from None
        (place / "options" / "event-fork").write_text("1")
        choose(events / "kmem_cache_alloc" / "filter", NAMES, call_sites())
        choose(events / "kmem_cache_free" / "filter", NAMES, "0")
        yield place
    finally:
        place.rmdir()


def choose(file: Path, *filters: str) -> None:
    """Set the first filter that the kernel accepts: not every one names the cache in its events."""
    for text in filters:
        with contextlib.suppress(OSError):
            file.write_text(text)
            return
    raise UnavailableError(f"{file.parent.name} cannot be filtered")


def call_sites() -> str:
    """A filter for what the callers allocate, by the addresses of their code."""
    symbols = [line.split()[:3] for line in Path("/proc/kallsyms").read_text().splitlines()]
    starts = sorted({int(address, 16) for address, _, _ in symbols})
    of_callers = [int(address, 16) for address, _, name in symbols if name in CALLERS]
    ranges = [(start, starts[bisect.bisect_right(starts, start)]) for start in of_callers if start]
    if len(ranges) < len(CALLERS):
        raise UnavailableError("the kernel does not say where its functions are")
    return " || ".join(f"(call_site >= {start:#x} && call_site < {end:#x})" for start, end in ranges)


def count(depth: int, children: int, mappings: int, kind: str) -> dict[str, int]:
    """Objects of a family while all of it lives."""
    libc.personality(ADDR_NO_RANDOMIZE)  # the process that will exec
    command = [sys.executable, "-s", "-S", __file__, "family", *map(str, (depth, children, mappings)), kind]
    with (
        instance(kilobytes=65536) as place,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        ) as family,
    ):
        assert family.stdin
        assert family.stdout
        family.stdout.readline()  # the start of the interpreter does not count
        (place / "set_event_pid").write_text(str(family.pid))
        for event in ("kmem_cache_alloc", "kmem_cache_free"):
            (place / "events" / "kmem" / event / "enable").write_text("1")
        family.stdin.write("go\n")
        family.stdin.flush()
        said = family.stdout.readline()
        (place / "tracing_on").write_text("0")
        family.stdin.close()
        assert said == "there\n", "the family did not grow"
        return balance(place / "trace")


def balance(trace: Path) -> dict[str, int]:
    """Allocations less frees by name. A cache can hold objects of others; their call sites tell them."""
    live: dict[str, str] = {}
    with trace.open() as lines:
        for line in lines:
            if line.startswith("# entries-in-buffer"):
                in_buffer, written = map(int, re.findall(r"\d+", line)[:2])
                if in_buffer != written:
                    raise UnavailableError(f"{written - in_buffer} events were lost")
            elif match := EVENT.search(line):
                what, caller, pointer, name, size = match.groups()
                if what == "alloc" and caller in CALLERS:
                    live[pointer] = name or ("anon_vma_chain" if size == CHAIN_BYTES else "anon_vma")
                elif what == "free":
                    live.pop(pointer, None)
    counts = Counter(live.values())
    return {name: counts[name] for name in ("anon_vma", "anon_vma_chain")}


def main() -> None:
    what, *numbers, kind = sys.argv[1:]
    if what == "family":
        depth, children, mappings = map(int, numbers)
        be_family(depth, children, mappings, kind)
    try:
        depth, children, mappings = map(int, (what, *numbers))
        print(json.dumps(count(depth, children, mappings, kind)))
    except UnavailableError as error:
        print(json.dumps({"unavailable": str(error)}))


if __name__ == "__main__":
    main()
