"""The shape of a family of processes: which process forks which, and counts that need no fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from memgroup.display.text import show_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PROCESSES = 4_194_304  # PID_MAX_LIMIT, include/linux/threads.h

_FORMS = "star:N (N children of one), chain:N (N generations), tree:DEPTH or tree:DEPTH:CHILDREN"


class Shape(NamedTuple):
    """A tree in which every process but those of the last generation has the same number of children.

    A star is one generation deep, a chain has one child each. Processes are numbered generation by
    generation, the first is 0.
    """

    name: str
    depth: int
    children: int
    processes: int

    def children_of(self, process: int) -> Iterator[int]:
        """The numbers of the children of `process`, in order."""
        first = process * self.children + 1
        return iter(range(min(first, self.processes), min(first + self.children, self.processes)))

    @property
    def ancestry(self) -> int:
        """The sum over all processes of their ancestors and themselves."""
        if self.children == 1:
            return self.processes * (self.processes + 1) // 2
        return sum((depth + 1) * self.children**depth for depth in range(self.depth + 1))

    @property
    def branch(self) -> int:
        """The number of processes in the subtree of a child of the first process; 0 without a child."""
        return (self.processes - 1) // self.children if self.depth else 0


def read_shape(text: str) -> Shape:
    """The shape that `text` names: `star:1000`, `chain:100`, `tree:8` (two children each), `tree:2:30`.

    Raises:
        TypeError: `text` is no str.
        ValueError: It names none, or one with more processes than Linux can number.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users may not check
        raise TypeError(f"a shape is a str, not {type(text).__name__}")
    kind, *numbers = text.split(":")
    if not all(number.isascii() and number.isdecimal() and len(number) < 10 for number in numbers):
        raise ValueError(f"not a shape: {show_text(text)!r}; there are {_FORMS}")
    match kind, list(map(int, numbers)):
        case "star", [children]:
            depth = min(children, 1)
        case "chain", [depth]:
            children = 1
        case "tree", [depth]:
            children = 2
        case "tree", [depth, children]:
            depth = min(depth, children * depth)
        case _:
            raise ValueError(f"not a shape: {show_text(text)!r}; there are {_FORMS}")
    return Shape(text, depth, max(children, 1), _processes(text, depth, max(children, 1)))


def _processes(text: str, depth: int, children: int) -> int:
    processes, generation = 1, 1
    # A chain is counted at once; a growing tree exceeds the bound within a few generations.
    if children == 1:
        processes += depth
    else:
        for _ in range(depth):
            generation *= children
            processes += generation
            if processes > MOST_PROCESSES:
                break
    if processes > MOST_PROCESSES:
        raise ValueError(f"{text} has more processes than Linux can number: {MOST_PROCESSES:,}")
    return processes
