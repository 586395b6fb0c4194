"""Memory reused from earlier groups of this process."""

from typing import SupportsIndex, final

@final
class WarmMemory:
    """What this process keeps of groups that have ended, for those that come."""

    @property
    def limit(self) -> int:
        """The most bytes that are kept; see `set_warm_limit`."""
    @property
    def committed(self) -> int:
        """Bytes kept: up to where the slots were committed."""
    @property
    def slots(self) -> int:
        """How many slots are kept."""
    @property
    def handles(self) -> int:
        """How many dead `MemBlock` objects are kept, of 72 bytes each.

        They are not counted in `committed`; they take at most a quarter of the limit.
        """
    def as_dict(self) -> dict[str, int]:
        """Return the same as a dict, for JSON."""

def warm_memory() -> WarmMemory:
    """Return what this process keeps of groups that have ended, for those that come."""

def set_warm_limit(bytes: SupportsIndex) -> None:  # noqa: A002  # what it counts, as in the Rust face
    """Set the most bytes that are kept warm for the next groups; 0 keeps none.

    What is more than that goes back to the kernel at once, the oldest first. The objects of dead blocks are
    kept too, for a quarter of the limit. A program begins with the value of the environment variable
    MEMGROUP_WARM_LIMIT, or else with 256 MiB or a sixteenth of the memory that the
    machine and its cgroups allow, whichever is less.

    Args:
        bytes: The limit.

    Raises:
        TypeError: `bytes` is no integer.
        ValueError: It is negative.
    """

def prewarm(bytes: SupportsIndex, *, background: bool = False) -> None:  # noqa: A002  # as in set_warm_limit
    """Fill the warm memory, so that the next groups find memory that costs nothing to touch.

    It serves groups whose `base` is the default. What is already kept may go to make room.

    Args:
        bytes: How many, at most the limit of `set_warm_limit`.
        background: Whether a thread does it while the caller goes on. If the machine has less memory, less
            is warm then, and nobody is told.

    Raises:
        MemoryError: The machine has less. What it had is warm.
        OSError: No thread can be started.
        TypeError: `bytes` is no integer, or `background` no bool.
        ValueError: `bytes` is negative or more than the limit.
    """
