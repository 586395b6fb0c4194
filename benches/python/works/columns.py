"""A million records that are there already, as a column of Arrow."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import memgroup

from model import Measure, Peer, Scale, UnavailableError, Work
from optional import alloc_many_of, module
from works.sizes import mixed

COUNT = 1_000_000


def column(make_from: Callable[[list[int]], Callable[[], Any]]) -> Callable[[Scale], Measure]:
    """Return what prepares a measurement of making a column; letting it go is not timed.

    Args:
        make_from: Called with the sizes of the records; returns what makes the column.
    """

    def prepare(scale: Scale) -> Measure:
        make = make_from(mixed(scale.of(COUNT)))

        def measure() -> dict[str, float]:
            start = perf_counter()
            made = make()
            time = perf_counter() - start
            del made
            return {"time": time}

        return measure

    return prepare


def of_list(make: str) -> Callable[[list[int]], Callable[[], Any]]:
    """Return a maker of a column of a list, by an expression of `found`, `pa` and `pl`."""

    def make_from(sizes: list[int]) -> Callable[[], Any]:
        names = needed(make)
        found = alloc_many_of(memgroup.MemGroup())(sizes)
        if not hasattr(found, "as_arrow"):
            raise UnavailableError("not available: this memgroup has no as_arrow")
        found.fill_from(b"x" * sum(sizes))
        return eval(f"lambda: {make}", {**names, "found": found})

    return make_from


def of_bytes(make: str) -> Callable[[list[int]], Callable[[], Any]]:
    """Return a maker of a column of bytes objects, by an expression of `records`, `pa` and `pl`."""

    def make_from(sizes: list[int]) -> Callable[[], Any]:
        names = needed(make)
        return eval(f"lambda: {make}", {**names, "records": [b"x" * size for size in sizes]})

    return make_from


def needed(expression: str) -> dict[str, Any]:
    """Return the module that an expression needs, by the name that it has there."""
    return {"pa": module("pyarrow")} if "pa." in expression else {"pl": module("polars")}


COLUMN = Work(
    "column-million",
    "1,000,000 records of 16 to 512 bytes, there already, as a column",
    "column",
    (
        Peer("memgroup-pyarrow", "pa.array(found)", column(of_list("pa.array(found)"))),
        Peer(
            "memgroup-polars", "pl.Series(found.as_arrow())", column(of_list("pl.Series(found.as_arrow())"))
        ),
        Peer(
            "memgroup-text",
            'pl.Series(found.as_arrow("string_view")): every byte is looked at',
            column(of_list('pl.Series(found.as_arrow("string_view"))')),
        ),
        Peer(
            "pyarrow-view",
            "pa.array(records, pa.binary_view())",
            column(of_bytes("pa.array(records, pa.binary_view())")),
        ),
        Peer("pyarrow", "pa.array(records) of bytes", column(of_bytes("pa.array(records)"))),
        Peer("polars", "pl.Series(records) of bytes", column(of_bytes("pl.Series(records)"))),
    ),
)

WORKS = (COLUMN,)
