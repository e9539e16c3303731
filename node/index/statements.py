"""Statements that are run for each object: compiled once, then given to the driver with plain tuples.

SQLAlchemy takes a dictionary for each row, and makes of it the tuple that the driver wants: that costs as much as
the insert itself. Its errors, transactions and dialects stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa


class RowInsert:
    """Inserts rows that have a value for every column of ``table``, in the order of its columns.

    The driver gets the values as they are: text, numbers, bytes and None.
    """

    def __init__(self, table: sa.Table) -> None:
        self._statement = sa.insert(table)
        self._columns = tuple(column.name for column in table.columns)
        self._compiled: dict[
            str, tuple[str, bool]
        ] = {}  # by dialect: the statement, and whether it takes tuples

    def run(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert ``rows``, of which there is one at least."""
        dialect = connection.dialect
        known = self._compiled.get(dialect.name)
        if known is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
            assert compiled.positiontup is None or tuple(compiled.positiontup) == self._columns
            known = self._compiled[dialect.name] = str(compiled), compiled.positional
        statement, positional = known
        values: Any = rows if positional else [dict(zip(self._columns, row, strict=True)) for row in rows]
        connection.exec_driver_sql(statement, values)
