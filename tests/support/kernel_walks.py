"""The kernel's walks when it swaps out: which process's VMA it looks at, in which order.

Reclaim is asked of a memory cgroup of version 2. A kprobe at `try_to_unmap_one`, which the kernel calls for
each VMA of a walk, shows the order; one at `handle_mm_fault` shows whose address space is whose. Needs root
and swap.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from support import cgroups
from support.kernel_objects import UnavailableError
from support.kernel_pages import PAGE, PRIVATE, PRIVATE_PAGES
from support.kernel_probes import Recording

EVENT = re.compile(r"-(\d+) +\[.* (unmap|fault): .*? mm=(\w+)(?: page=(\w+) address=(\w+))?")
STRUCT_PAGE = 64  # bytes of the kernel's record of a page; the records are in the order of the frames
PASSES = 3  # the first only sees that pages were used, or begins to write them


class Walk(NamedTuple):
    """What the kernel looked at to unmap a page: (process id, page address), in order."""

    record: int  # number of the kernel's record of the page
    places: list[tuple[int, int]]


class Records:
    """Which frame each of the kernel's records of pages stands for.

    The numbers of a frame and of its record differ by one offset, which no program is told. A walk can look
    at places that have other pages, so the offset is the one that most places agree on.
    """

    def __init__(self) -> None:
        self.offsets: Counter[int] = Counter()

    def frames_of(self, walks: list[Walk], frames: dict[tuple[int, int], int]) -> dict[int, int]:
        """The frame of each record, from the frames that were at the places of the walks."""
        for record, places in walks:
            for place in places:
                if place in frames:
                    self.offsets[record - frames[place]] += 12 // len(places)
        return {record: record - offset for offset, _ in self.offsets.most_common(1) for record, _ in walks}


class Reclaim:
    """A cgroup whose pages are swapped out on request, and a recording of the walks."""

    def __init__(self) -> None:
        if len(Path("/proc/swaps").read_text().splitlines()) < 2:
            raise UnavailableError("no swap is in use")
        above = cgroups.own()
        if isinstance(above, str) or above.limit != "memory.max":
            raise UnavailableError("swapping out on request needs a memory cgroup of version 2")
        self.cgroup = above.directory / f"memgroup_{os.getpid()}"
        # vm_mm in struct vm_area_struct: before 6.1, VMAs are in a list and a tree first.
        major, minor = map(int, re.findall(r"\d+", os.uname().release)[:2])
        mm = 16 if (major, minor) >= (6, 1) else 64
        self.recording = Recording(
            "walks",
            unmap=f"try_to_unmap_one mm=+{mm}($arg2):x64 page=$arg1:x64 address=$arg3:x64",
            fault=f"handle_mm_fault mm=+{mm}($arg1):x64",
        )
        try:
            self.cgroup.mkdir()
        except OSError as error:
            self.recording.close()
            raise UnavailableError(f"swapping out on request needs a cgroup: {error}") from None
        self.owners: dict[str, int] = {}

    def add(self, pid: int) -> None:
        """Take a process, and the children that it will have, into the cgroup."""
        (self.cgroup / "cgroup.procs").write_text(str(pid))

    def swap_out(self) -> list[Walk]:
        """Swap out; return the walks of private pages."""
        for _ in range(PASSES):
            self.reclaim()
            time.sleep(0.02)
        walks: list[Walk] = []
        last = ""
        for line in self.recording.take():
            if not (event := EVENT.search(line)):
                continue
            pid, what, mm, page, address = event.groups()
            if what == "fault":
                self.owners[mm] = int(pid)
                continue
            place = self.owners.get(mm, 0), int(address, 16) // PAGE
            if not PRIVATE <= place[1] < PRIVATE + PRIVATE_PAGES:
                continue
            if page != last or place in walks[-1].places:
                walks.append(Walk(int(page, 16) // STRUCT_PAGE, []))
            walks[-1].places.append(place)
            last = page
        return walks

    def reclaim(self) -> None:
        """Have the kernel reclaim all that it can of the cgroup."""
        file = self.cgroup / "memory.reclaim"
        with contextlib.suppress(OSError):  # less than that could be reclaimed
            if file.exists():
                file.write_text("256M")
            else:  # before 5.19
                (self.cgroup / "memory.high").write_text("0")
        if not file.exists():
            (self.cgroup / "memory.high").write_text("max")

    def close(self) -> None:
        """Remove the recording and the cgroup, whose processes have ended."""
        self.recording.close()
        with contextlib.suppress(OSError):
            self.cgroup.rmdir()
