"""Memory reused from earlier groups of this process."""

from typing import SupportsIndex, final

@final
class WarmMemory:
    """The memory of ended groups that this process keeps for later groups."""

    @property
    def limit(self) -> int:
        """The most bytes that are kept, as `set_warm_limit` sets it."""
    @property
    def committed(self) -> int:
        """Bytes kept: the committed part of the slots."""
    @property
    def slots(self) -> int:
        """How many slots are kept."""
    @property
    def handles(self) -> int:
        """How many dead `MemBlock` objects are kept, of 72 bytes each, in pieces of 2 MiB without a live one.

        They are not counted in `committed`; but for one piece, they take at most a quarter of the limit.
        """
    def as_dict(self) -> dict[str, int]:
        """Return the same as a dict, for JSON."""

def warm_memory() -> WarmMemory:
    """Return the figures of the memory that this process keeps for later groups."""

def set_warm_limit(bytes: SupportsIndex) -> None:  # noqa: A002  # what it counts, as in the Rust face
    """Set the most bytes that are kept warm for the next groups; 0 keeps none.

    Memory above the limit returns to the kernel at once, the oldest first. The Python objects of dead blocks
    are kept, too, up to a quarter of the limit. The limit starts as the environment variable
    MEMGROUP_WARM_LIMIT says, otherwise as 256 MiB or a sixteenth of the memory that the machine and its
    cgroups allow, whichever is less.

    Args:
        bytes: The limit.

    Raises:
        TypeError: `bytes` is no integer.
        ValueError: It is negative.
    """

def prewarm(bytes: SupportsIndex, *, background: bool = False) -> None:  # noqa: A002  # as in set_warm_limit
    """Fill the warm memory, so that the next groups have no page faults.

    It serves groups with the default `base`. Memory that is kept already may be freed to make room.

    Args:
        bytes: How many, at most the limit of `set_warm_limit`.
        background: Whether a thread does it while the caller continues. If the machine has less memory, less
            becomes warm, and no error is raised.

    Raises:
        MemoryError: The machine has less memory. All that it had is warm.
        OSError: No thread can be started.
        TypeError: `bytes` is no integer, or `background` no bool.
        ValueError: `bytes` is negative or more than the limit.
    """
