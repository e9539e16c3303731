"""Killed at any moment under four clients, in short; ``make torture`` is the long form of it."""

from __future__ import annotations

import http.client
import secrets
import signal
import time
import urllib.error
from functools import partial
from pathlib import Path

import pytest

from tests.harness import NodeProcess, Nodes, eventually
from tests.scenarios.injection import killing
from tests.scenarios.sender import instance, new_uid, send
from tests.torture import audit
from tests.torture.clients import Load
from tests.torture.cycles import ENVIRONMENT, Life, Torture
from tests.torture.supply import Supply

LONG = {"completion__quiet_seconds": "3600", "dicom__receivers": "0"}
QUIET = {"NODE_COMPLETION__QUIET_SECONDS": "2"}
SHUTDOWN = float(ENVIRONMENT["NODE_SHUTDOWN_SECONDS"])
OPEN = "SELECT count(*) FROM study WHERE state = 'open'"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("durability", "cycles"), [("fsync", 10), ("none", 3)])
def test_what_was_acknowledged_is_kept_and_published_once(
    tmp_path: Path, durability: str, cycles: int
) -> None:
    """Without syncs too: a process that is killed loses nothing that it has written."""
    torture = Torture(tmp_path, cycles, secrets.randbelow(10**9), NODE_OBJECTS__DURABILITY=durability)
    summary = torture.run()
    print(summary.text())
    assert summary.problems == [], summary.text()
    assert summary.acknowledged > 5 * cycles, summary.text()
    assert summary.events.published == summary.events.expected > 0


# Where a version is when the process goes: file, system call, which of its thread's calls.
POINTS = [
    ("events.ndjson", "write", 1),  # committed, not written
    ("events.ndjson", "fdatasync", 1),  # written, neither synced nor marked
    ("index.db-wal", "pwrite64", 1),  # nothing of the version is there
    ("index.db-wal", "pwrite64", 4),  # a part of the transaction
    ("index.db-wal", "fdatasync", 1),  # all of it, not synced
]


def told(node: NodeProcess, uid: str) -> None:
    """The operator completes the study, whatever becomes of the answer."""
    try:
        node.post(f"/api/studies/{uid}/complete")
    except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
        assert node.process.wait(20) == -signal.SIGKILL


def value(node: NodeProcess, query: str) -> object:
    """What the index says, beside the node."""
    return audit.rows(node.data_dir, query)[0][0]


def all_published(node: NodeProcess, events: int) -> bool:
    pending = value(node, "SELECT count(*) FROM outbox WHERE sent_at IS NULL")
    return len(node.events()) >= events and pending == 0


@pytest.mark.slow
@pytest.mark.strace
def test_killed_at_each_step_of_publishing_every_version_goes_out_once(nodes: Nodes, tmp_path: Path) -> None:
    expected = []
    node = nodes.start_process(**LONG)
    for name, call, when in POINTS:
        uid = new_uid()
        send(node, instance(uid, 1))
        count = f"SELECT count(*) FROM instance WHERE study = '{uid}'"
        eventually(partial(value, node, count))
        with killing(node.process.pid, call, when, tmp_path, node.data_dir / name):
            told(node, uid)
            assert node.process.wait(20) == -signal.SIGKILL
        node = nodes.start_process(**LONG)
        if not value(node, f"SELECT version FROM study WHERE uid = '{uid}'"):
            node.post(f"/api/studies/{uid}/complete")
        expected.append(f"r5/{uid}/1")
        eventually(partial(all_published, node, len(expected)))
        assert [event["id"] for event in node.events()] == expected, (name, call, when)


@pytest.mark.slow
def test_told_to_stop_under_four_clients_it_drains(tmp_path: Path) -> None:
    """What was acknowledged is stored and indexed when the process has ended; open studies complete later."""
    supply = Supply(secrets.randbelow(10**9))
    book, kept = supply.book, audit.Kept(tmp_path / "var")
    with Life(tmp_path / "var", QUIET) as node:
        node.ready()
        load = Load(node, supply)
        eventually(lambda: book.answers > 200)
        load.stop()
        begun = time.monotonic()
        assert (node.terminate(), time.monotonic() - begun < SHUTDOWN) == (0, True)
        load.join()
    assert (load.errors, book.refusals) == ([], [])
    assert list(audit.after_start(tmp_path / "var", book, kept)) == []
    assert audit.rows(tmp_path / "var", OPEN) != [(0,)], "this test shows nothing"

    with Life(tmp_path / "var", QUIET) as node:
        node.ready()
        eventually(lambda: audit.rows(tmp_path / "var", OPEN) == [(0,)])
        assert node.terminate() == 0
    events = audit.published(tmp_path / "var")
    assert events.problems == []
    assert events.published == events.expected > 0
