"""Lines that match, in groups of rows that depend on the lines alone, and not on how they came."""

from __future__ import annotations

from bisect import bisect_left
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Optional, and without types.
pa: Any = import_module("pyarrow")
compute: Any = import_module("pyarrow.compute")

if TYPE_CHECKING:
    from collections.abc import Callable

# A group ends with the line at which it has so many bytes. A line counts as so many more than it has.
_GROUP_BYTES = 4 * 1024 * 1024
_LINE_BYTES = 28


class LineGroups:
    """Takes lines as `search_rows` hands them on; calls `write(paths, indices, *columns)` for each group."""

    def __init__(self, write: Callable[..., None]) -> None:
        """Begin with no line."""
        self._write = write
        self._filled = 0
        self._begin()

    def _begin(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._columns: list[list[Any]] = [[], [], [], []]

    def add(
        self, paths: list[bytes], files: bytes, offsets: bytes, numbers: bytes, ends: bytes, data: bytes
    ) -> None:
        """Add lines."""
        end_of = memoryview(ends).cast("Q")
        count = len(end_of)
        indices = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(files)])
        columns = [_integers(offsets), *_shown(_integers(numbers), ends, data)]

        def nbytes(row: int) -> int:
            """Of the rows before this one."""
            return _LINE_BYTES * row + (end_of[row - 1] if row else 0)

        first = 0
        while first < count:
            due = nbytes(first) + _GROUP_BYTES - self._filled
            last = min(bisect_left(range(count + 1), due, first + 1, key=nbytes), count)
            self._keep(paths, indices.slice(first, last - first))
            for kept, column in zip(self._columns[1:], columns, strict=True):
                kept.append(column.slice(first, last - first))
            self._filled += nbytes(last) - nbytes(first)
            first = last
            if self._filled >= _GROUP_BYTES:
                self.finish()

    def finish(self) -> None:
        """Write the lines since the last group."""
        if self._numbers:
            self._write([*self._numbers], *map(pa.concat_arrays, self._columns))
        self._filled = 0
        self._begin()

    def _keep(self, paths: list[bytes], indices: Any) -> None:
        """Keep the numbers of the files of some lines. The numbers in `indices` do not fall."""
        least, most = indices[0].as_py(), indices[-1].as_py()
        known = self._numbers
        numbers = [known.setdefault(path, len(known)) for path in paths[least : most + 1]]
        self._columns[0].append(pa.array(numbers, pa.int32()).take(compute.subtract(indices, least)))


def _integers(column: bytes) -> Any:
    return pa.Array.from_buffers(pa.int64(), len(column) // 8, [None, pa.py_buffer(column)])


def _shown(numbers: Any, ends: bytes, data: bytes) -> tuple[Any, Any]:
    """The columns `line` and `bytes`: null where a binary file matches."""
    begins = pa.py_buffer(bytes(8) + ends)
    content = pa.Array.from_buffers(pa.large_binary(), len(numbers), [None, begins, pa.py_buffer(data)])
    is_shown = compute.greater(numbers, 0)
    return compute.if_else(is_shown, numbers, None), compute.if_else(is_shown, content, None)
