"""After a crash: the index is made anew from the objects, an interrupted start is taken up, nothing is lost.

Killing itself is in test_faults_kill.py, what else can damage the index in test_faults_index.py.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from node.errors import IndexUnavailable
from tests.harness import DEFAULTS, Address, Nodes, eventually
from tests.scenarios.sender import associated, instance, new_uid, send

LONG = {"completion__quiet_seconds": "3600"}


def command(data_dir: Path, *words: str, **given: str) -> subprocess.CompletedProcess[str]:
    environ = {**DEFAULTS, "NODE_DATA_DIR": str(data_dir)} | {
        f"NODE_{k.upper()}": v for k, v in given.items()
    }
    return subprocess.run(
        [sys.executable, "-m", "node", *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def drop_index(data_dir: Path) -> None:
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (data_dir / name).unlink(missing_ok=True)


def three_studies(node: Address) -> tuple[str, str, str]:
    """One published, one published with a late instance since, one never published."""
    done, late, open_ = new_uid(), new_uid(), new_uid()
    send(node, instance(done, 1), instance(done, 2), instance(late, 1), instance(open_, 1))
    for uid in (done, late):
        node.post(f"/api/studies/{uid}/complete")
    node.wait_for_events(2)
    send(node, instance(late, 2))
    eventually(lambda: node.get(f"/api/studies/{late}")["instances"] == 2)
    return done, late, open_


def summary(node: Address, uid: str) -> tuple[Any, ...]:
    found = node.get(f"/api/studies/{uid}")
    return found["state"], found["version"], found["instances"], found["added"]


def test_an_index_that_was_deleted_is_made_anew_and_nothing_goes_out_twice(nodes: Nodes) -> None:
    node = nodes.start(**LONG)
    done, late, open_ = three_studies(node)
    before = [summary(node, uid) for uid in (done, late, open_)]
    node.stop()
    drop_index(node.data_dir)
    node = nodes.start(**LONG)
    assert [summary(node, uid) for uid in (done, late, open_)] == before
    for uid in (late, open_):
        node.post(f"/api/studies/{uid}/complete")
    events = node.wait_for_events(4)
    assert sorted(event["id"] for event in events) == sorted(
        [f"r5/{done}/1", f"r5/{late}/1", f"r5/{late}/2", f"r5/{open_}/1"]
    )


@pytest.mark.slow
def test_killed_while_the_index_is_made_anew_it_is_taken_up_again(nodes: Nodes) -> None:
    """A rebuild cut short must not leave studies that think they were never published."""
    node = nodes.start(completion__quiet_seconds="0.3")
    uid = new_uid()
    send(node, *(instance(uid, number) for number in range(1, 4)))
    node.wait_for_events(1)
    node.stop()
    connection = sqlite3.connect(node.data_dir / "index.db")
    # as a kill leaves it: begun, objects indexed, versions not yet restored
    connection.execute("UPDATE study SET state='open', version=0, added=3, deadline=first_at")
    connection.execute("DELETE FROM outbox")
    connection.execute("INSERT INTO meta VALUES ('rebuilding', '[]')")
    connection.commit()
    connection.close()
    node = nodes.start(completion__quiet_seconds="0.3")
    assert summary(node, uid) == ("complete", 1, 3, 0)
    other = new_uid()
    send(node, instance(other, 1))
    assert [event["subject"] for event in node.wait_for_events(2)] == [uid, other]


def test_reindex(nodes: Nodes) -> None:
    node = nodes.start(**LONG)
    done, late, open_ = three_studies(node)
    node.post(f"/api/studies/{open_}/hold")
    before = [summary(node, uid) for uid in (done, late, open_)]
    refused = command(node.data_dir, "reindex")
    assert refused.returncode == 1
    assert "in use by another running node" in refused.stderr
    node.stop()

    done_ = command(node.data_dir, "reindex", **LONG)
    assert done_.returncode == 0, done_.stderr
    assert "5 objects indexed" in done_.stdout
    node = nodes.start(**LONG)
    assert [summary(node, uid) for uid in (done, late, open_)] == before
    assert len(node.events()) == 2


def test_reindex_over_a_damaged_index(nodes: Nodes) -> None:
    node = nodes.start(**LONG)
    done, late, open_ = three_studies(node)
    before = [summary(node, uid) for uid in (done, late, open_)]
    node.stop()
    (node.data_dir / "index.db").write_bytes(b"this is no database" * 1000)
    done_ = command(node.data_dir, "reindex", **LONG)
    assert done_.returncode == 0, done_.stderr
    assert len(list(node.data_dir.glob("index.db.damaged-*[0-9]"))) == 1, "kept for who wants to look"
    node = nodes.start(**LONG)
    assert [summary(node, uid) for uid in (done, late, open_)] == before


def test_what_lies_in_incoming_is_taken_in_at_the_start(nodes: Nodes, tmp_path: Path) -> None:
    """Acknowledged but never indexed, a torn one, one that nobody can read: only the first becomes a row."""
    uid = new_uid()
    node = nodes.start(**LONG)
    send(node, instance(uid, 1), instance(uid, 2))
    eventually(lambda: len(node.stored()) == 2)
    node.stop()
    incoming = node.data_dir / "incoming"
    first, second = node.stored()
    drop_index(node.data_dir)
    first.rename(incoming / "000-000.dcm")
    second.rename(incoming / "000-001.part")
    (incoming / "000-002.dcm").mkdir()
    (incoming / "000-003.dcm").write_bytes(b"not DICOM")
    node = nodes.start(**LONG)
    assert [path.name for path in node.stored()] == [first.name]
    assert summary(node, uid) == ("open", 0, 1, 1)
    (row,) = node.get("/api/quarantine")["quarantine"]
    assert (row["reason"], row["name"]) == ("DataSetError", "DataSetError/000-003.dcm")
    assert sorted(path.name for path in incoming.iterdir()) == ["000-002.dcm"]
    assert node.get("/readyz") == {"status": "ready"}


def found(node: Address, uid: str) -> list[int]:
    """Statuses of a C-FIND for one study: a pending one for each match, then the final one."""
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", uid
    with associated(node, sop_class=StudyRootQueryRetrieveInformationModelFind) as association:
        answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
        return [int(status.Status) for status, _ in answers]


def test_while_the_index_can_not_be_written_everything_else_goes_on(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes.start(**LONG)
    uid, later = new_uid(), new_uid()
    send(node, instance(uid, 1))
    eventually(lambda: len(node.stored()) == 1)
    intake = node.node.writer._intake

    def apply(*_: Any) -> None:
        raise IndexUnavailable("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(intake, "apply", apply)
        send(node, instance(later, 1))  # durable, so answered
        eventually(lambda: node.node.writer.failing)
        assert found(node, uid) == [0xFF00, 0x0000]
        with pytest.raises(urllib.error.HTTPError) as raised:
            node.get("/readyz")
        with raised.value as answer:
            assert "disk is full" in json.loads(answer.read())["reasons"]["index-writer"]
        with pytest.raises(urllib.error.HTTPError) as raised:
            node.post(f"/api/studies/{uid}/complete")
        with raised.value as answer:
            assert answer.code == 503, "what was answered but is not indexed would be missing"
    eventually(lambda: node.node.writer.failing is None, 30)
    assert found(node, later) == [0xFF00, 0x0000]
    assert node.get("/readyz") == {"status": "ready"}
