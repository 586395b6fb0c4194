"""The state of a machine for a picture, read at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup.rmap import Machine

# Limits, so that the picture fits a screen and stays readable.
_MOST = {"processes": 32, "vmas": 48, "anon_vmas": 48, "pages": 24}
_NAMES = {"processes": "processes", "vmas": "VMAs", "anon_vmas": "anon_vmas", "pages": "pages"}

# Attempts at reading a machine while others change it.
_ATTEMPTS = 100


class Process(NamedTuple):
    """A process; `parent` is the pid of the process that forked it, or 0."""

    pid: int
    parent: int


class Vma(NamedTuple):
    """A VMA, the index of its first page, and its chain in the kernel's order."""

    id: int
    process: int
    start: int
    stop: int
    at: int
    prot: str
    shared: bool
    dontfork: bool
    wipeonfork: bool
    anon_vma: int | None
    chain: tuple[int, ...]


class AnonVma(NamedTuple):
    """An anon_vma; if it was freed, only the id is known."""

    id: int
    freed: bool = False
    parent: int = 0
    children: int = 0
    active: int = 0
    members: tuple[int, ...] = ()


class Page(NamedTuple):
    """A page, its index, the pids of processes that have it, and of those that its walk finds."""

    id: int
    at: int
    mapping: int | None
    dangling: bool
    shared: bool
    mapped_by: frozenset[int]
    swapped_by: frozenset[int]
    found: frozenset[int]


class Visit(NamedTuple):
    """A visit of a walk: the anon_vma it is in, if any, and the VMA, or None for a context without one."""

    anon_vma: int | None
    vma: int | None


class Walk(NamedTuple):
    """The full walk of a page: its visits in order, and the number of visits to unmap the page."""

    page: int
    visits: tuple[Visit, ...]
    unmap_visits: int


@dataclass(frozen=True, slots=True)
class State:
    """A machine at one moment."""

    policy: str
    processes: tuple[Process, ...]
    vmas: tuple[Vma, ...]
    anon_vmas: tuple[AnonVma, ...]
    pages: tuple[Page, ...]
    walk: Walk | None
    broken: tuple[str, ...]

    @property
    def has_chains(self) -> bool:
        """Whether a VMA can be in the lists of several anon_vmas."""
        return self.policy not in ("scan24", "shared26", "cow_context")

    @property
    def walked(self) -> Page | None:
        """The page of the walk."""
        return next((page for page in self.pages if self.walk and page.id == self.walk.page), None)


def excess(counts: dict[str, int], *, one_page: bool) -> list[str]:
    """The reason why the machine is too large for a picture; one page can be drawn alone."""
    return [
        f"{counts[what]:,} {_NAMES[what]} ({most} at most)"
        for what, most in _MOST.items()
        if counts[what] > most and not (one_page and what == "pages")
    ]


def read(machine: Machine, page_id: int | None) -> State:
    """The state of `machine`, with the walk of a page if one is given.

    Raises:
        LookupError: The page no longer exists.
        ValueError: The state is too large for one picture.
        RuntimeError: Other threads changed the machine during every attempt.
    """
    for _ in range(_ATTEMPTS):
        counts = machine.counts()
        if too_much := excess(counts, one_page=page_id is not None):
            remedy = "draw a smaller family"
            if not excess(counts, one_page=True):
                remedy = "pass the id of a page to draw it alone"
            raise ValueError(f"too much for one picture: {', '.join(too_much)}; {remedy}, or use graph()")
        graph = machine.graph()
        try:
            state = _read(machine, graph, page_id, alone=counts["pages"] > _MOST["pages"])
        except LookupError:
            # Ignore a page that was freed between two calls.
            if machine.graph() == graph:
                raise
            continue
        if machine.graph() == graph:
            return state
    raise RuntimeError(
        "other threads changed the machine while it was drawn: draw it while no thread uses it"
    )


def _read(
    machine: Machine, graph: dict[str, list[dict[str, Any]]], page_id: int | None, *, alone: bool
) -> State:
    vmas = tuple(_vma(row) for row in graph["vmas"])
    anon_vmas = {row["id"]: _anon_vma(row) for row in graph["anon_vmas"]}
    walk = None if page_id is None else _walk(machine, graph, page_id, vmas, anon_vmas)
    pages = tuple(_page(machine, row) for row in graph["pages"] if not alone or row["id"] == page_id)
    for page in pages:
        if page.dangling and page.mapping is not None:
            anon_vmas.setdefault(page.mapping, AnonVma(page.mapping, freed=True))
    return State(
        policy=machine.policy,
        processes=tuple(Process(row["pid"], row["parent"]) for row in graph["processes"]),
        vmas=vmas,
        anon_vmas=tuple(anon_vmas[id_] for id_ in sorted(anon_vmas)),
        pages=pages,
        walk=walk,
        broken=tuple(str(broken) for broken in machine.check()),
    )


def _vma(row: dict[str, Any]) -> Vma:
    alike = {name: row[name] for name in Vma._fields if name not in ("at", "chain")}
    return Vma(**alike, at=row["index"], chain=tuple(row["chain"]))


def _anon_vma(row: dict[str, Any]) -> AnonVma:
    return AnonVma(
        row["id"],
        parent=row["parent"],
        children=row["children"],
        active=row["active"],
        members=tuple(row["members"]),
    )


def _page(machine: Machine, row: dict[str, Any]) -> Page:
    mapped_by = frozenset(row["mapped_by"])
    return Page(
        id=row["id"],
        at=row["index"],
        mapping=row["mapping"],
        dangling=row["dangling"],
        shared=row["shared"],
        mapped_by=mapped_by,
        swapped_by=frozenset(row["swapped_by"]),
        found=mapped_by & {process.pid for process, _ in machine.walk(row["id"])},
    )


def _walk(
    machine: Machine,
    graph: dict[str, list[dict[str, Any]]],
    page_id: int,
    vmas: tuple[Vma, ...],
    anon_vmas: dict[int, AnonVma],
) -> Walk:
    places = [vma.id for _, vma in machine.walk(page_id)]
    mapping = {row["id"]: row["mapping"] for row in graph["pages"]}.get(page_id)
    if machine.policy == "cow_context" and mapping is not None:
        visits = list(_visits_of_contexts(mapping, anon_vmas, places))
    elif machine.walk_visits(page_id) > len(places):
        # A walk visits every entry of a list, but only the entries of a tree that can hold the page.
        members = anon_vmas[mapping].members if mapping in anon_vmas else ()
        visits = [Visit(mapping, id_) for id_ in ([vma.id for vma in vmas] if mapping is None else members)]
    else:
        visits = [Visit(mapping, id_) for id_ in places]
    return Walk(page_id, tuple(visits), machine.unmap_visits(page_id))


def _visits_of_contexts(top: int, anon_vmas: dict[int, AnonVma], places: list[int]) -> Iterator[Visit]:
    """Visits from a context downwards: the VMAs that hold the page, or the context itself if it has none."""
    rank = {id_: number for number, id_ in enumerate(places)}

    def children(context: int) -> list[int]:
        return [one.id for one in anon_vmas.values() if one.parent == context != one.id]

    def first(context: int) -> int:
        """The number of the first place that the walk finds from a context downwards."""
        own = [rank[id_] for id_ in anon_vmas[context].members if id_ in rank]
        return min([*own, *map(first, children(context))], default=len(rank))

    left = [top] if top in anon_vmas else []
    while left:
        context = left.pop()
        holding: list[int | None] = [id_ for id_ in places if id_ in anon_vmas[context].members]
        for id_ in holding or [None]:
            yield Visit(context, id_)
        left.extend(sorted(children(context), key=lambda child: (first(child), child), reverse=True))
