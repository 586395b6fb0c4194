"""A million rows of PostgreSQL as an Arrow table, by COPY and by queries."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from model import Measure, Peer, Scale, UnavailableError, Work
from optional import module
from timing import on_all_cpus

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tests"))

from support.pages import fenced  # noqa: E402
from support.postgres import MissingError, postgres_server  # noqa: E402

ROWS = 1_000_000
KINDS = {"n": "int4", "third": "float8", "name": "text"}
QUERY = "SELECT * FROM rows"
CREATE = """CREATE UNLOGGED TABLE rows AS
    SELECT n, CASE WHEN n % 7 > 0 THEN n / 3.0::float8 END AS third, 'name of row ' || n AS name
    FROM generate_series(1, {}) n"""

Select = Callable[[], Any]
"""Gets all rows as an Arrow table."""

_ends = ExitStack()
atexit.register(_ends.close)
"""What ends with the process."""


def page(folder: Path) -> dict[str, Any]:
    """The functions of the page that says how, without what it does with them."""
    os.environ["PGHOST"] = str(folder)
    names: dict[str, Any] = {}
    for _, sample in fenced(ROOT / "docs/howto/postgres.md", "python"):
        exec(sample, names)
    names["sock"].close()
    return names


def memgroup(folder: Path) -> Select:
    """Receive the rows of COPY into one list."""
    names = page(folder)
    group, sock = names["group"], names["connect"](folder)
    messages = group.frames(sock, **names["PRESETS"]["postgres"])
    names["answers"](messages)

    def select() -> Any:
        rows = names["receive_rows"](sock, messages, QUERY)
        table = names["table"](rows, **KINDS)
        del rows
        group.reset()
        return table

    return select


def psycopg_copy(folder: Path) -> Select:
    """Join the rows of COPY, and make columns of them as the page does."""
    names, np, pa = page(folder), module("numpy"), module("pyarrow")
    connection = module("psycopg").connect(host=str(folder), user="postgres", autocommit=True)

    def select() -> Any:
        with connection.cursor().copy(f"COPY ({QUERY}) TO STDOUT (FORMAT binary)") as copy:
            rows = list(copy)[:-1]
        at = np.zeros(len(rows) + 1, "i8")
        np.cumsum(np.fromiter(map(len, rows), "i8", len(rows)), out=at[1:])
        return pa.table(names["columns"](np.frombuffer(b"".join(rows), "u1"), at[:-1] + 2, KINDS))

    return select


def psycopg_rows(folder: Path) -> Select:
    """Have Python objects made of the rows of a query."""
    pa = module("pyarrow")
    connection = module("psycopg").connect(host=str(folder), user="postgres", autocommit=True)

    def select() -> Any:
        rows = connection.cursor(binary=True).execute(QUERY).fetchall()
        return of_columns(pa, zip(*rows, strict=True))

    return select


def asyncpg(folder: Path) -> Select:
    """Have Python objects made of the rows of a query."""
    pa, client = module("pyarrow"), module("asyncpg")
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(
        client.connect(host=str(folder), user="postgres", database="postgres")
    )

    def select() -> Any:
        rows = loop.run_until_complete(connection.fetch(QUERY))
        return of_columns(pa, zip(*rows, strict=True))

    return select


def adbc(folder: Path) -> Select:
    """Have Arrow's own driver read the rows of COPY."""
    driver = module("adbc_driver_postgresql.dbapi")
    connection = driver.connect(f"postgresql://postgres@/postgres?host={folder}")

    def select() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(QUERY)
            return cursor.fetch_arrow_table()

    return select


def of_columns(pa: Any, columns: Any) -> Any:
    """Make a table of sequences of Python objects."""
    types = (pa.int32(), pa.float64(), pa.large_utf8())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.table(dict(zip(KINDS, arrays, strict=True)))


def measured(prepare: Callable[[Path], Select], scale: Scale) -> Measure:
    """Prepare to get all rows from a server of this process's own."""
    count = scale.of(ROWS)
    for name in ("pyarrow", "numpy"):
        module(name)
    psycopg = module("psycopg")
    try:
        with on_all_cpus():  # the server runs beside the client
            folder = _ends.enter_context(postgres_server())
    except MissingError as missing:
        raise UnavailableError(str(missing)) from missing
    with psycopg.connect(host=str(folder), user="postgres", autocommit=True) as connection:
        connection.execute(CREATE.format(count))
    select = prepare(folder)

    def measure() -> dict[str, float]:
        start, start_here = perf_counter(), process_time()
        table = select()
        seconds, here = perf_counter() - start, process_time() - start_here
        last = table.slice(count - 1).to_pylist()
        if table.num_rows != count or last[0]["name"] != f"name of row {count}":
            raise RuntimeError(f"these are not the {count} rows: {last}")
        return {"time": seconds / count, "processor": here / count}

    return measure


PEERS = (
    ("memgroup-copy", "table(messages.until(b'Z'), n='int4', …)", memgroup),
    ("psycopg-copy", "b''.join(copy), the same columns", psycopg_copy),
    ("psycopg-rows", "pa.array(column) of cursor.fetchall()", psycopg_rows),
    ("asyncpg", "pa.array(column) of connection.fetch(query)", asyncpg),
    ("adbc", "cursor.fetch_arrow_table()", adbc),
)

WORKS = (
    Work(
        "postgres-copy",
        "1,000,000 rows of PostgreSQL (an integer, a float, a text) as an Arrow table",
        "row",
        tuple(Peer(name, code, partial(measured, prepare)) for name, code, prepare in PEERS),
        units={"time": "s", "processor": "s"},
        values=2,
        passes=3,
    ),
)
