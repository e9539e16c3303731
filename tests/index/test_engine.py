"""The engine: isolation, rollback, and which error is whose fault."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.errors import IndexCorrupt, IndexRefused, IndexUnavailable
from node.index import schema
from node.index.engine import Engine


def put(connection: sa.Connection, key: str, value: str = "v") -> None:
    connection.execute(sa.insert(schema.meta).values(key=key, value=value))


def keys(engine: Engine) -> set[str]:
    """What is in ``meta``, but for the count of commits, which is always there."""
    with engine.read() as connection:
        return set(connection.scalars(sa.select(schema.meta.c.key))) - {"commits"}


def test_wal_and_full_sync(engine: Engine) -> None:
    with engine.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_without_durability_nothing_is_synced(tmp_path: Path) -> None:
    engine = Engine(f"sqlite:///{tmp_path / 'index.db'}", "OFF")
    with engine.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 0
    engine.close()


def test_create_twice_keeps_what_is_there(engine: Engine) -> None:
    with engine.write() as connection:
        put(connection, "mine")
    engine.create()
    assert keys(engine) == {"schema", "mine"}


def test_a_newer_schema_is_refused_with_what_to_do(engine: Engine) -> None:
    with engine.write() as connection:
        connection.execute(sa.update(schema.meta).values(value=str(schema.SCHEMA_VERSION + 1)))
    with pytest.raises(IndexUnavailable, match=r"run the newer version, or move the index away"):
        engine.create()


def test_an_exception_rolls_back(engine: Engine) -> None:
    def fail() -> None:
        with engine.write() as connection:
            put(connection, "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "half" not in keys(engine)


def test_a_read_is_one_snapshot(engine: Engine) -> None:
    with engine.read() as reading:
        assert reading.scalar(sa.select(sa.func.count()).select_from(schema.meta)) == 2
        with engine.write() as writing:
            put(writing, "later")
        assert reading.scalar(sa.select(sa.func.count()).select_from(schema.meta)) == 2
    assert "later" in keys(engine)


def test_one_writer_at_a_time(engine: Engine) -> None:
    entered, order = threading.Event(), []

    def second() -> None:
        entered.set()
        with engine.write() as connection:
            order.append("second")
            put(connection, "second")

    thread = threading.Thread(target=second)
    with engine.write() as connection:
        thread.start()
        assert entered.wait(10)
        put(connection, "first")
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert {"first", "second"} <= keys(engine)


def test_rows_that_break_a_rule_are_refused_not_unavailable(engine: Engine) -> None:
    def twice() -> None:
        with engine.write() as connection:
            put(connection, "schema")

    with pytest.raises(IndexRefused, match="UNIQUE"):
        twice()
    assert not IndexRefused.retriable


def test_a_lock_is_unavailable_and_passes(engine: Engine, tmp_path: Path) -> None:
    @sa.event.listens_for(engine._engine, "connect")
    def impatient(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=0")

    engine._engine.dispose()
    other = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def write() -> None:
        with engine.write() as connection:
            put(connection, "mine")

    with pytest.raises(IndexUnavailable, match="locked") as raised:
        write()
    assert not isinstance(raised.value, IndexRefused)
    other.execute("COMMIT")
    other.close()
    write()
    assert "mine" in keys(engine)


@pytest.mark.parametrize("content", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_says_so_and_can_be_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(content)
    engine = Engine(f"sqlite:///{path}")
    with pytest.raises(IndexCorrupt) as raised:
        engine.create()
    assert "reindex" in raised.value.hint
    aside = engine.set_aside("damaged")
    assert aside.read_bytes() == content
    engine.create()
    assert keys(engine) == {"schema"}
    engine.close()


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    engine = Engine(f"sqlite:///{tmp_path / 'nowhere' / 'index.db'}")
    with pytest.raises(IndexUnavailable, match="unable to open"):
        engine.create()
    engine.close()
