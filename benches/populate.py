"""What a fresh page of 4 KiB costs a memfd by each way to get it, in processor time.

    python benches/populate.py

Every way makes the file, maps it twice as a group does, writes to each page, and gives all back. The ways
take turns; a figure is the middle one. Only a file that is not sealed yet can be written to through its
descriptor.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from statistics import median
from time import process_time

PAGE = 4096
POPULATE_READ, POPULATE_WRITE = 22, 23
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | 0x10  # writing from now on
SIZES = (16 << 10, 256 << 10, 2 << 20, 64 << 20)
PASSES = 9
BYTES = 64 << 20
"""How much each measurement gets in all."""

ZEROS = memoryview(bytes(64 << 10))

Before = Callable[[int, int], object]
"""What is done to a file of a size before it is sealed."""


def write_zeros(file: int, size: int) -> None:
    """Write through the descriptor."""
    for start in range(0, size, len(ZEROS)):
        os.pwrite(file, ZEROS[: size - start], start)


WAYS: dict[str, tuple[Before, int]] = {
    "populate": (lambda file, size: None, POPULATE_WRITE),
    "fallocate, populate": (lambda file, size: os.posix_fallocate(file, 0, size), POPULATE_WRITE),
    "pwrite, map": (write_zeros, POPULATE_READ),
}


def seconds(size: int, before: Before, advice: int) -> float:
    """Return the processor time of one page, of all rounds."""
    rounds = max(1, BYTES // size)
    start = process_time()
    for _ in range(rounds):
        file = os.memfd_create("populate", os.MFD_ALLOW_SEALING)
        os.ftruncate(file, size)
        before(file, size)
        with mmap.mmap(file, size) as memory:
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
            with mmap.mmap(file, size, prot=mmap.PROT_READ) as mirror:
                os.close(file)
                memory.madvise(advice)
                for at in range(0, size, PAGE):
                    memory[at] = 1
                mirror.madvise(POPULATE_READ)
    return (process_time() - start) / (rounds * size // PAGE)


def main() -> None:
    """Measure and print a table."""
    print("| KiB | " + " | ".join(WAYS) + " |")
    for size in SIZES:
        found = [[seconds(size, *way) for way in WAYS.values()] for _ in range(PASSES)]
        cells = [f"{1e6 * median(column):.2f} µs" for column in zip(*found, strict=True)]
        print(f"| {size >> 10:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
