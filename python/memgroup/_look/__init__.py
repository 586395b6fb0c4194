"""What is to be seen of a group: the map of its slots, for terminals, notebooks and files.

`slots` says what there is to show, `html` draws it for notebooks; on a terminal or as text it looks as the
reports of the commands do. The compiled half calls the three functions here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup._look.html import write
from memgroup._look.slots import see

if TYPE_CHECKING:
    from rich.console import RenderableType

    from memgroup import GroupStats, MemGroup

__all__ = ["as_html", "as_rich", "as_text"]


def as_text(of: MemGroup | GroupStats) -> str:
    """What `print` shows: a headline and a table, without colours."""
    from memgroup._plain import as_plain

    return as_plain(see(of).report())


def as_rich(of: MemGroup | GroupStats) -> RenderableType:
    """What rich shows: the same, with colours and fitted to the terminal."""
    from memgroup._terminal import drawn

    return drawn(see(of).report())


def as_html(of: MemGroup | GroupStats) -> str:
    """What Jupyter shows: the same as one element of HTML that needs nothing else."""
    return write(see(of))
