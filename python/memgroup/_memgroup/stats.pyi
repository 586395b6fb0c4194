"""The figures of a group."""

from typing import Any, final

from rich.console import RenderableType

@final
class SlotStats:
    """One slot of a group."""

    @property
    def index(self) -> int:
        """Number of the slot; it holds `base << index` bytes."""
    @property
    def capacity(self) -> int:
        """Bytes it can hold."""
    @property
    def allocated(self) -> int:
        """Bytes handed out, including gaps between blocks."""
    @property
    def committed(self) -> int:
        """Bytes accounted for as memory in use."""
    @property
    def huge(self) -> int:
        """Committed bytes that are in huge pages."""
    @property
    def mapped(self) -> int:
        """Address space of its mirrors, in bytes."""
    @property
    def protected(self) -> int:
        """Bytes that `protect` has handed out; bytes that were protected twice count twice."""
    @property
    def receivers(self) -> int:
        """Sockets over which `send` has sent the slot to a process that has not released it."""
    def as_dict(self) -> dict[str, int]:
        """Return the same as a dict, for JSON."""

@final
class GroupStats:
    """A group. All figures but `slots`, `blocks` and `exports` are bytes. An ended group has no slots."""

    @property
    def slots(self) -> tuple[SlotStats, ...]:
        """The open slots, smallest first; in a forked child, followed by those of its parent.

        The slots of arrays that numpy allocated within `numpy()` come last.
        """
    @property
    def requested(self) -> int:
        """Bytes that were requested."""
    @property
    def allocated(self) -> int:
        """Bytes that were handed out: `requested` and the gaps for alignment."""
    @property
    def committed(self) -> int:
        """Bytes accounted for as memory in use, which `limit` limits."""
    @property
    def huge(self) -> int:
        """Committed bytes that are in huge pages."""
    @property
    def huge_obstacle(self) -> str | None:
        """Why not more of them are in huge pages; None if only sizes prevented it."""
    @property
    def mapped(self) -> int:
        """Address space taken by the mirrors."""
    @property
    def protected(self) -> int:
        """Bytes that `protect` has handed out since the group was made or reset.

        Bytes that were protected twice count twice.
        """
    @property
    def blocks(self) -> int:
        """How many blocks were allocated since the group was made or reset."""
    @property
    def exports(self) -> int:
        """How many views (live buffer exports) there are."""
    @property
    def held(self) -> int:
        """Committed bytes in slots that a reset or the end has set aside until their exporters die."""
    @property
    def borrowed(self) -> int:
        """Bytes of other objects that the group shows, see `borrow`. No other figure includes them."""
    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dict of numbers and, under `"slots"`, dicts; for JSON."""
    def __rich__(self) -> RenderableType:
        """Return a map of the slots for rich."""
    def _repr_html_(self) -> str:
        """Return a map of the slots for Jupyter."""
