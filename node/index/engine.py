"""The one way to the database: many readers, one writer at a time, every transaction explicit."""

from __future__ import annotations

import sqlite3
import threading
import time
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
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from node.errors import IndexCorrupt, IndexRefused, IndexUnavailable
from node.index import schema
from node.index.witness import COMPANIONS, Witness
from node.logs import get_logger

_log = get_logger(__name__)

# https://sqlite.org/pragma.html: FULL syncs the log at every commit; NORMAL may lose the newest commits, and
# at a power loss whole new tables. OFF is for objects.durability = "none", which promises nothing anyway.
Synchronous = Literal["FULL", "OFF"]

# What a statement itself is guilty of: the same rows will fail again, on a healthy disk too (PEP 249).
_REFUSED: Final = (IntegrityError, DataError, ProgrammingError, InterfaceError, NotSupportedError)
_SCHEMA: Final = "schema"  # the keys in meta
_COMMITS: Final = "commits"
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_COUNT_COMMIT: Final = (
    f"INSERT INTO meta (key, value) VALUES ('{_COMMITS}', ?) "
    "ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER) + 1, CAST(excluded.value AS INTEGER)) "
    "RETURNING value"
)

# PRAGMA quick_check reads the whole file. Measured with 1,000,000 instances (680 MB): 2.1 s from the page cache,
# 26 s from a disk. A start waits no longer than this for it.
_CHECK_SECONDS: Final = 2.0
_CHECK_STEPS: Final = 20_000  # of SQLite's virtual machine, between two looks at the clock


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
        self._witness: Witness | None = None
        self._known_commit = 0
        if self.url.get_backend_name() == "sqlite":
            if self.url.database:
                self._witness = Witness(Path(self.url.database))
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

    def examine(self, seconds: float = _CHECK_SECONDS) -> None:
        """Raise ``IndexCorrupt`` for an SQLite index that is damaged, as far as ``seconds`` allow to look.

        What is not seen in that time is met when it is read: it is noted then, and the next start knows.
        """
        if self._witness is None or not Path(str(self.url.database)).exists():
            return
        met = self._witness.damage()
        if met is not None:
            raise IndexCorrupt(met)
        with self._translated(), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            deadline = time.monotonic() + seconds
            raw.set_progress_handler(lambda: time.monotonic() > deadline, _CHECK_STEPS)
            try:
                found = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
            except sqlite3.Error as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise DBAPIError("PRAGMA quick_check", None, error) from error
                found = "ok"
                _log.info("index_checked_in_part", seconds=seconds)
            finally:
                raw.set_progress_handler(None, 0)
        if found != "ok":
            raise self._corrupt(f"index {self.url.render_as_string()}: {found}")

    def create(self) -> None:
        """Make the tables of an empty index, bring those of an older one forward, in one transaction.

        Raises ``IndexUnavailable`` for an index of a newer version, and leaves it as it is. An index that has
        lost its newest commits gets the mark of a rebuild (index.rebuild.unfinished).
        """
        if self._witness is not None:
            self._known_commit = self._witness.open()
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
            self._check_tables(connection)
            if found is not None:
                self._compare_commits(connection)

    def _check_tables(self, connection: sa.Connection) -> None:
        """Raise ``IndexCorrupt`` when a table or a column is not there: ``quick_check`` misses none."""
        if self._witness is None:
            return
        for table in schema.metadata.sorted_tables:
            try:
                connection.execute(sa.select(table).limit(0))
            except OperationalError as error:
                if getattr(error.orig, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
                    raise
                raise self._corrupt(f"index {self.url.render_as_string()}: {error.orig}") from error

    def _compare_commits(self, connection: sa.Connection) -> None:
        """Have the index made anew when the witness knows of commits that it has not."""
        newest = connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.key == _COMMITS))
        if newest is None or int(newest) >= self._known_commit:
            return
        lost = self._known_commit - int(newest)
        _log.error("index_lost_commits", count=lost, hint="It is made anew from the stored objects.")
        connection.exec_driver_sql(
            "INSERT INTO meta (key, value) VALUES (?, '[]') ON CONFLICT DO NOTHING", (schema.REBUILDING,)
        )
        awaiting = sa.delete(schema.meta).where(schema.meta.c.key == schema.AWAITING_VERSIONS)
        connection.execute(awaiting)  # not only versions are missing now
        # Objects are missing too, so a rebuild that lacked only the versions begins again.
        connection.exec_driver_sql("DELETE FROM meta WHERE key = ?", (schema.AWAITING_VERSIONS,))

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
            number = 0
            with connection.begin():
                yield connection
                if self._witness is not None and self._witness.watching:
                    number = self._count(connection)
            if number and self._witness is not None:
                self._known_commit = number
                self._witness.committed(number)

    def _count(self, connection: sa.Connection) -> int:
        """The number of the commit that is about to be made."""
        # str: the column is text, and SQLite would tell an integer from it
        found = connection.exec_driver_sql(_COUNT_COMMIT, (str(self._known_commit + 1),)).scalar_one()
        return int(found)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            kind, what = _kind(error), f"index {self.url.render_as_string()}: {error.orig}"
            raise (self._corrupt(what) if kind is IndexCorrupt else kind(what)) from error
        except PoolTimeout as error:
            raise IndexUnavailable(
                f"index {self.url.render_as_string()}: every connection is busy"
            ) from error

    def _corrupt(self, what: str) -> IndexCorrupt:
        """The error to raise for damage; it is noted for ``damage`` and the next start."""
        if self._witness is not None:
            self._witness.damage_met(what)
        return IndexCorrupt(what)

    def damage(self) -> str | None:
        """The damage that was met since the index was made and what to do about it, or None."""
        met = None if self._witness is None else self._witness.damage()
        return None if met is None else f"{met}. {IndexCorrupt.hint}"

    def set_aside(self, suffix: str) -> Path:
        """Rename a damaged SQLite index and its log, so that ``create`` makes a new one; returns where it is.

        Raises ``IndexUnavailable`` for other databases: what they need is their own administrator.
        """
        if self.url.get_backend_name() != "sqlite" or not self.url.database:
            raise IndexUnavailable(f"index {self.url.render_as_string()} is damaged")
        self.close()
        path = Path(self.url.database)
        for part in ("", *COMPANIONS):
            source = path.with_name(path.name + part)
            if source.exists():
                source.rename(path.with_name(f"{path.name}.{suffix}{part}"))
        return path.with_name(f"{path.name}.{suffix}")

    def close(self) -> None:
        self._engine.dispose()
        if self._witness is not None:
            self._witness.close()


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
