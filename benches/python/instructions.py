"""Count the instructions of `g.alloc(64)` and its death, by who executes them. Needs valgrind.

    python benches/python/instructions.py

Each call is made under callgrind many times and then twice as many times; the difference is what the calls
cost, whatever else the interpreter does. Counts do not depend on how busy the machine is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

CALLS = 100_000

PROGRAM = """
import collections, itertools, sys
import memgroup
group = memgroup.MemGroup(base=1 << 28)
call = {"alloc": group.alloc, "bytearray": bytearray}[sys.argv[1]]
collections.deque(map(call, itertools.repeat(64, int(sys.argv[2]))), maxlen=0)
"""

# The first part whose pattern is found in "function [object file]" gets the instructions.
PARTS = {
    "memgroup": r"_memgroup",
    "the loop around it (map, repeat, deque)": r"map_next|repeat_next|consume_iterator|deque",
    "Python's call of a function or type": r"vectorcall|FunctionResult|MakeTpCall|type_call|Object_Call",
    "arguments put into a tuple": r"[tT]uple|Trash|GC_UnTrack",
    "reading the argument (int to size)": r"PyLong|PyNumber|PyArg|_PyArg|getargs",
    "the object itself (bytearray)": r"bytearray|ByteArray|PyType_GenericNew",
    "memory for objects and bytes": r"[mM]alloc|[cC]alloc|[rR]ealloc|[fF]ree|PyMem|_int_|GenericAlloc",
    "an object's head and references": r"PyObject_Init|NewRef|IncRef|DecRef|_Dealloc|object_init|excess",
    "clearing": r"memset|memcpy|memmove",
}
LINE = re.compile(r"^\s*([\d,]+) \([^)]*\)\s+(.*)$")


def instructions(call: str, calls: int, folder: Path) -> Counter[str]:
    """Instructions by part, of so many calls and everything around them."""
    out = folder / f"{call}-{calls}"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-c", PROGRAM]
    subprocess.run([*command, call, str(calls)], check=True, capture_output=True)
    listing = subprocess.run(
        ["callgrind_annotate", "--threshold=100", str(out)], check=True, capture_output=True, text=True
    ).stdout
    counts: Counter[str] = Counter()
    for line in listing.splitlines():
        match = LINE.match(line)
        if match and ":" in match[2]:
            # The file name before the colon may hold anything.
            where = match[2].split(":", 1)[1]
            part = next((part for part, pattern in PARTS.items() if re.search(pattern, where)), "the rest")
            counts[part] += int(match[1].replace(",", ""))
    return counts


def main() -> None:
    """Print a Markdown table."""
    if not shutil.which("valgrind"):
        sys.exit("this needs valgrind: install it (Debian: apt install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        costs = {}
        for call in ("alloc", "bytearray"):
            once, twice = (instructions(call, calls, Path(folder)) for calls in (CALLS, 2 * CALLS))
            costs[call] = {part: (twice[part] - once[part]) / CALLS for part in twice}
    print("| instructions per call | `g.alloc(64)` | `bytearray(64)` |\n| --- | ---: | ---: |")
    for part in [*PARTS, "the rest"]:
        print(f"| {part} | {costs['alloc'].get(part, 0):.0f} | {costs['bytearray'].get(part, 0):.0f} |")
    print("| **all** |", " | ".join(f"**{sum(cost.values()):.0f}**" for cost in costs.values()), "|")


if __name__ == "__main__":
    main()
