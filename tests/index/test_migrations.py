"""An older index is brought forward: nothing is lost, and what comes out is what a new index would be."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from hatchling.builders.wheel import WheelBuilder

from node.errors import IndexUnavailable
from node.index import migrations, schema
from node.index.engine import Engine
from node.index.outbox import Outbox
from node.index.studies import Studies
from tests.tools import ROOT

SCHEMA_1 = Path(__file__).with_name("schema_1.sql")
REMADE = {"full_resource"}  # tables whose rows change their shape on the way


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index of schema 1 with rows in every table."""
    made = tmp_path / "old" / "index.db"
    made.parent.mkdir()
    connection = sqlite3.connect(made)
    connection.executescript(SCHEMA_1.read_text())
    connection.close()
    return made


@pytest.fixture
def old(path: Path) -> Iterator[Engine]:
    """An engine over it that was not asked to ``create`` yet."""
    engine = Engine(f"sqlite:///{path}")
    yield engine
    engine.close()


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but Alembic's own, as SQLite has it."""
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found = {
        name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
        for (name,) in tables
        if name not in ("alembic_version", "sqlite_sequence")
    }
    connection.close()
    return found


def shape(engine: Engine) -> dict[str, Any]:
    """All that the database tells of its tables; ``compare_metadata`` does not look at primary keys."""
    with engine.read() as connection:
        inspector = sa.inspect(connection)
        return {
            name: {
                "columns": [
                    {**column, "type": str(column["type"])} for column in inspector.get_columns(name)
                ],
                "key": inspector.get_pk_constraint(name),
                "unique": inspector.get_unique_constraints(name),
                "foreign": inspector.get_foreign_keys(name),
                "indexes": [{**each, "dialect_options": ""} for each in inspector.get_indexes(name)],
            }
            for name in inspector.get_table_names()
            if name != "alembic_version"
        }


def differences(engine: Engine) -> list[Any]:
    with engine.read() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), schema.metadata))


def version(engine: Engine) -> str | None:
    with engine.read() as connection:
        return connection.scalar(sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema"))


def test_the_example_is_of_schema_1_and_has_rows_everywhere(path: Path, old: Engine) -> None:
    found = rows(path)
    assert set(found) == set(schema.metadata.tables)
    assert all(found.values())
    assert version(old) == "1"
    assert differences(old), "this comparison can tell"


def test_an_older_index_becomes_what_a_new_one_is(old: Engine, engine: Engine) -> None:
    old.create()
    assert differences(old) == []
    assert shape(old) == shape(engine)
    assert version(old) == version(engine) == str(schema.SCHEMA_VERSION)


def test_a_new_index_is_what_the_tables_say(engine: Engine) -> None:
    assert differences(engine) == []


def test_nothing_is_lost(path: Path, old: Engine) -> None:
    before = rows(path)
    old.create()
    after = rows(path)
    assert set(after) == set(before)
    for table in set(before) - REMADE - {"meta"}:
        # Columns that later schemas added stand behind the others.
        assert [row[: len(before[table][0])] for row in after[table]] == before[table], table
    assert sorted(after["full_resource"]) == sorted(
        (f"{output}/{study}/{number}", study, output, number, data)
        for study, output, number, data in before["full_resource"]
    )


def test_the_parts_read_what_was_brought_forward(old: Engine) -> None:
    old.create()
    studies, outbox = Studies(old), Outbox(old)
    assert studies.full_resource("1.2.1", "r5", 1) == b"\x7b\x00\xff"
    assert studies.full_resource("1.2.1", "r5", 2) == b'{"full":2}'
    assert studies.full_resource_of("huge/1.2.2/1") == b'{"full":3}'
    assert studies.full_resource("1.2.2", "r5", 1) is None
    assert [study.uid for study in studies.due(1000.0)] == ["1.2.3"]
    assert [record.event.seq for record in outbox.recent(10)] == [4, 5, 9]
    assert [record.event.id for record in outbox.pending(10, 1000)] == ["r5/1.2.1/2"]


def test_numbers_of_events_are_not_used_again(old: Engine) -> None:
    """AUTOINCREMENT's own table: a remade outbox that forgot it would give a sent event's number again."""
    old.create()
    with old.write() as connection:
        connection.execute(sa.delete(schema.outbox).where(schema.outbox.c.seq == 9))
        values = {"output": "r5", "topic": "t", "study": "1.2.3", "version": 1, "created_at": 0.0}
        connection.execute(sa.insert(schema.outbox).values(id="x", attributes=b"{}", data=b"{}", **values))
        assert connection.scalar(sa.select(sa.func.max(schema.outbox.c.seq))) == 10


def test_a_second_start_finds_nothing_to_do(path: Path, old: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    old.create()
    after = rows(path)
    monkeypatch.setattr(migrations, "upgrade", None)
    old.create()
    again = rows(path)
    assert again.pop("meta") != after.pop("meta"), "commits are counted"
    assert again == after


def test_one_that_was_brought_forward_before_is_brought_on(path: Path, old: Engine) -> None:
    """Alembic's own table of an earlier upgrade is in the way of none: ``meta`` decides."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute("INSERT INTO alembic_version VALUES ('1')")
    connection.commit()
    connection.close()
    old.create()
    assert differences(old) == []


def test_a_step_that_fails_changes_nothing(path: Path, old: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash in the middle leaves is the old index: all steps are one transaction."""
    before = rows(path)

    def full(*_given: object, **_more: object) -> None:
        raise sa.exc.OperationalError("ALTER TABLE", {}, sqlite3.OperationalError("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(Operations, "rename_table", full)
        with pytest.raises(IndexUnavailable, match="disk is full"):
            old.create()
    assert rows(path) == before
    assert differences(old)
    old.create()
    assert differences(old) == []


@pytest.mark.parametrize("found", [str(schema.SCHEMA_VERSION + 1), "0", "-1", "two", ""])
def test_a_schema_that_is_not_known_is_refused_and_left(path: Path, old: Engine, found: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = ?", (found,))
    connection.commit()
    connection.close()
    before = rows(path)
    with pytest.raises(IndexUnavailable, match=r"run the newer version, or move the index away"):
        old.create()
    assert rows(path) == before


def test_a_step_that_was_not_installed_is_told(
    old: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(
        Path(str(migrations.__file__)).with_name("env.py").read_text(), encoding="ascii"
    )
    monkeypatch.setattr(migrations, "LOCATION", str(tmp_path))
    with pytest.raises(
        IndexUnavailable, match=r"has schema 1, and there is no way on .* install the node again"
    ):
        old.create()
    assert version(old) == "1"


def test_the_steps_are_one_line_up_to_the_newest_schema(engine: Engine) -> None:
    with engine.read() as connection:
        script = ScriptDirectory.from_config(migrations.configuration(connection))
    steps = [step.revision for step in script.walk_revisions()]
    assert steps == [str(number) for number in range(schema.SCHEMA_VERSION, 0, -1)]


def test_the_steps_are_in_the_wheel() -> None:
    builder = WheelBuilder(str(ROOT))
    shipped = {Path(each.distribution_path) for each in builder.recurse_included_files()}
    folder = Path(str(migrations.__file__)).parent
    assert {path.relative_to(ROOT) for path in folder.rglob("*.py")} <= shipped


def test_a_start_without_an_upgrade_does_not_import_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from node.index.engine import Engine\n"
        f"engine = Engine('sqlite:///{tmp_path / 'index.db'}'); engine.create(); engine.create()\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
