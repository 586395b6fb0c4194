"""Count the instructions of the hot paths of both faces. Needs valgrind.

    pip install . && python benches/python/instructions.py     a table: what each call costs
    python benches/python/instructions.py --json FILE          the same, kept in a file
    python benches/python/instructions.py --against FILE       fails if a call costs 1 % more than in the file
    python benches/python/instructions.py --parts              alloc and bytearray, by who executes them

Each call is made under callgrind many times and then twice as many times; the difference is what the calls
cost, whatever else the interpreter does. Counts do not depend on how busy the machine is. The Rust works are
the example `instructions` of the crate, which is built first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALLOWED = 1.01
"""How many times as many instructions a call may cost as in the file that it is compared with."""

PRELUDE = """
import array, collections, operator, sys
from itertools import repeat
import memgroup

CALLS = int(sys.argv[1])
group = memgroup.MemGroup(base=1 << 28)
block = group.alloc(64)
"""


@dataclass(frozen=True)
class Work:
    """What is counted.

    Attributes:
        name: Its name in the table.
        program: Python code behind the prelude, or the name of a work of the example in Rust.
        calls: The number of calls in the first run; the second run makes twice as many.
        python: Whether it is Python code.
    """

    name: str
    program: str
    calls: int = 100_000
    python: bool = True

    def command(self, calls: int) -> list[str]:
        """Return the command that makes so many calls."""
        if self.python:
            return [sys.executable, "-c", PRELUDE + self.program, str(calls)]
        return [str(target() / "release/examples/instructions"), self.program, str(calls)]


def loop(call: str) -> str:
    """Return code that draws from an iterator, in C."""
    return f"collections.deque({call}, maxlen=0)"


SIZES = """
sizes = array.array("q", range(16, 516)) * 2000
for _ in range(CALLS):
    group.alloc_many(sizes)
    group.reset()
"""
ALLOC = Work("`g.alloc(64)` and its death", loop("map(group.alloc, repeat(64, CALLS))"))
BYTEARRAY = Work("`bytearray(64)` and its death, for comparison", loop("map(bytearray, repeat(64, CALLS))"))
WORKS = (
    ALLOC,
    BYTEARRAY,
    Work(
        "`p.alloc()` of a pool and its death",
        "from itertools import starmap\npool = group.pool(64)\n"
        + loop("starmap(pool.alloc, repeat((), CALLS))"),
    ),
    Work("`g.alloc_many(sizes)` of a million, and `g.reset()`", SIZES, calls=2),
    Work(
        "`g.protect(b)` and `g.unprotect`",
        loop("map(group.unprotect, map(group.protect, repeat(block, CALLS)))"),
    ),
    Work("`b[5]`", loop("map(operator.getitem, repeat(block, CALLS), repeat(5))")),
    Work(
        "`b[5:20]` and its death", loop("map(operator.getitem, repeat(block, CALLS), repeat(slice(5, 20)))")
    ),
    Work("Rust: shared group, `alloc(64)`", "shared", python=False),
    Work("Rust: owner handle, `alloc(64)`", "owner", python=False),
    Work("Rust: pool, `alloc` and its end", "pool", python=False),
    Work("Rust: owner handle of a pool, `alloc` and its end", "pool-owner", python=False),
)

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


def target() -> Path:
    """Return where cargo builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def callgrind(command: list[str], out: Path) -> None:
    """Run a command under callgrind, whose figures go to `out`."""
    counted = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command]
    subprocess.run(counted, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "0"})


def instructions(work: Work) -> float:
    """Return the instructions of one call."""
    with tempfile.TemporaryDirectory() as folder:
        totals: list[int] = []
        for calls in (work.calls, 2 * work.calls):
            out = Path(folder) / str(calls)
            callgrind(work.command(calls), out)
            found = re.search(r"^totals: (\d+)$", out.read_text(), flags=re.MULTILINE)
            if found is None:
                sys.exit(f"callgrind wrote no total for {work.name}")
            totals.append(int(found[1]))
    return (totals[1] - totals[0]) / work.calls


def by_part(work: Work) -> dict[str, float]:
    """Return the instructions of one call by the part that executes them."""
    with tempfile.TemporaryDirectory() as folder:
        once, twice = (listed(work, calls, Path(folder)) for calls in (work.calls, 2 * work.calls))
    return {part: (twice[part] - once[part]) / work.calls for part in twice}


def listed(work: Work, calls: int, folder: Path) -> Counter[str]:
    """Return the instructions of so many calls and everything around them, by part."""
    out = folder / str(calls)
    callgrind(work.command(calls), out)
    listing = subprocess.run(
        ["callgrind_annotate", "--threshold=100", str(out)], check=True, capture_output=True, text=True
    ).stdout
    counts: Counter[str] = Counter()
    for line in listing.splitlines():
        match = LINE.match(line)
        if match and ":" in match[2]:
            # The file name before the colon may contain any character.
            where = match[2].split(":", 1)[1]
            part = next((part for part, pattern in PARTS.items() if re.search(pattern, where)), "the rest")
            counts[part] += int(match[1].replace(",", ""))
    return counts


def print_parts() -> None:
    """Print a Markdown table of alloc beside bytearray."""
    alloc, peer = by_part(ALLOC), by_part(BYTEARRAY)
    print("| instructions per call | `g.alloc(64)` | `bytearray(64)` |\n| --- | ---: | ---: |")
    for part in [*PARTS, "the rest"]:
        print(f"| {part} | {alloc.get(part, 0):.0f} | {peer.get(part, 0):.0f} |")
    print(f"| **all** | **{sum(alloc.values()):.0f}** | **{sum(peer.values()):.0f}** |")


def print_totals(counts: dict[str, float], before: dict[str, float]) -> list[str]:
    """Print a Markdown table; return the works that cost more than allowed."""
    print("| instructions per call | before | now | |\n| --- | ---: | ---: | ---: |")
    dearer: list[str] = []
    for name, count in counts.items():
        old = before.get(name)
        change = f"{count / old - 1:+.2%}" if old else ""
        print(f"| {name} | {'' if old is None else f'{old:,.1f}'} | {count:,.1f} | {change} |")
        if old and count > ALLOWED * old:
            dearer.append(name)
    return dearer


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", action="store_true", help="alloc and bytearray, by who executes them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there, too")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with counts that --json wrote")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("this needs valgrind: install it (Debian: apt install valgrind)")
    if options.parts:
        print_parts()
        return
    build = ["cargo", "build", "--quiet", "--release", "--example", "instructions"]
    subprocess.run(build, cwd=ROOT, check=True)
    counts = {work.name: instructions(work) for work in WORKS}
    dearer = print_totals(counts, json.loads(options.against.read_text()) if options.against else {})
    if options.json:
        options.json.write_text(json.dumps(counts, indent=1) + "\n")
    if dearer:
        sys.exit("more than 1 % dearer: " + ", ".join(dearer))


if __name__ == "__main__":
    main()
