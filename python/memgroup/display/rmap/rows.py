"""The left of a picture: processes as a tree, and beside each its VMAs, one a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memgroup.display.rmap.shapes import Band, Box, Line, text_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup.display.rmap.state import Process, State, Vma

_ROW = 44.0
_BOX = 36.0
_BETWEEN = 10.0
_INDENT = 18.0
_GAP = 22.0
_PADDING = 8.0
# A longer chain is cut in the middle.
_SHOWN = 7


@dataclass(frozen=True, slots=True)
class Rows:
    """The positions of the rows, relative to their top left corner.

    Attributes:
        boxes: Of processes and VMAs.
        lines: From each process to the children that it forked.
        middles: The middle of each VMA's row, by VMA id.
        bands: Top and height of the area of each process, from above.
        width: Of all rows.
        height: Of all rows.
    """

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    middles: dict[int, float]
    bands: tuple[tuple[float, float], ...]
    width: float
    height: float

    def band_shapes(self, top: float, left: float, width: float) -> Iterator[Band]:
        """The band of every other process, so that the eye can follow a row."""
        for place, (y, height) in enumerate(self.bands):
            if place % 2 == 0:
                yield Band(left, top + y, width, height)


def plan_rows(state: State, left: float, top: float) -> Rows:
    """Lay out the processes and VMAs of `state`."""
    tree = list(_in_tree_order(state.processes))
    alive = {process.pid for process in state.processes}
    owned: dict[int, list[Vma]] = {pid: [] for pid in alive}
    for vma in state.vmas:
        owned[vma.process].append(vma)

    names = {process.pid: _name(process, alive) for process, _ in tree}
    process_width = _widest(line for lines in names.values() for line in lines)
    deepest = max((depth for _, depth in tree), default=0)
    vma_left = left + deepest * _INDENT + process_width + _GAP
    vma_width = _widest(line for vma in state.vmas for line in _describe(vma, state.has_chains))

    boxes: list[Box] = []
    lines: list[Line] = []
    middles: dict[int, float] = {}
    bands: list[tuple[float, float]] = []
    places: dict[int, Box] = {}
    y = 0.0
    for process, depth in tree:
        vmas = owned[process.pid]
        height = max(len(vmas), 1) * _ROW
        bands.append((y, height))
        inset = (_ROW - _BOX) / 2
        x = left + depth * _INDENT
        box = Box(x, top + y + inset, process_width, height - 2 * inset, "process", names[process.pid])
        places[process.pid] = box
        boxes.append(box)
        if process.parent in alive:
            parent = places[process.parent]
            stem, middle = parent.x + _INDENT / 2, top + y + _ROW / 2
            lines.append(Line(((stem, parent.area.bottom), (stem, middle), (x, middle)), "family"))
        for row, vma in enumerate(vmas):
            middles[vma.id] = top + y + row * _ROW + _ROW / 2
            box = Box(
                vma_left, middles[vma.id] - _BOX / 2, vma_width, _BOX, "vma", _describe(vma, state.has_chains)
            )
            boxes.append(box)
            joint = x + process_width
            lines.append(Line(((joint, middles[vma.id]), (vma_left, middles[vma.id])), "family"))
        y += height + _BETWEEN
    width = vma_left + vma_width - left if state.vmas else vma_left - _GAP - left
    return Rows(tuple(boxes), tuple(lines), middles, tuple(bands), width, max(y - _BETWEEN, 0.0))


def _in_tree_order(processes: tuple[Process, ...]) -> Iterator[tuple[Process, int]]:
    """Each process, followed by its children in order of birth, and its depth below the topmost ancestor."""
    alive = {process.pid for process in processes}
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent if process.parent in alive else 0, []).append(process)
    left = [(process, 0) for process in reversed(children.get(0, []))]
    while left:
        process, depth = left.pop()
        yield process, depth
        left.extend((child, depth + 1) for child in reversed(children.get(process.pid, [])))


def _name(process: Process, alive: set[int]) -> tuple[str, ...]:
    if process.parent == 0 or process.parent in alive:
        return (f"process {process.pid}",)
    return (f"process {process.pid}", f"of {process.parent}, exited")


def _describe(vma: Vma, has_chains: bool) -> tuple[str, str]:
    traits = {"shared": vma.shared, "dontfork": vma.dontfork, "wipeonfork": vma.wipeonfork}
    prot = "".join(letter if letter in vma.prot else "-" for letter in "rwx")
    first = " ".join([f"{vma.start}:{vma.stop}", prot, *(name for name, has in traits.items() if has)])
    if vma.anon_vma is None:
        return first, "no anon_vma"
    return first, _chain(vma) if has_chains else f"anon_vma {vma.anon_vma}"


def _chain(vma: Vma) -> str:
    chain = [str(id_) for id_ in vma.chain]
    if len(chain) > _SHOWN:
        chain = [*chain[: _SHOWN - 2], "…", chain[-1]]
    return f"chain {' '.join(chain)}"


def _widest(lines: Iterator[str]) -> float:
    return max(map(text_width, lines), default=0.0) + 2 * _PADDING
