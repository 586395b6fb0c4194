"""Output for people: reports on terminals and as text, the map of a group's slots, pictures of the model.

`report` is the only renderable, and `text` formats its numbers and names. `slots` and `html` show a group,
`progress` shows long work, and `rmap` a reverse-mapping machine. The compiled module calls the functions
here.
"""

from __future__ import annotations

# Importing typing would take as long as a small search.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from memgroup import GroupStats, MemGroup
    from memgroup.display.report import Report

__all__ = ["as_html", "as_rich", "as_text"]


def as_text(of: MemGroup | GroupStats) -> str:
    """The text for `print`: a headline and a table, without colours."""
    return str(as_rich(of))


def as_rich(of: MemGroup | GroupStats) -> Report:
    """The renderable for rich: the same, with colours and fitted to the terminal."""
    from memgroup.display.slots import slot_map

    return slot_map(of).report()


def as_html(of: MemGroup | GroupStats) -> str:
    """The HTML for Jupyter: the same as one self-contained element."""
    from memgroup.display.html import write
    from memgroup.display.slots import slot_map

    return write(slot_map(of))
