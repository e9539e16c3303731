"""Rows go to the driver as they are, under each dialect's way to mark parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from node.errors import IndexRefused
from node.index import schema
from node.index.engine import Engine
from node.index.statements import RowInsert

COLUMNS = tuple(column.name for column in schema.quarantine.columns)
ROW = (7, "duplicate", "1.2", None, None, None, "same", "CT1", 1.5, None, None, None)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(f"sqlite:///{tmp_path / 'index.db'}", "OFF")
    engine.create()
    yield engine
    engine.close()


def test_rows_are_inserted(engine: Engine) -> None:
    insert = RowInsert(schema.quarantine)
    with engine.write() as connection:
        insert.run(connection, [ROW, (8, *ROW[1:])])
        insert.run(connection, [(9, *ROW[1:])])
    with engine.read() as connection:
        found = connection.execute(sa.select(schema.quarantine).order_by(schema.quarantine.c.id)).all()
    assert [tuple(row) for row in found] == [ROW, (8, *ROW[1:]), (9, *ROW[1:])]


@pytest.mark.parametrize(
    "rows", [[ROW, ROW], [(7, None, *ROW[2:])], [ROW[1:]]], ids=("twice", "null", "too short")
)
def test_what_the_database_refuses_is_told_as_ever(engine: Engine, rows: list[tuple[Any, ...]]) -> None:
    with pytest.raises(IndexRefused), engine.write() as connection:
        RowInsert(schema.quarantine).run(connection, rows)


class _Connection:
    """Of a database that is not here."""

    def __init__(self, dialect: sa.engine.Dialect) -> None:
        self.dialect = dialect
        self.executed: list[tuple[str, Any]] = []

    def exec_driver_sql(self, statement: str, values: Any) -> None:
        self.executed.append((statement, values))


@pytest.mark.parametrize(
    ("driver", "marks", "values"),
    [
        ("sqlite", ["?"] * len(COLUMNS), ROW),
        (
            "postgresql+psycopg",
            [f"%({name})s" for name in COLUMNS],
            dict(zip(COLUMNS, ROW, strict=True)),
        ),
        ("postgresql+asyncpg", [f"${number}" for number in range(1, len(COLUMNS) + 1)], ROW),
    ],
)
def test_each_driver_gets_what_it_takes(driver: str, marks: list[str], values: Any) -> None:
    dialect = sa.make_url(f"{driver}://").get_dialect()()
    insert, connection = RowInsert(schema.quarantine), _Connection(dialect)
    for _ in range(2):
        insert.run(connection, [ROW])  # type: ignore[arg-type]
    (first, again) = connection.executed
    statement, given = first
    assert first == again
    assert given == [values]
    plain = "".join(statement.split()).replace("::", ",")  # asyncpg's parameters say their type
    assert all(mark in plain for mark in marks)
    assert f"quarantine({','.join(COLUMNS)})" in plain
