"""One system call fails: never 0x0000 for what is not durable, nothing half left, and the node goes on."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.harness import NodeProcess, Nodes, eventually
from tests.scenarios.injection import failing
from tests.scenarios.sender import new_uid
from tests.scenarios.wire import EXPLICIT, RELEASE, STORE, Wire, associate, echo, message, store_rq
from tests.studies import ct, encoded

pytestmark = [pytest.mark.strace, pytest.mark.slow]

# One process, so that every thread of the node is in reach of one strace.
ONE = {"dicom__receivers": "0"}
LONG = {**ONE, "completion__quiet_seconds": "3600"}
MOST = 40  # no store makes so many calls of one kind

# What one store calls, and the errors that a disk answers with. Reads of the object count too: its header is
# scanned before the answer.
STORING = [
    ("openat", "EIO"),
    ("openat", "ENOSPC"),
    ("statfs", "EIO"),
    ("writev", "EIO"),
    ("writev", "ENOSPC"),
    ("pread64", "EIO"),
    ("fdatasync", "EIO"),
    ("fdatasync", "ENOSPC"),
    ("fsync", "EIO"),
    ("fsync", "ENOSPC"),
]
REJECTED = {("statfs", 1): ("rejected 2/3/2",)}
# What the index writer calls for one store on the log of the index, and which of these calls fail: a full disk
# and a broken one take the same way through SQLite, so for one of them every fourth will do.
INDEXING = [("pwrite64", "EIO", 1), ("pwrite64", "ENOSPC", 4), ("fdatasync,fsync", "EIO", 1)]


class Sender:
    """Sends objects of one study, each over an association of its own; knows what was acknowledged."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._numbers = count(1)
        self.study = new_uid()
        self.acknowledged: set[str] = set()

    def send(self, size: int = 200_000) -> str:
        """The status, or how the association ended."""
        uid = f"{self.study}.1.{next(self._numbers)}"
        dataset = ct(SOPInstanceUID=uid, StudyInstanceUID=self.study, SeriesInstanceUID=f"{self.study}.1")
        dataset.add_new(0x00091001, "UN", bytes(20_000))  # what follows has to be read from the file
        data = encoded(dataset, EXPLICIT) + bytes(size)
        with Wire(self._node.port) as peer:
            answer = peer.send(associate()).answer()
            if not answer.startswith("accepted"):
                return answer
            status = peer.send(message(STORE, store_rq(uid), data)).status()
            if status == "0x0000":
                self.acknowledged.add(uid)
            if status.startswith("0x"):
                assert peer.send(RELEASE).answer() == "released", "the association is as good as before"
        return status

    def indexed(self) -> int:
        try:
            return int(self._node.get(f"/api/studies/{self.study}")["instances"])
        except urllib.error.HTTPError as error:
            error.close()
            return 0


def files(folder: Path) -> set[str]:
    return {path.stem for path in folder.rglob("*") if path.is_file()}


def settled(node: NodeProcess, sender: Sender) -> None:
    """The index has everything, and every file is under its key."""
    eventually(lambda: sender.indexed() == len(sender.acknowledged))
    eventually(lambda: files(node.data_dir / "incoming") == set())


def restarted(nodes: Nodes, node: NodeProcess, sender: Sender) -> NodeProcess:
    """A new process on the same folder has exactly what was acknowledged."""
    node.kill()
    node = nodes.start_process(**LONG)
    assert files(node.data_dir / "objects") == sender.acknowledged
    assert files(node.data_dir / "incoming") == set()
    assert files(node.data_dir / "quarantine") == set()
    assert node.get(f"/api/studies/{sender.study}")["instances"] == len(sender.acknowledged)
    return node


def test_a_store_whose_system_call_fails_is_not_acknowledged(nodes: Nodes, tmp_path: Path) -> None:
    node = nodes.start_process(**LONG)
    sender = Sender(node)
    assert sender.send() == "0x0000"
    settled(node, sender)  # else the index writer's calls would be hit too
    refused = 0
    for call, error in STORING:
        for number in range(1, MOST):
            with failing(node.process.pid, call, error, number, tmp_path) as injected:
                status = sender.send()
                hit = injected.count
            if not hit:
                assert status == "0x0000"
                settled(node, sender)
                break
            # Free space is asked for twice: before the association, and before the object
            assert status in ("0xA700", *REJECTED.get((call, number), ())), (call, error, number, status)
            assert files(node.data_dir / "incoming") == set(), (call, error, number)
            refused += 1
        else:
            pytest.fail(f"{call}: more than {MOST} calls in one store")
        assert number > 1, f"no {call} in a store any more: this test shows nothing"
    assert refused >= len(STORING)
    echo(node.port)
    restarted(nodes, node, sender)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_object_that_can_not_be_marked_as_whole_is_not_acknowledged(
    nodes: Nodes, tmp_path: Path, error: str
) -> None:
    node = nodes.start_process(**LONG)
    sender = Sender(node)
    with failing(node.process.pid, "pwrite64", error, 1, tmp_path) as injected:
        assert sender.send() == "0xA700"
        assert injected.count == 1, "the index writes with it too, but has nothing to write"
    assert files(node.data_dir / "incoming") == set()
    assert sender.send() == "0x0000"
    settled(node, sender)
    restarted(nodes, node, sender)


def index_failures(node: NodeProcess) -> Iterator[str]:
    for line in node.log().splitlines():
        if '"index_write_failed"' in line:
            yield json.loads(line)["error"]


def test_an_index_whose_system_call_fails_catches_up(nodes: Nodes, tmp_path: Path) -> None:
    """What is durable is acknowledged whatever the index does; its rows come with the next attempt."""
    node = nodes.start_process(**LONG)
    sender = Sender(node)
    assert sender.send(100) == "0x0000"
    eventually(lambda: sender.indexed() == 1)
    hits = 0
    wal = node.data_dir / "index.db-wal"
    for call, error, step in INDEXING:
        for number in range(1, MOST, step):
            with failing(node.process.pid, call, error, number, tmp_path, only=wal) as injected:
                assert sender.send(100) == "0x0000"
                eventually(lambda: sender.indexed() == len(sender.acknowledged))
                hit = injected.count
            if not hit:
                break
            hits += 1
        assert number > 1, f"no {call} for an object any more: this test shows nothing"
    assert hits > 5
    assert any("disk I/O error" in error for error in index_failures(node))
    assert any("full" in error for error in index_failures(node))
    assert node.get("/readyz") == {"status": "ready"}
    restarted(nodes, node, sender)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_file_that_can_not_be_moved_now_is_moved_later(nodes: Nodes, tmp_path: Path, error: str) -> None:
    """A full disk is waited for; an error of this file alone holds up nobody, and the next start comes to it."""
    node = nodes.start_process(**LONG)
    sender = Sender(node)
    with failing(node.process.pid, "mkdir", error, 1, tmp_path) as injected:
        assert sender.send(100) == "0x0000"
        eventually(lambda: sender.indexed() == 1)
        if error == "ENOSPC":
            settled(node, sender)
        assert injected.count == 1
    assert sender.send(100) == "0x0000"
    eventually(lambda: sender.indexed() == 2)
    restarted(nodes, node, sender)


def test_an_event_log_whose_system_call_fails_has_every_event_once(nodes: Nodes, tmp_path: Path) -> None:
    """Written, not written, half written, not synced, not cut back: what is in the log is there once."""
    node = nodes.start_process(**LONG)
    log = node.data_dir / "events.ndjson"
    cases = [
        ("write", "EIO"), ("write", "ENOSPC"), ("fdatasync", "EIO"), ("fdatasync,ftruncate", "EIO"),
        ("fstat,newfstatat", "EIO"), ("fdatasync,fsync,ftruncate", "EIO"),
    ]  # fmt: skip
    published = []
    for call, error in cases:
        sender = Sender(node)
        assert sender.send(100) == "0x0000"
        with failing(node.process.pid, call, error, 1, tmp_path, only=log) as injected:
            node.post(f"/api/studies/{sender.study}/complete")
            published.append(f"r5/{sender.study}/1")
            eventually(lambda: len(node.events()) == len(published))
            eventually(lambda: node.metric("outbox_pending") == 0)
            assert injected.count > 0, (call, error)
    assert [event["id"] for event in node.events()] == published
    assert node.get("/readyz") == {"status": "ready"}
    node.kill()
    node = nodes.start_process(**LONG)
    eventually(lambda: node.metric("outbox_pending") == 0)
    assert [event["id"] for event in node.events()] == published


def test_a_version_whose_commit_fails_is_published_once(nodes: Nodes, tmp_path: Path) -> None:
    """State and events are one transaction: after a failure of any of its calls nothing has happened."""
    node = nodes.start_process(**LONG)
    wal = node.data_dir / "index.db-wal"
    published = []
    for call, error in (("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("fdatasync,fsync", "EIO")):
        for number in (1, 2, 5):
            sender = Sender(node)
            assert sender.send(100) == "0x0000"
            settled(node, sender)
            with failing(node.process.pid, call, error, number, tmp_path, only=wal) as injected:
                failed = completed(node, sender.study) is None
                hit = injected.count > 0
            published.append(f"r5/{sender.study}/1")
            assert hit or not failed
            if failed:
                assert f"r5/{sender.study}/1" not in {event["id"] for event in node.events()}
                assert completed(node, sender.study) == 1
            eventually(lambda: len(node.events()) == len(published))
    eventually(lambda: node.metric("outbox_pending") == 0)
    node.kill()
    node = nodes.start_process(**LONG)
    eventually(lambda: node.metric("outbox_pending") == 0)
    assert [event["id"] for event in node.events()] == published


def completed(node: NodeProcess, uid: str) -> int | None:
    """The version that the operator's command has published; None when the node could not."""
    try:
        return int(node.post(f"/api/studies/{uid}/complete")["version"])
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == 503, error.read()
        return None
