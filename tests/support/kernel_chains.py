"""The chains that the kernel gives to the VMAs of a new process: which anon_vmas, in which order.

A kprobe at `anon_vma_interval_tree_insert` shows each entry of a chain as its VMA becomes a member of the
anon_vma. Needs root.
"""

from __future__ import annotations

import re

from support.kernel_pages import PAGE, PRIVATE, PRIVATE_PAGES
from support.kernel_probes import Recording

EVENT = re.compile(r" insert: .* start=(\d+) anon_vma=(\w+)")


class Chains:
    """A recording of the chains of the private mapping."""

    def __init__(self) -> None:
        # An entry holds its VMA, which begins with its start, and its anon_vma.
        what = "start=+0(+0($arg1)):u64 anon_vma=+8($arg1):x64"
        which = f"start >= {PRIVATE * PAGE} && start < {(PRIVATE + PRIVATE_PAGES) * PAGE}"
        self.recording = Recording("chains", insert=f"anon_vma_interval_tree_insert {what} if {which}")

    def take(self) -> dict[int, list[str]]:
        """The chains since the last time, if all that was done is one fork.

        By page address of the VMA; each is of addresses of anon_vmas, newest first. Every kernel copies a
        chain from its end in the child on, and puts the child's own anon_vma before them.
        """
        chains: dict[int, list[str]] = {}
        for event in filter(None, map(EVENT.search, self.recording.take())):
            start, anon_vma = event.groups()
            chains.setdefault(int(start) // PAGE, []).insert(0, anon_vma)
        return chains

    def close(self) -> None:
        """Remove the recording."""
        self.recording.close()
