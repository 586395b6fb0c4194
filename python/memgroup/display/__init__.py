"""What people see: reports on terminals and as text, the map of a group's slots, pictures of the model.

`report` is the one renderable and `text` how numbers and names are written in it; `slots` and `html` show a
group, `progress` long work, and `rmap` a reverse-mapping machine. The compiled half calls the functions here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memgroup import GroupStats, MemGroup
    from memgroup.display.report import Report

__all__ = ["as_html", "as_rich", "as_text"]


def as_text(of: MemGroup | GroupStats) -> str:
    """What `print` shows: a headline and a table, without colours."""
    return str(as_rich(of))


def as_rich(of: MemGroup | GroupStats) -> Report:
    """What rich shows: the same, with colours and fitted to the terminal."""
    from memgroup.display.slots import slot_map

    return slot_map(of).report()


def as_html(of: MemGroup | GroupStats) -> str:
    """What Jupyter shows: the same as one element of HTML that needs nothing else."""
    from memgroup.display.html import write
    from memgroup.display.slots import slot_map

    return write(slot_map(of))
