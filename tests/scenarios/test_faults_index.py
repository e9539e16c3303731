"""The index damaged on disk: seen at the start, said, set aside, made anew; nothing is published twice."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import urllib.error
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import Address, Nodes, eventually, running_nodes
from tests.scenarios.sender import associated, instance, new_uid, send, store

LONG = {"completion__quiet_seconds": "3600", "dicom__receivers": "0"}
DONE, LATE, OPEN = new_uid(), new_uid(), new_uid()
PAGE = 4096


def three_studies(node: Address) -> None:
    """One published, one published with a late instance since, one never published; several pages of each."""
    send(node, *(instance(uid, number) for uid in (DONE, LATE, OPEN) for number in range(1, 9)))
    for uid in (DONE, LATE):
        node.post(f"/api/studies/{uid}/complete")
    node.wait_for_events(2)
    send(node, instance(LATE, 9))
    eventually(lambda: node.get(f"/api/studies/{LATE}")["instances"] == 9)


def summaries(node: Address) -> list[tuple[object, ...]]:
    found = [node.get(f"/api/studies/{uid}") for uid in (DONE, LATE, OPEN)]
    return [(one["state"], one["version"], one["instances"], one["added"]) for one in found]


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[object, ...]]]:
    """The folder of a node that was killed, so that its index is a file and a log, and what it knew."""
    folder = tmp_path_factory.mktemp("killed")
    with contextmanager(running_nodes)(folder) as nodes:
        node = nodes.start_process(**LONG)
        three_studies(node)
        before = summaries(node)
        eventually(lambda: node.metric("outbox_pending") == 0)
        node.kill()
    return folder / "var", before


def checkpoint(data_dir: Path) -> None:
    connection = sqlite3.connect(data_dir / "index.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def removed(data_dir: Path) -> None:
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (data_dir / name).unlink(missing_ok=True)


def removed_with_its_witness(data_dir: Path) -> None:
    removed(data_dir)
    (data_dir / "index.db-commits").unlink()


def shortened_to(part: float) -> Callable[[Path], None]:
    def damage(data_dir: Path) -> None:
        checkpoint(data_dir)
        path = data_dir / "index.db"
        os.truncate(path, int(path.stat().st_size * part))

    return damage


def flipped_header(data_dir: Path) -> None:
    checkpoint(data_dir)
    overwrite(data_dir / "index.db", 0, b"\xff" * 64)


def flipped_page(data_dir: Path) -> None:
    """The first page behind the schema: a table's root."""
    checkpoint(data_dir)
    overwrite(data_dir / "index.db", PAGE, bytes(byte ^ 0xFF for byte in range(200)))


def flipped_middle(data_dir: Path) -> None:
    checkpoint(data_dir)
    path = data_dir / "index.db"
    overwrite(path, path.stat().st_size // PAGE // 2 * PAGE, b"\xa5" * 512)


def emptied(data_dir: Path) -> None:
    checkpoint(data_dir)
    os.truncate(data_dir / "index.db", 0)


def replaced_by_text(data_dir: Path) -> None:
    checkpoint(data_dir)
    (data_dir / "index.db").write_text("Dear operator, this was the wrong file.\n" * 300)


def without_a_table(data_dir: Path) -> None:
    connection = sqlite3.connect(data_dir / "index.db")
    connection.execute("DROP TABLE series")
    connection.commit()
    connection.close()


def short_log(data_dir: Path) -> None:
    """SQLite takes what is left of the log for the whole of it and says nothing."""
    wal = data_dir / "index.db-wal"
    os.truncate(wal, wal.stat().st_size * 2 // 3)


def no_log(data_dir: Path) -> None:
    """Everything since the last checkpoint is gone."""
    (data_dir / "index.db-wal").unlink()


SET_ASIDE, MADE_ANEW, LOST = "index_set_aside", "index_missing", "index_lost_commits"
DAMAGES = [
    (removed, MADE_ANEW),
    (removed_with_its_witness, MADE_ANEW),
    (shortened_to(0.3), SET_ASIDE),
    (shortened_to(0.77), SET_ASIDE),
    (flipped_header, SET_ASIDE),
    (flipped_page, SET_ASIDE),
    (flipped_middle, SET_ASIDE),
    (emptied, MADE_ANEW),
    (replaced_by_text, SET_ASIDE),
    (without_a_table, SET_ASIDE),
    (short_log, LOST),
    (no_log, MADE_ANEW),
]


def is_whole(node: Address, before: list[tuple[object, ...]]) -> None:
    """What was known is known, and the next versions are the ones that were due."""
    assert summaries(node) == before
    for uid in (LATE, OPEN):
        node.post(f"/api/studies/{uid}/complete")
    events = node.wait_for_events(4)
    eventually(lambda: node.metric("outbox_pending") == 0)
    assert sorted(event["id"] for event in events) == sorted(
        [f"r5/{DONE}/1", f"r5/{LATE}/1", f"r5/{LATE}/2", f"r5/{OPEN}/1"]
    )
    assert [event["added"] for event in events if event["id"].endswith("/2")] == [1]


@pytest.mark.parametrize(
    ("damage", "said"),
    DAMAGES,
    ids=[f"{damage.__name__}-{number}" for number, (damage, _) in enumerate(DAMAGES)],
)
def test_a_damaged_index_is_made_anew_without_an_operator(
    nodes: Nodes,
    tmp_path: Path,
    left_behind: tuple[Path, list[tuple[object, ...]]],
    damage: Callable[[Path], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, before = left_behind
    shutil.copytree(folder, tmp_path / "var")
    damage(tmp_path / "var")
    node = nodes.start(**LONG)
    assert said in capsys.readouterr().out
    kept = list((tmp_path / "var").glob("index.db.damaged-*[0-9]"))
    assert len(kept) == (said == SET_ASIDE), "kept for who wants to look"
    assert node.get("/readyz") == {"status": "ready"}
    is_whole(node, before)


def test_an_index_that_is_well_is_left_alone(
    nodes: Nodes,
    tmp_path: Path,
    left_behind: tuple[Path, list[tuple[object, ...]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, before = left_behind
    shutil.copytree(folder, tmp_path / "var")
    node = nodes.start(**LONG)
    said = capsys.readouterr().out
    assert not any(word in said for word in (SET_ASIDE, MADE_ANEW, LOST, "reindexed"))
    is_whole(node, before)


def not_ready(node: Address) -> dict[str, str]:
    try:
        node.get("/readyz")
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.loads(error.read())["reasons"])
    return {}


def test_damage_that_is_met_while_the_node_runs(
    nodes: Nodes, tmp_path: Path, left_behind: tuple[Path, list[tuple[object, ...]]]
) -> None:
    """Said with what to do; the node goes on as far as it can, and the next start mends it."""
    folder, before = left_behind
    shutil.copytree(folder, tmp_path / "var")
    node = nodes.start(**LONG)
    checkpoint(node.data_dir)
    path = node.data_dir / "index.db"
    overwrite(path, PAGE, b"\x5a" * (path.stat().st_size - PAGE))
    node.node.engine._engine.dispose()  # what is cached would be good for a while
    late = instance(LATE, 10)
    with associated(node) as association:
        assert store(association, late) == [0], "it is on disk, whatever the index is"
    reason = str(eventually(lambda: not_ready(node).get("index-damage")))
    assert "malformed" in reason
    assert "Restart the node" in reason
    assert node.get("/healthz") == {"status": "alive"}
    node.stop()

    node = nodes.start(**LONG)
    assert node.get("/readyz") == {"status": "ready"}
    state, version, instances, added = before[1]
    assert isinstance(instances, int)
    assert isinstance(added, int)
    before = [before[0], (state, version, instances + 1, added + 1), before[2]]
    assert summaries(node) == before
