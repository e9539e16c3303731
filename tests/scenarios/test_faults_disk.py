"""A full disk, which a small tmpfs is: stores are refused, everything else goes on, and stores come back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from tests.harness import LocalNode, Nodes, eventually, running_nodes
from tests.scenarios.sender import instance, new_uid, send
from tests.scenarios.wire import ECHO, EXPLICIT, STORE, Wire, associate, echo_rq, message, store_rq
from tests.studies import ct, encoded

SIZE = 8_000_000
LONG = {"completion__quiet_seconds": "3600", "dicom__receivers": "0"}
SUCCESS, FULL = "0x0000", "0xA700"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of ``SIZE`` bytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", path],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture
def nodes(disk: Path) -> Iterator[Nodes]:
    """Nodes with their data on the small disk."""
    yield from running_nodes(disk)


class Ballast:
    """Takes up what is free, but for so many bytes."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def leave(self, free: int) -> None:
        """Make ``free`` bytes free, a block more or less; 0 leaves nothing."""
        self.release()
        stat = os.statvfs(self._path.parent)
        size = stat.f_bavail * stat.f_frsize - free
        with self._path.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
            file.seek(0, os.SEEK_END)
            while not free:
                try:
                    file.write(bytes(4096))
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    return

    def release(self) -> None:
        self._path.unlink(missing_ok=True)


class Modality:
    """One association that stores and echoes, and another one that queries; both stay open all the time."""

    def __init__(self, node: LocalNode) -> None:
        self.study = new_uid()
        self.acknowledged: list[str] = []
        self._node = node
        self._number = 0
        self._wire = Wire.established(node.port)
        model = StudyRootQueryRetrieveInformationModelFind
        ae = AE("CT1")
        self._find: Association = ae.associate(
            "127.0.0.1", node.port, [build_context(model)], ae_title=node.ae_title
        )
        assert self._find.is_established
        transport = self._find.dul.socket
        assert transport is not None
        assert transport.socket is not None
        self._socket = transport.socket

    def store(self, size: int = 100_000) -> str:
        self._number += 1
        uid = f"{self.study}.1.{self._number}"
        dataset = ct(SOPInstanceUID=uid, StudyInstanceUID=self.study, SeriesInstanceUID=f"{self.study}.1")
        data = encoded(dataset, EXPLICIT) + bytes(size)
        status = self._wire.send(message(STORE, store_rq(uid, self._number), data)).status()
        if status == SUCCESS:
            self.acknowledged.append(uid)
        return status

    def echo(self) -> str:
        return self._wire.send(message(ECHO, echo_rq(9))).status()

    def find(self) -> list[int]:
        """Statuses of a query for the study."""
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", self.study
        model = StudyRootQueryRetrieveInformationModelFind
        return [int(status.Status) for status, _ in self._find.send_c_find(query, model)]

    def close(self) -> None:
        self._wire.socket.close()
        self._find.release()
        self._find.dul.join(10)
        self._socket.close()


@pytest.fixture
def modality(nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[tuple[LocalNode, Modality]]:
    """A node that wants so much free space, and who sends to it."""
    node = nodes.start(**LONG, objects__min_free_bytes=str(request.param))
    made = Modality(node)
    yield node, made
    made.close()


def all_is_there(node: LocalNode, modality: Modality) -> None:
    eventually(lambda: node.get(f"/api/studies/{modality.study}")["instances"] == len(modality.acknowledged))
    eventually(lambda: node.incoming() == [])
    assert {path.stem for path in node.stored()} == set(modality.acknowledged)
    node.post(f"/api/studies/{modality.study}/complete")
    eventually(lambda: [event["instances"] for event in node.events()] == [len(modality.acknowledged)])


@pytest.mark.slow
@pytest.mark.parametrize("modality", [2_000_000], indirect=True)
def test_before_the_disk_is_full_stores_are_refused(disk: Path, modality: tuple[LocalNode, Modality]) -> None:
    node, peer = modality
    ballast = Ballast(disk)
    assert peer.store() == SUCCESS
    ballast.leave(1_000_000)
    assert peer.store() == SUCCESS, "an association that is open may go on for a while"
    with Wire(node.port) as other:
        assert other.send(associate()).answer() == "rejected 2/3/2"
    ballast.leave(300_000)
    assert [peer.store(), peer.echo(), peer.store()] == [FULL, SUCCESS, FULL]
    assert peer.find() == [0xFF00, 0x0000]
    ballast.release()
    assert peer.store() == SUCCESS
    all_is_there(node, peer)


@pytest.mark.slow
@pytest.mark.parametrize("modality", [0], indirect=True)
def test_a_disk_that_is_full_to_the_last_byte(disk: Path, modality: tuple[LocalNode, Modality]) -> None:
    """Writes fail in the middle of an object; index and log are on the same disk."""
    node, peer = modality
    ballast = Ballast(disk)
    assert peer.store() == SUCCESS
    assert peer.find() == [0xFF00, 0x0000]
    for free in (60_000, 0):  # in the middle, at the first byte
        ballast.leave(free)
        assert [peer.store(), peer.echo(), peer.store()] == [FULL, SUCCESS, FULL]
        assert node.incoming() == []
        assert peer.find() == [0xFF00, 0x0000]
    ballast.leave(24_000)
    while peer.store(2_000) == SUCCESS:  # small ones, until not even they fit: the index has no room for all
        assert len(peer.acknowledged) < 100
    assert "full" in str(eventually(lambda: node.node.writer.failing)), "so they wait in incoming"
    assert peer.echo() == SUCCESS
    assert peer.find() == [0xFF00, 0x0000]
    ballast.release()
    assert peer.store() == SUCCESS
    all_is_there(node, peer)


@pytest.mark.slow
def test_events_that_find_no_room_are_written_when_there_is_some(disk: Path, tmp_path: Path) -> None:
    """The log alone is on the full disk: stores and versions go on."""
    log = disk / "events.ndjson"
    ballast = Ballast(disk)
    with contextmanager(running_nodes)(tmp_path) as nodes:
        node = nodes.start(**LONG, events__path=str(log))
        ballast.leave(0)
        studies = [new_uid() for _ in range(3)]
        for uid in studies:
            send(node, instance(uid, 1))
            node.post(f"/api/studies/{uid}/complete")
        reason = eventually(lambda: node.node.relay.health().last_error)
        assert "No space left" in str(reason)
        assert log.read_bytes() == b"", "nothing of a line is left"
        ballast.release()
        eventually(lambda: node.metric("outbox_pending") == 0)
        assert [json.loads(line)["subject"] for line in log.read_bytes().splitlines()] == studies


@pytest.mark.slow
@pytest.mark.parametrize("modality", [0], indirect=True)
def test_an_index_that_finds_no_room_says_so(disk: Path, modality: tuple[LocalNode, Modality]) -> None:
    """An operator's command fails as a whole, and works when there is room."""
    node, peer = modality
    assert peer.store(100) == SUCCESS
    assert peer.find() == [0xFF00, 0x0000]
    ballast = Ballast(disk)
    ballast.leave(0)
    with pytest.raises(urllib.error.HTTPError) as refused:
        node.post(f"/api/studies/{peer.study}/complete")
    with refused.value as answer:
        assert (answer.code, b"full" in answer.read()) == (503, True)
    assert node.get(f"/api/studies/{peer.study}")["version"] == 0
    ballast.release()
    all_is_there(node, peer)
