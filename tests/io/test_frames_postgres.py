"""Rows of a PostgreSQL server by COPY, as the how-to page makes a table of them, beside other clients."""

from __future__ import annotations

import asyncio
import os
import socket
from types import SimpleNamespace

import pytest
from memgroup.frames import PRESETS
from support.pages import ROOT, fenced

pa = pytest.importorskip("pyarrow")
psycopg = pytest.importorskip("psycopg")

NAMES = {"n": "int4", "big": "int8", "third": "float8", "name": "text", "blob": "text"}
QUERY = """
    SELECT n, n * 1000000007::int8 AS big, CASE WHEN n % 7 > 0 THEN n / 3.0::float8 END AS third,
           CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'Zürich ' || n END AS name,
           repeat('x', CASE WHEN n % 5000 = 0 THEN 3000000 ELSE n % 50 END) AS blob
    FROM generate_series(1, {}) n
"""


@pytest.fixture
def page(postgres, monkeypatch):
    """The names of the page, after its program has run."""
    monkeypatch.setenv("PGHOST", str(postgres))
    names = {}
    for _, sample in fenced(ROOT / "docs/howto/postgres.md", "python"):
        exec(sample, names)
    page = SimpleNamespace(**names)
    page.sock = page.connect(postgres)
    page.messages = page.group.frames(page.sock, **PRESETS["postgres"])
    assert page.answers(page.messages)
    yield page
    page.sock.close()


def receive(page, query):
    return page.table(page.receive_rows(page.sock, page.messages, query), **NAMES)


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_a_table_is_what_psycopg_copies_and_selects(page, postgres, count):
    query = QUERY.format(count)
    found = receive(page, query)
    with psycopg.connect(host=str(postgres), user="postgres", dbname="postgres") as connection:
        with connection.cursor(binary=True) as cursor:
            selected = cursor.execute(query).fetchall()
        with connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "int8", "float8", "text", "text"])
            copied = list(copy.rows())
    assert [tuple(row.values()) for row in found.to_pylist()] == selected == copied


def test_a_table_is_what_asyncpg_fetches(page, postgres):
    asyncpg = pytest.importorskip("asyncpg")

    async def fetch(query):
        connection = await asyncpg.connect(host=str(postgres), user="postgres", database="postgres")
        try:
            return [tuple(record) for record in await connection.fetch(query)]
        finally:
            await connection.close()

    query = QUERY.format(5000)
    assert [tuple(row.values()) for row in receive(page, query).to_pylist()] == asyncio.run(fetch(query))


def test_an_error_leaves_the_connection_usable(page):
    with pytest.raises(RuntimeError, match="division by zero"):
        receive(page, "SELECT 1 / 0, 1::int8, 1::float8, '', ''")
    assert receive(page, "SELECT 1, 2::int8, 3::float8, 'a', 'b'").to_pylist() == [
        {"n": 1, "big": 2, "third": 3.0, "name": "a", "blob": "b"}
    ]


def test_two_clients_take_turns_on_one_connection(page, postgres):
    query = QUERY.format(1000)
    with psycopg.connect(
        host=str(postgres), user="postgres", dbname="postgres", autocommit=True, sslmode="disable"
    ) as connection:
        for _ in range(2):
            selected = connection.execute(query).fetchall()
            with socket.socket(fileno=os.dup(connection.pgconn.socket)) as sock:
                sock.settimeout(60)
                messages = page.group.frames(sock, **PRESETS["postgres"])
                found = page.table(page.receive_rows(sock, messages, query), **NAMES)
            assert [tuple(row.values()) for row in found.to_pylist()] == selected
