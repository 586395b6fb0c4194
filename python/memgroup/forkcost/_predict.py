"""Predicting the cost of forking a family for the kernel."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memgroup.forkcost._backing import Backing, read_backing
from memgroup.forkcost._objects import ENTRIES, PAGE, PAGE_TABLE, KernelObject, kernel_objects
from memgroup.forkcost._shape import Shape, read_shape

# The maximum number of chain entries for which the model simulates a family; a few tenths of a second.
_PLAYED = 200_000


@dataclass(frozen=True, slots=True)
class Walks:
    """The number of mappings that the kernel visits to find all mappings of a page, by its last writer.

    Attributes:
        first: A page that the first process wrote, and all others share.
        child: A page that a child of the first process wrote before it forked.
        last: A page that the last process wrote.
    """

    first: int
    child: int
    last: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The cost of a group in a family of live processes, without the cost of the processes.

    Attributes:
        shape: The family.
        backing: The backing of the group.
        nbytes: Bytes written before the forks.
        mappings: The number of slots that hold these bytes.
        policy: The kernel's design.
        method: "model" if `memgroup.rmap` simulated the family, "closed form" if it is too large for that.
        processes: The number of processes, including the first.
        vmas: Mappings.
        anon_vmas: Lists of the mappings that may have a page.
        chains: Entries that link mappings and anon_vmas.
        tables_per_fork: Page tables that a fork copies; a mapping that is not aligned needs one or two more.
        walks: How many mappings the kernel visits for a page.
        objects: The kinds of objects and their sizes.
        object_bytes: The bytes of `vmas`, `anon_vmas` and `chains`.
        table_bytes: The bytes of all page tables, including those of the first process.
    """

    shape: str
    backing: str
    nbytes: int
    mappings: int
    policy: str
    method: str
    processes: int
    vmas: int
    anon_vmas: int
    chains: int
    tables_per_fork: int
    walks: Walks
    objects: tuple[KernelObject, ...]
    object_bytes: int
    table_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dict of numbers, strings, dicts and lists, for JSON."""
        return asdict(self) | {"objects": [asdict(one) for one in self.objects]}


def predict(
    size: int, backing: str = "memfd", shape: str = "star:1", *, mappings: int = 1, policy: str = "running"
) -> Prediction:
    """Predict what forking a family costs the kernel, without forking.

    Args:
        size: Bytes of the group, all of them written before the first fork.
        backing: "none", "memfd", "anonymous" or a directory, optionally followed by "+huge" or "+dontfork".
        shape: "star:N", "chain:N", "tree:DEPTH" (of two children each) or "tree:DEPTH:CHILDREN".
        mappings: The number of slots, with an equal share of the bytes in each.
        policy: A design of `memgroup.rmap.POLICIES`, or "running" for that of the running kernel.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has an unknown name, `size` or `mappings` is not positive, or there are more
        mappings than pages.
    """
    check_size(size, mappings)
    family, memory = read_shape(shape), read_backing(backing)
    policy = _design(policy)
    forked = mappings * (not memory.dontfork) * (memory.kind != "none")
    there = mappings * (memory.kind != "none")
    others = family.processes - 1
    method, anon_vmas, chains, walks = _reverse_mapping(memory, family, mappings, policy)
    objects = kernel_objects()
    vmas = memory.mirrors * (there + forked * others)
    tables = _tables(size) if there else 0
    copied = tables if memory.private and forked else 0
    return Prediction(
        shape=shape,
        backing=backing,
        nbytes=size,
        mappings=mappings,
        policy=policy,
        method=method,
        processes=family.processes,
        vmas=vmas,
        anon_vmas=anon_vmas,
        chains=chains,
        tables_per_fork=copied,
        walks=walks,
        objects=objects,
        object_bytes=sum(
            one.nbytes * number for one, number in zip(objects, (vmas, anon_vmas, chains), strict=True)
        ),
        table_bytes=(tables + copied * others) * PAGE_TABLE,
    )


def check_size(size: int, mappings: int) -> None:
    """Refuse an invalid size, or a number of mappings that does not fit it.

    Raises:
        TypeError: One of the arguments is no integer.
        ValueError: One of the arguments is out of range.
    """
    check_integers(size=size, mappings=mappings)
    if size < 1:
        raise ValueError(f"size must be at least one byte, not {size}")
    if not 1 <= mappings <= -(-size // PAGE):
        raise ValueError(
            f"mappings must be from 1 to the number of pages, {-(-size // PAGE)}; not {mappings}"
        )


def check_integers(**numbers: object) -> None:
    """Refuse arguments that are no integers, by name.

    Raises:
        TypeError: An argument is no integer.
    """
    for name, number in numbers.items():
        if not isinstance(number, int):
            raise TypeError(f"{name} must be an integer, not {type(number).__name__}")


def _design(policy: str) -> str:
    from memgroup.rmap import POLICIES, Machine

    if policy not in (*POLICIES, "running"):
        raise ValueError(f"no design is called {policy!r}; there are {', '.join((*POLICIES, 'running'))}")
    return Machine(policy).policy


def _tables(nbytes: int) -> int:
    """The page tables of the two lowest levels for adjacent mappings that are all touched.

    Huge pages need as many: the kernel keeps a page table in reserve for each, in case it is split.
    """
    lowest = -(-nbytes // (PAGE * ENTRIES))
    return lowest + -(-lowest // ENTRIES)


def _reverse_mapping(
    memory: Backing, family: Shape, mappings: int, policy: str
) -> tuple[str, int, int, Walks]:
    """Anon_vmas, chain entries and walks, and the method."""
    if memory.kind == "none":
        return "closed form", 0, 0, Walks(0, 0, 0)
    if memory.dontfork:
        family = read_shape("star:0")
    if mappings * family.ancestry <= _PLAYED:
        return ("model", *_play(memory, family, mappings, policy))
    return ("closed form", *_count(memory, family, mappings, policy))


def _count(memory: Backing, family: Shape, mappings: int, policy: str) -> tuple[int, int, Walks]:
    """The model's result for a family in which no process exits and no page is swapped out."""
    processes = family.processes
    if policy == "scan24":
        return 0, 0, _all_alike(memory.mirrors * mappings * processes)
    if not memory.private:
        # A file has a list of its mappings, both mirrors of every process; the writer of a page does not
        # matter.
        return 0, 0, _all_alike(memory.mirrors * processes)
    if policy == "shared26":
        return mappings, 0, _all_alike(processes)
    if policy == "cow_context":
        return processes, 0, Walks(processes, family.branch or 1, 1)
    alike = policy == "avc_34"  # pages point to the oldest anon_vma, for every writer
    walks = _all_alike(processes) if alike else Walks(processes, family.branch or 1, 1)
    return mappings * processes, mappings * family.ancestry, walks


def _all_alike(visits: int) -> Walks:
    return Walks(visits, visits, visits)


def _play(memory: Backing, family: Shape, mappings: int, policy: str) -> tuple[int, int, Walks]:
    """The same from the model: three processes write three pages of the first mapping."""
    from memgroup.rmap import Machine

    machine = Machine(policy)
    first = machine.spawn()
    starts = [first.mmap(3, shared=not memory.private).start for _ in range(mappings * memory.mirrors)]
    for start in starts:
        first.write(start)
    page = first.write(starts[0])
    by_child = first.write(starts[0] + 1)
    processes = [first]  # generation by generation, as a shape numbers them
    for number in range(family.processes):
        if number == 1:
            by_child = processes[1].write(starts[0] + 1)
        processes += processes[number].fork(len(list(family.children_of(number))))
    by_last = processes[-1].write(starts[0] + 2)
    counts = machine.counts()
    # For the model the mirrors are mappings of two files. In fact they are mappings of one file, and a walk
    # visits both; a walk over all mappings includes both anyway.
    times = 1 if policy == "scan24" else memory.mirrors
    walks = Walks(*(times * machine.walk_visits(one) for one in (page, by_child, by_last)))
    return counts["anon_vmas"], counts["chains"], walks
