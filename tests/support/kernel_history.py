"""Histories of processes in the model and in the kernel, compared after each step.

`python -m support.kernel_history [HISTORIES]` in tests/ prints how many pages were compared and how many
histories differed, for the running kernel's policy and for every other one. With the necessary rights, the
chains that a fork gives to a child are compared as well; with swap, a half of the histories swap, and the
walks of the kernel are compared. The other policies are compared in short stories whose walks and chains tell
the designs apart.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from memgroup.rmap import POLICIES, Machine, Process
from support import kernel_pages
from support.kernel_chains import Chains
from support.kernel_objects import UnavailableError
from support.kernel_pages import EXCLUSIVE, FILE_OR_SHARED, FRAME, PAGES, PRESENT, PRIVATE, SHARED, SWAPPED
from support.kernel_walks import Reclaim, Records

STEPS = 150

# Of one page. Each wrong policy predicts at least one of them wrongly under each kernel: the walks, but
# "modern" and "linux70", of which only the chains differ.
STORIES = (
    "fork 1, write 2, swap",
    "write 1, fork 1, write 2, swap",
    "write 1, fork 1, swap, read 2, swap",
    "write 1, fork 1, write 1, write 2, swap",
    "write 1, fork 1, write 2, swap, read 2, swap",
    "write 1, fork 1, fork 1, fork 2, swap",
    "write 1, fork 1, fork 2, exit 2, fork 3, fork 4, write 5, swap",
    "write 1, fork 1, fork 2, fork 3, fork 4, exit 2, exit 3, fork 5",
)


class History:
    """The same history in the model and in real processes, compared after each step."""

    def __init__(
        self, seed: int, directory: Path, *, swap: bool, policy: str = "running", chains: Chains | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.machine = Machine(policy)
        first = self.machine.spawn()
        first.mmap(kernel_pages.PRIVATE_PAGES, at=PRIVATE)
        first.mmap(kernel_pages.SHARED_PAGES, shared=True, at=SHARED)
        self.members: dict[int, Process] = {1: first}
        # Where the page of zeros is mapped: the model has no page for it.
        self.zeros: dict[int, set[int]] = {1: set()}
        self.content: dict[int, int] = {}
        self.swapped: dict[int, list[int]] = {}
        self.compared: Counter[str] = Counter()
        self.reclaim = Reclaim() if swap else None
        self.records = Records()
        self.chains = chains
        # Where the kernel has an anon_vma of the model.
        self.anon_vmas: dict[int, str] = {}
        self.real = kernel_pages.Family(directory)

    def run(self, steps: Iterator[None]) -> None:
        """Compare after each step."""
        try:
            if self.reclaim:
                self.reclaim.add(self.real.first.pid)
            for _ in steps:
                self.compare()
        finally:
            self.real.close()
            if self.reclaim:
                self.reclaim.close()

    def tell(self, story: str) -> Iterator[None]:
        """Do what a story says."""
        for value, sentence in enumerate(story.split(", "), 1):
            self.compared["steps"] += 1
            match sentence.split():
                case ["swap"]:
                    self.swap()
                case ["write", number]:
                    self.write(value, int(number), self.members[int(number)], PRIVATE)
                case ["read", number]:
                    self.read(int(number), self.members[int(number)], PRIVATE)
                case ["fork", number]:
                    self.fork(int(number), self.members[int(number)])
                case ["exit", number]:
                    self.exit(int(number))
            yield

    def act(self, steps: int) -> Iterator[None]:
        """Do things at random."""
        for step in range(1, steps + 1):
            number = self.random.choice(list(self.members))
            self.step(step, number, self.members[number])
            yield

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
            "swap": 4 if self.reclaim else 0,
        }
        if len(self.members) == 1:
            deeds["exit"] = 0
        if len(self.members) == 10:
            deeds["fork"] = 0
        deed = self.random.choices(list(deeds), list(deeds.values()))[0]
        self.compared["steps"] += 1
        match deed:
            case "write":
                self.write(step, number, process, self.random.choice(PAGES))
            case "read":
                # Of a shared mapping, reading one page brings in others beside it.
                self.read(number, process, self.random.choice(PAGES[: kernel_pages.PRIVATE_PAGES]))
            case "fork":
                self.fork(number, process)
            case "exit":
                self.exit(number)
            case "move":
                self.move(number, process)
            case "swap":
                self.swap()
            case _:
                self.change(deed, number, process)

    def exit(self, number: int) -> None:
        self.members[number].exit()
        self.real.exit(number)
        del self.members[number], self.zeros[number]

    def write(self, value: int, number: int, process: Process, page: int) -> None:
        try:
            id_ = process.write(page)
        except (LookupError, PermissionError):
            return
        self.real.tell(number, "write", page, value)
        self.content[id_] = value
        self.zeros[number].discard(page)

    def read(self, number: int, process: Process, page: int) -> None:
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
        if self.chains:
            self.chains.take()
        self.real.fork(number, child.pid)
        self.members[child.pid] = child
        if self.chains:
            self.compare_chains(child, self.chains.take())
        # Page tables are copied, or not, as the model says; the page of zeros goes with them.
        copied = {
            page for vma in child.vmas() if vma.anon_vma is not None for page in range(vma.start, vma.stop)
        }
        self.zeros[child.pid] = self.zeros[number] & copied

    def compare_chains(self, child: Process, real: dict[int, list[str]]) -> None:
        """The chains of a new process: of the same anon_vmas, in the same order."""
        chains = {vma.start: list(vma.chain) for vma in child.vmas() if vma.chain}
        live = {row["id"] for row in self.machine.graph()["anon_vmas"]}
        at = {id_: place for id_, place in self.anon_vmas.items() if id_ in live}
        for start, chain in chains.items():
            for id_, place in zip(chain, real.get(start, ()), strict=False):
                at.setdefault(id_, place)
        known = {place: id_ for id_, place in at.items()}
        told = {start: [known.get(place) for place in places] for start, places in real.items()}
        assert told == chains, f"process {child.pid} gets the chains {told}, not {chains}"
        assert len(known) == len(at), "two anon_vmas of the model are one of the kernel"
        self.anon_vmas = at
        self.compared["chains"] += len(chains)

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

    def swap(self) -> None:
        """Have the kernel swap out what it can, and the model the same pages; compare the walks."""
        assert self.reclaim
        numbers = {pid: number for number, pid in self.real.pids.items()}
        frames = {
            (self.real.pids[number], page): entry & FRAME
            for number in self.members
            for page, entry in self.real.entries(number).items()
            if entry & PRESENT
        }
        walks = self.reclaim.swap_out()
        frame_of = self.records.frames_of(walks, frames)
        entries = {number: self.real.entries(number) for number in self.members}
        for row in self.machine.graph()["pages"]:
            id_, index = row["id"], row["index"]
            mapped = [
                (process.pid, page)
                for process, vma in self.machine.walk(id_)
                if (page := vma.start + index - vma.index) in entries[process.pid]
            ]
            places = [
                (pid, page) for pid, page in mapped if pid in row["mapped_by"] and self.shows(pid, page, id_)
            ]
            if not places or any(entries[pid][page] & PRESENT for pid, page in places):
                continue
            if not row["shared"]:
                expected = mapped[: self.machine.unmap_visits(id_)]
                frame = frames.get((self.real.pids[places[0][0]], places[0][1]))
                real = [
                    [(numbers[pid], address) for pid, address in walk.places if pid in numbers]
                    for walk in walks
                    if frame_of.get(walk.record) == frame
                ]
                assert real[-1:] == [expected], f"page {id_} is unmapped at {real}, not {expected}"
                self.compared["walks"] += 1
                self.compared["walked places"] += len(expected)
            self.machine.swap_out(id_)
            self.compared["swapped out"] += 1

    def shows(self, number: int, page: int, id_: int) -> bool:
        """Whether that page of the model is at a page address of a member: others of the VMA may be."""
        process = self.members[number]
        is_mapped = any(vma.start <= page < vma.stop for vma in process.vmas())
        return is_mapped and process.page(page) == id_

    def compare(self) -> None:
        """Every page of every member: the bits, and which members share it where the kernel shows frames."""
        frames: dict[int, int] = {}
        self.swapped = {row["id"]: row["swapped_by"] for row in self.machine.graph()["pages"]}
        for number, process in self.members.items():
            mapped = {page for vma in process.vmas() for page in range(vma.start, vma.stop)}
            for page, entry in self.real.entries(number).items():
                told = entry & (PRESENT | SWAPPED | FILE_OR_SHARED | EXCLUSIVE)
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
        if id_ is not None and number in self.swapped[id_]:
            return SWAPPED
        if process not in mappers:
            return PRESENT if page in self.zeros[number] else 0
        bits = PRESENT | (EXCLUSIVE if len(mappers) == 1 else 0)
        return bits | (FILE_OR_SHARED if page >= SHARED else 0)


def compare(
    what: int | str, *, swap: bool, policy: str = "running", chains: Chains | None = None
) -> Counter[str]:
    """Run a history, by its seed, or a story; return how much was compared.

    It raises AssertionError where the kernel differs.
    """
    seed = what if isinstance(what, int) else 0
    with tempfile.TemporaryDirectory() as directory:  # a short path, as sockets need
        history = History(seed, Path(directory), swap=swap, policy=policy, chains=chains)
        history.run(history.act(STEPS) if isinstance(what, int) else history.tell(what))
    return history.compared


def row(name: str, histories: Sequence[int | str], *, swap: bool, policy: str, chains: Chains | None) -> None:
    """Compare, and print a row of the table of .ci/kernels."""
    differing, compared = 0, Counter[str]()
    for what in histories:
        try:
            compared += compare(what, swap=swap, policy=policy, chains=chains)
        except AssertionError as difference:
            differing += 1
            if policy == "running":
                print(f"{what}, swap {swap}: {difference}", flush=True)
    amounts = ", ".join(f"{what} {number:,}" for what, number in sorted(compared.items()))
    print(f"model: | {name} | {len(histories)} | {differing} | {amounts or '–'} |", flush=True)


def rows(histories: int, chains: Chains | None) -> None:
    """Print rows: the running policy, for one half without and one with swap, and every other policy."""
    half = range(histories // 2)
    running = Machine("running").policy
    own = functools.partial(row, policy="running", chains=chains)
    own(f"{running}, the kernel's own, without swap", half, swap=False)
    try:
        own(f"{running}, the kernel's own, in stories", STORIES, swap=True)
    except UnavailableError as reason:
        print(f"model: | in stories, with swap | – | skipped: {reason} | – |", flush=True)
        return
    for policy in (policy for policy in POLICIES if policy != running):
        row(f"{policy}, a wrong one, in stories", STORIES, swap=True, policy=policy, chains=chains)
    own(f"{running}, the kernel's own, with swap", half, swap=True)


def recording() -> Chains | None:
    """A recording of chains, or a row that says why there is none."""
    try:
        return Chains()
    except UnavailableError as reason:
        print(f"model: | chains | – | skipped: {reason} | – |", flush=True)
        return None


def main(histories: int) -> None:
    """Print all rows, with chains where they can be recorded."""
    with contextlib.ExitStack() as stack:
        chains = recording()
        if chains:
            stack.callback(chains.close)
        rows(histories, chains)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
