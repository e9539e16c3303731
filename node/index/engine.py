"""The one way to the database: many readers, one writer at a time, every transaction explicit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from node.errors import IndexCorrupt, IndexRefused, IndexUnavailable
from node.index import schema
from node.logs import get_logger

_log = get_logger(__name__)

# https://sqlite.org/pragma.html: FULL syncs the log at every commit; NORMAL may lose the newest commits, and
# at a power loss whole new tables. OFF is for objects.durability = "none", which promises nothing anyway.
Synchronous = Literal["FULL", "OFF"]

# What a statement itself is guilty of: the same rows will fail again, on a healthy disk too (PEP 249).
_REFUSED: Final = (IntegrityError, DataError, ProgrammingError, InterfaceError, NotSupportedError)
_SCHEMA: Final = "schema"  # the key in meta
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Engine:
    """Connections to the index; ``url`` is an SQLAlchemy URL.

    Reads run concurrently on their own snapshot. Writes are serialised here, because SQLite has one writer
    and a queue of threads is fairer than its busy handler.
    """

    def __init__(self, url: str, synchronous: Synchronous = "FULL") -> None:
        self.url = sa.engine.make_url(url)
        self._synchronous = synchronous
        self._write_lock = threading.Lock()
        self._engine = sa.create_engine(self.url, pool_size=8, max_overflow=24, pool_timeout=30)
        if self.url.get_backend_name() == "sqlite":
            sa.event.listen(self._engine, "connect", self._on_sqlite_connect)
            sa.event.listen(self._engine, "begin", self._on_sqlite_begin)

    def _on_sqlite_connect(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={self._synchronous}")
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-16000")
        cursor.close()

    @staticmethod
    def _on_sqlite_begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("node_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    def create(self) -> None:
        """Make the tables of an empty index, bring those of an older one forward, in one transaction.

        Raises ``IndexUnavailable`` for an index of a newer version, and leaves it as it is.
        """
        with self.write() as connection:
            found = _schema_version(connection)
            if found is None:
                schema.metadata.create_all(connection)
                connection.execute(
                    sa.insert(schema.meta).values(key=_SCHEMA, value=str(schema.SCHEMA_VERSION))
                )
            elif not (found.isdecimal() and 1 <= int(found) <= schema.SCHEMA_VERSION):
                raise IndexUnavailable(
                    f"index {self.url.render_as_string()} has schema {found}, this version knows "
                    f"{schema.SCHEMA_VERSION}: run the newer version, or move the index away and reindex"
                )
            elif int(found) < schema.SCHEMA_VERSION:
                from node.index import migrations  # Alembic takes 0.1 s to import: only where it is needed

                migrations.upgrade(connection, int(found))
                connection.execute(
                    sa.update(schema.meta)
                    .where(schema.meta.c.key == _SCHEMA)
                    .values(value=str(schema.SCHEMA_VERSION))
                )
                _log.info("index_upgraded", version=schema.SCHEMA_VERSION, why=f"it had schema {found}")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot; raises ``IndexUnavailable``."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """The only write transaction; commits (synced when FULL) at the end, rolls back on any exception."""
        with self._write_lock, self._translated(), self._engine.connect() as plain:
            connection = plain.execution_options(node_writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _kind(error)(f"index {self.url.render_as_string()}: {error.orig}") from error
        except PoolTimeout as error:
            raise IndexUnavailable(
                f"index {self.url.render_as_string()}: every connection is busy"
            ) from error

    def set_aside(self, suffix: str) -> Path:
        """Rename a damaged SQLite index and its log, so that ``create`` makes a new one; returns where it is.

        Raises ``IndexUnavailable`` for other databases: what they need is their own administrator.
        """
        if self.url.get_backend_name() != "sqlite" or not self.url.database:
            raise IndexUnavailable(f"index {self.url.render_as_string()} is damaged")
        self._engine.dispose()
        path = Path(self.url.database)
        for part in ("", "-wal", "-shm"):
            source = path.with_name(path.name + part)
            if source.exists():
                source.rename(path.with_name(f"{path.name}.{suffix}{part}"))
        return path.with_name(f"{path.name}.{suffix}")

    def close(self) -> None:
        self._engine.dispose()


def _schema_version(connection: sa.Connection) -> str | None:
    """The schema that the index says it has; None when it has no tables yet."""
    if not sa.inspect(connection).has_table(schema.meta.name):
        return None
    query = sa.select(schema.meta.c.value).where(schema.meta.c.key == _SCHEMA)
    found: str | None = connection.scalar(query)
    return found


def _kind(error: DBAPIError) -> type[IndexUnavailable]:
    """Which of the index's errors a driver's error is."""
    # The low byte is the primary result code (https://sqlite.org/rescode.html)
    if (getattr(error.orig, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT:
        return IndexCorrupt
    return IndexRefused if isinstance(error, _REFUSED) else IndexUnavailable
