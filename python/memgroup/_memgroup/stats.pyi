"""What a group holds, as plain numbers."""

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
        """Bytes handed out, the gaps between blocks among them."""
    @property
    def committed(self) -> int:
        """Bytes accounted for as memory in use."""
    @property
    def huge(self) -> int:
        """Those of them that are in huge pages."""
    @property
    def mapped(self) -> int:
        """Address space of its mirrors, in bytes."""
    @property
    def protected(self) -> int:
        """Bytes that `protect` has handed out; what was protected twice counts twice."""
    @property
    def receivers(self) -> int:
        """Sockets over which `send` has handed the slot to another process that is not done with it."""
    def as_dict(self) -> dict[str, int]:
        """Return the same as a dict, for JSON."""

@final
class GroupStats:
    """A group. All figures but `slots`, `blocks` and `exports` are bytes. One that has ended has no slots."""

    @property
    def slots(self) -> tuple[SlotStats, ...]:
        """The open slots, smallest first; in a forked child, behind them those of its parent.

        Last come, in the same order, those of what numpy allocated within `numpy()`.
        """
    @property
    def requested(self) -> int:
        """What was asked for."""
    @property
    def allocated(self) -> int:
        """What was handed out: `requested` and the gaps for alignment."""
    @property
    def committed(self) -> int:
        """What is accounted for as memory in use; what `limit` limits."""
    @property
    def huge(self) -> int:
        """What of that is in huge pages."""
    @property
    def huge_obstacle(self) -> str | None:
        """Why no more of it is in huge pages; None if nothing stood in the way but sizes."""
    @property
    def mapped(self) -> int:
        """Address space taken by the mirrors."""
    @property
    def protected(self) -> int:
        """What `protect` has handed out since the group was made or reset.

        What was protected twice counts twice.
        """
    @property
    def blocks(self) -> int:
        """How many blocks were allocated since the group was made or reset."""
    @property
    def exports(self) -> int:
        """How many views (live buffer exports) there are."""
    @property
    def held(self) -> int:
        """What is committed in slots that a reset or the end has set aside, until their exporters die."""
    @property
    def borrowed(self) -> int:
        """What the group shows of other objects' memory; see `borrow`. In no other figure."""
    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dict of numbers and, under `"slots"`, dicts; for JSON."""
    def __rich__(self) -> RenderableType:
        """Return what rich shows: a map of the slots."""
    def _repr_html_(self) -> str:
        """Return what Jupyter shows: a map of the slots."""
