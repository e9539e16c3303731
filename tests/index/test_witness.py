"""What stands beside the index: the number of its newest commit, and the damage that was met."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.errors import IndexCorrupt
from node.index import rebuild, schema
from node.index.engine import Engine
from node.index.witness import Witness


def engine_at(path: Path) -> Engine:
    return Engine(f"sqlite:///{path}")


def write(engine: Engine, key: str) -> None:
    with engine.write() as connection:
        connection.execute(sa.insert(schema.meta).values(key=key, value="v"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


def test_every_commit_is_counted_inside_and_outside(path: Path) -> None:
    engine = engine_at(path)
    engine.create()
    first = Witness(path).open()
    write(engine, "one")
    write(engine, "two")
    assert Witness(path).open() == first + 2
    with engine.read() as connection:
        inside = connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.key == "commits"))
    assert int(inside or 0) == first + 2
    engine.close()


def test_what_was_rolled_back_is_not_counted(path: Path) -> None:
    engine = engine_at(path)
    engine.create()
    before = Witness(path).open()
    with pytest.raises(RuntimeError), engine.write():
        raise RuntimeError
    assert Witness(path).open() == before
    engine.close()


def test_an_older_copy_of_the_index_is_known_as_one(path: Path, tmp_path: Path) -> None:
    """A restored backup, a log that was cut: a valid file that lacks what was committed."""
    engine = engine_at(path)
    engine.create()
    engine.close()
    shutil.copy(path, tmp_path / "copy")
    engine.create()
    write(engine, "newer")
    engine.close()
    shutil.copy(tmp_path / "copy", path)
    engine = engine_at(path)
    engine.create()
    assert rebuild.unfinished(engine)
    rebuild.restore(engine, {}, 9.0)
    engine.close()
    engine = engine_at(path)
    engine.create()
    assert not rebuild.unfinished(engine), "once is enough"
    engine.close()


@pytest.mark.parametrize("content", [b"", b"12", b"no number at all, but long enough"])
def test_a_witness_that_says_nothing_accuses_nobody(path: Path, content: bytes) -> None:
    """After a power loss it may be torn, as it is never synced."""
    engine = engine_at(path)
    engine.create()
    write(engine, "one")
    engine.close()
    path.with_name("index.db-commits").write_bytes(content)
    engine.create()
    assert not rebuild.unfinished(engine)
    engine.close()


def test_a_witness_that_can_not_be_written_keeps_nothing_from_working(path: Path) -> None:
    path.with_name("index.db-commits").mkdir()
    engine = engine_at(path)
    engine.create()
    write(engine, "one")
    engine.close()


def test_damage_that_was_met_is_known_at_the_next_start(path: Path) -> None:
    engine = engine_at(path)
    engine.create()
    engine.examine()
    engine.close()
    with path.open("r+b") as file:
        file.write(b"\xff" * 200)
    with pytest.raises(IndexCorrupt):
        write(engine, "one")
    assert "Restart the node" in str(engine.damage())
    engine.close()
    other = engine_at(path)
    with pytest.raises(IndexCorrupt, match="not a database"):
        other.examine()
    other.set_aside("damaged")
    assert other.damage() is None
    other.examine()
    other.create()
    other.examine()
    other.close()


def test_the_check_takes_no_longer_than_it_may(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not come to is met later; nothing is accused of it."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE large (value BLOB)")
    connection.executemany("INSERT INTO large VALUES (?)", ((bytes(300),) for _ in range(60_000)))
    connection.commit()
    connection.close()
    engine = engine_at(path)
    seen: list[str] = []
    monkeypatch.setattr("node.index.engine._log.info", lambda event, **_: seen.append(event))
    engine.examine(seconds=0.0)
    assert seen == ["index_checked_in_part"]
    engine.examine(seconds=60.0)
    assert seen == ["index_checked_in_part"]
    engine.close()


def test_a_truncated_file_is_damage(path: Path) -> None:
    engine = engine_at(path)
    engine.create()
    engine.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(IndexCorrupt):
        engine.examine()
    engine.close()
