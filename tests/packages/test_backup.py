"""What docs/install.md says of backups: copied while the node runs, restored, and nothing is lost or said twice."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness import LocalNode, Nodes, eventually, running_nodes
from tests.scenarios.sender import instance, new_uid, send

# The order of docs/install.md: the index first, so that it knows of nothing that is not in the copy; what is
# received before what it becomes; the log of events last, so that no version is published a second time.
FOLDERS = ("incoming", "objects", "quarantine")
LOG = "events.ndjson"


def copy_index(data_dir: Path, backup: Path) -> None:
    """What `sqlite3 index.db ".backup FILE"` does."""
    backup.mkdir(exist_ok=True)
    with (
        closing(sqlite3.connect(data_dir / "index.db")) as source,
        closing(sqlite3.connect(backup / "index.db")) as target,
    ):
        source.backup(target)


def copy_files(data_dir: Path, backup: Path) -> None:
    backup.mkdir(exist_ok=True)
    for name in FOLDERS:
        shutil.copytree(data_dir / name, backup / name)
    shutil.copy(data_dir / LOG, backup)


class Before:
    """A node with a study that is published, one that is held, and a duplicate in quarantine; its two backups."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.published, self.held, self.late = new_uid(), new_uid(), new_uid()
        node = nodes.start("var")
        send(node, instance(self.published, 1), instance(self.held, 1))
        node.post(f"/api/studies/{self.published}/complete")
        node.post(f"/api/studies/{self.held}/hold")
        send(node, instance(self.published, 1, PatientComments="other bytes"))
        eventually(lambda: node.get("/api/quarantine")["quarantine"])
        node.wait_for_events(1)
        self.whole, self.objects = folder / "whole", folder / "objects"
        copy_index(node.data_dir, self.whole)
        send(node, instance(self.late, 1))  # between one copy and the next
        node.post(f"/api/studies/{self.late}/complete")
        node.wait_for_events(2)
        copy_files(node.data_dir, self.whole)
        copy_files(node.data_dir, self.objects)
        self.events = [event["id"] for event in node.events()]
        node.stop()

    def check(self, node: LocalNode) -> None:
        """Every object is known, nothing went out again, and what comes is the next version."""
        known = {study["uid"]: study for study in node.get("/api/studies")["studies"]}
        assert {uid: study["instances"] for uid, study in known.items()} == dict.fromkeys(
            (self.published, self.held, self.late), 1
        )
        send(node, instance(self.late, 2))
        node.post(f"/api/studies/{self.late}/complete")
        eventually(lambda: len(node.events()) > len(self.events))
        assert [event["id"] for event in node.events()] == [*self.events, f"r5/{self.late}/2"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, Path]]:
    folder = tmp_path_factory.mktemp("backup")
    for nodes in running_nodes(folder):
        yield nodes, folder


@pytest.fixture(scope="module")
def before(scratch: tuple[Nodes, Path]) -> Before:
    return Before(*scratch)


def reindex(data_dir: Path) -> None:
    command = [sys.executable, "-m", "node", "reindex"]
    environ = {"NODE_DATA_DIR": str(data_dir), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 objects indexed\n"


def test_a_whole_backup_and_reindex(before: Before, scratch: tuple[Nodes, Path]) -> None:
    """The copy of the index is older than the objects: reindex takes in what came after, and keeps what only the
    index knew."""
    nodes, _ = scratch
    reindex(before.whole)
    node = nodes.start("whole")
    states = {study["uid"]: study["state"] for study in node.get("/api/studies")["studies"]}
    assert states[before.held] == "held"
    assert [row["instance"] for row in node.get("/api/quarantine")["quarantine"]] == [
        f"{before.published}.1.1"
    ]
    before.check(node)


def test_objects_and_the_log_of_events_are_enough(before: Before, scratch: tuple[Nodes, Path]) -> None:
    """The index is made anew at start; the log tells which versions were out."""
    nodes, _ = scratch
    before.check(nodes.start("objects"))
