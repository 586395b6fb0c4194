"""The backing of a group to measure, as one word: `memfd`, `anonymous+huge`, `none`."""

from __future__ import annotations

import os
from typing import NamedTuple

from memgroup.display.text import show_text

DEFAULT_BACKINGS = ("none", "memfd", "memfd+huge", "anonymous", "anonymous+huge", "anonymous+dontfork")
"""What is compared if nothing else is asked for."""


class Backing(NamedTuple):
    """The backing of the memory, and the advice to the kernel about it.

    `kind` is "none" (no group at all), or a backing of `MemGroup`: "memfd", "anonymous" or a directory.
    """

    name: str
    kind: str
    huge: bool
    dontfork: bool

    @property
    def private(self) -> bool:
        """Whether a fork copies page tables now and pages later."""
        return self.kind == "anonymous"

    @property
    def mirrors(self) -> int:
        """Mappings of each slot in one process."""
        return {"none": 0, "anonymous": 1}.get(self.kind, 2)


def read_backing(text: str) -> Backing:
    """The backing that `text` names: `none`, `memfd`, `anonymous` or a directory, then `+huge`, `+dontfork`.

    Raises:
        TypeError: `text` is no str.
        ValueError: There is no such backing or advice, or advice about no memory.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users may not check
        raise TypeError(f"a backing is a str, not {type(text).__name__}")
    kind, *advice = text.split("+")
    if "/" in text and not set(advice) <= {"huge", "dontfork"}:
        kind, advice = text, []  # a directory may have any name
    elif unknown := set(advice) - {"huge", "dontfork"}:
        raise ValueError(f"no advice is called {show_text(min(unknown))!r}; there are +huge and +dontfork")
    if kind == "none" and advice:
        raise ValueError("the backing none has no memory to advise: leave +huge and +dontfork out")
    if not kind:
        raise ValueError("a backing is none, memfd, anonymous or a directory, then +huge and +dontfork")
    if kind not in {"none", "memfd", "anonymous"} and "/" not in kind and not os.path.isdir(kind):
        raise ValueError(
            f"no backing is called {show_text(kind)!r}: give none, memfd, anonymous or a directory"
        )
    return Backing(text, kind, "huge" in advice, "dontfork" in advice)
