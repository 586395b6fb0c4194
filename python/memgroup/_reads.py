"""The result of `read_files` and `read_ranges`. The compiled module calls `ReadResult._make`."""

from __future__ import annotations

from memgroup._memgroup import MemList

# Importing typing would take longer than all of the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


# A tuple, so that type checkers know the types of what it unpacks as.
class ReadResult(tuple[MemList, dict[int, OSError | EOFError | MemoryError]]):
    """The blocks that `read_files` or `read_ranges` has read, and the errors.

    It is the tuple `(blocks, errors)`, with more attributes.
    """

    _count: int
    _changed: tuple[int, ...]
    _unannounced: tuple[int, ...]
    _abandoned: int

    def __new__(cls, *_arguments: object, **_options: object) -> Self:
        """Refuse: only groups make results."""
        calls = "group.read_files(paths) or group.read_ranges(file, offsets, sizes)"
        raise TypeError(f"a ReadResult is made by a group: use {calls}")

    @classmethod
    def _make(
        cls,
        blocks: MemList,
        errors: dict[int, OSError | EOFError | MemoryError],
        changed: tuple[int, ...],
        unannounced: tuple[int, ...],
        abandoned: int,
    ) -> Self:
        """Make a result. Pickles name this method."""
        result = super().__new__(cls, (blocks, errors))
        result._count = len(blocks)
        result._changed, result._unannounced, result._abandoned = changed, unannounced, abandoned
        return result

    @property
    def blocks(self) -> MemList:
        """A MemList with a block for each file or range, with the bytes that were read."""
        return self[0]

    @property
    def errors(self) -> dict[int, OSError | EOFError | MemoryError]:
        """A dict of exceptions by the number of the file or range that could not be read in full."""
        return self[1]

    @property
    def changed(self) -> tuple[int, ...]:
        """Numbers of the files whose size changed between asking for it and reading.

        They were read whole.
        """
        return self._changed

    @property
    def unannounced(self) -> tuple[int, ...]:
        """Numbers of the files that had content but no size, as in /proc."""
        return self._unannounced

    @property
    def abandoned(self) -> int:
        """Bytes of the group that were allocated and are not used.

        A file or range was not as long as expected.
        """
        return self._abandoned

    def check(self) -> MemList:
        """Return the blocks, if all files or ranges were read.

        Raises:
            ExceptionGroup: Some were not; it holds `errors`.
        """
        if self.errors:
            message = f"{len(self.errors):,} of {self._count:,} could not be read"
            raise ExceptionGroup(message, [*self.errors.values()])
        return self.blocks

    def __repr__(self) -> str:
        """The numbers of blocks and errors."""
        from memgroup.display.text import show_number  # for people alone

        return f"<ReadResult, {show_number(self._count, 'block')}, {show_number(len(self.errors), 'error')}>"

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle and copy."""
        return self._make, (*self, self.changed, self.unannounced, self.abandoned)
