"""Pickling with large buffers and objects of groups out of band."""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Callable
from multiprocessing import reduction
from pickle import PickleBuffer
from typing import Any

from memgroup._memgroup import MemBlock, MemList

PROTOCOL = 5

# Buffers of fewer bytes travel within the pickle, and pickles of fewer through a pipe or a socket: while that
# has room, a copy takes less time than an announcement.
SMALL = 128 * 1024

# What is copied to shared memory begins at a multiple of so many bytes, as Arrow and processors like it.
ALIGN = 64

# Results of fewer bytes travel through the pipe, together with what the pool adds. The kernel writes so much
# all at once: the parent would wait for ever for the rest of a result whose worker was killed in between.
ATOMIC = select.PIPE_BUF - 1024

# What holds nothing else.
PLAIN = frozenset({bool, bytes, complex, float, int, str, type(None)})

Reduce = Callable[[Any], Any]


class LargeBuffers(list[memoryview]):
    """The buffers that travel out of band."""

    def take(self, buffer: PickleBuffer) -> bool:
        """Return whether a buffer stays in the pickle."""
        raw = buffer.raw()
        if raw.nbytes < SMALL:
            return True
        self.append(raw)
        return False


def is_plain(obj: Any, size: int) -> bool:
    """Return whether an object holds nothing else, and is pickled to fewer bytes than twice `size`."""
    return type(obj) in PLAIN and sys.getsizeof(obj) < size


def dumps(obj: Any, large: LargeBuffers, reduce: Reduce) -> bytes:
    """Pickle as `multiprocessing` does, but for large buffers and what `reduce` makes of groups' objects."""
    file = io.BytesIO()
    pickler = reduction.ForkingPickler(file, PROTOCOL, True, large.take)
    kinds: list[type] = [MemBlock, MemList, memoryview]
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None:
        kinds.append(array)
    # A dictionary: most objects have no entry, and the pickler finds that out for each of them.
    table: Any = {**pickler.dispatch_table, **dict.fromkeys(kinds, reduce)}
    pickler.dispatch_table = table
    pickler.dump(obj)
    return file.getvalue()
