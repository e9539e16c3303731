"""C-STORE without a socket: which status, what is kept, what is handed on, in which order."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from node.errors import IndexUnavailable, StorageError
from node.model import ObjectKey, Received, Rejection
from node.objects import filemeta
from node.objects.files import FileObjects
from node.services import dimse
from node.services.base import Answer, Context
from node.services.dimse import Command
from node.services.store import StorePorts, StoreService
from tests.studies import CT, EXPLICIT, ct, encoded

UID = "1.2.826.0.1.77"
CONTEXT = Context(1, CT, EXPLICIT, "SCANNER", "DICOMFHIR", 42)
REQUEST = Command(dimse.C_STORE_RQ, 1, CT, UID, True)
DATA = encoded(ct(SOPInstanceUID=UID))


class FixedTime:
    def now(self) -> float:
        return 1000.0

    def wall(self) -> float:
        return 2000.0


@dataclass
class Node:
    """The service with its neighbours played by the test."""

    folder: Path
    refusal: Callable[[], str | None] = lambda: None
    collides: Callable[[Received], bool] | None = None
    accepted: list[Received] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def __post_init__(self) -> None:
        objects, incoming, quarantine = (self.folder / name for name in ("objects", "incoming", "quarantine"))
        self.objects = FileObjects(objects, incoming, quarantine, True)

    def service(self) -> StoreService:
        ports = StorePorts(self.accepted.append, self.rejected.append, self.refusal, self.collides)
        return StoreService(self.objects, ports, FixedTime())

    def store(self, data: bytes = DATA, request: Command = REQUEST, context: Context = CONTEXT) -> Answer:
        operation = self.service().begin(context, request)
        for at in range(0, len(data), 500):
            operation.write([memoryview(data)[at : at + 500]])
        (answer,) = operation.finish()
        return answer

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_success(node: Node) -> None:
    assert node.store() == Answer(dimse.SUCCESS)
    (received,) = node.accepted
    assert received.key == ObjectKey(ct().StudyInstanceUID, ct().SeriesInstanceUID, UID)
    assert (received.sop_class, received.transfer_syntax, received.size) == (CT, EXPLICIT, len(DATA))
    assert (received.calling_ae, received.called_ae, received.association) == ("SCANNER", "DICOMFHIR", 42)
    assert received.received_at == 1000.0
    with node.objects.open_waiting(received.name) as file:
        meta = filemeta.read(file)
        assert file.read() == DATA
    assert (meta.sop_class, meta.sop_instance, meta.transfer_syntax) == (CT, UID, EXPLICIT)
    assert (meta.sending_ae, meta.receiving_ae) == ("SCANNER", "DICOMFHIR")


def test_the_object_is_durable_before_it_is_handed_on(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("fdatasync", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda fd, real=real, name=name: order.append(name) or real(fd))
    monkeypatch.setattr(
        node, "accepted", type("Log", (list,), {"append": lambda *_: order.append("handed on")})()
    )
    node.store()
    assert order == ["fdatasync", "fsync", "handed on"]


def carried_out(service: StoreService, number: int, context: Context = CONTEXT) -> int:
    """The status of one object, from its command to the moment when its answer is out."""
    uid = f"{UID}.{number}"
    operation = service.begin(context, REQUEST._replace(sop_instance=uid))
    operation.write([memoryview(encoded(ct(SOPInstanceUID=uid)))])
    (answer,) = operation.finish()
    service.answered(context)
    return answer.status


def test_the_file_of_the_third_object_waits_for_it(node: Node) -> None:
    """... and who sends one alone, as many do, leaves no file that nobody needed."""
    service, empty = node.service(), []
    for number in range(4):
        assert carried_out(service, number) == 0
        empty.append(sorted(path.stem for path in node.folder.rglob("*.dcm") if not path.stat().st_size))
    assert [len(names) for names in empty] == [0, 1, 1, 1]
    assert [one.name for one in node.accepted[2:]] == [empty[1][0], empty[2][0]]
    service.ended(CONTEXT.association)
    assert len(node.files()) == 4
    assert carried_out(service, 5) == 0, "a number that comes again begins anew"
    assert len(node.files()) == 5


def test_what_is_prepared_is_for_one_association(node: Node) -> None:
    service, other = node.service(), replace(CONTEXT, association=43)
    for number in range(2):
        carried_out(service, number)
    carried_out(service, 2, other)
    service.ended(other.association)
    assert [path.stat().st_size for path in node.folder.rglob("*.dcm")].count(0) == 1
    service.ended(CONTEXT.association)
    assert len(node.files()) == 3


def test_a_file_that_can_not_be_prepared_is_nobodys_trouble_yet(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = node.service()
    carried_out(service, 0)

    def full() -> None:
        raise StorageError("injected")

    monkeypatch.setattr(node.objects, "prepare", full)
    service.answered(CONTEXT)
    operation = service.begin(CONTEXT, REQUEST)
    (answer,) = operation.finish()
    assert (answer.status, answer.why) == (StorageError.status, "injected")
    monkeypatch.undo()
    assert carried_out(service, 1) == 0


def test_a_file_that_was_prepared_outlives_a_refusal(node: Node) -> None:
    why: list[str] = []
    node.refusal = lambda: why[0] if why else None
    service = node.service()
    for number in range(2):
        carried_out(service, number)
    before = node.files()
    why.append("disk full")
    assert carried_out(service, 2) == StorageError.status
    assert node.files() == before
    why.clear()
    assert carried_out(service, 3) == 0
    service.ended(CONTEXT.association)
    assert len(node.files()) == 3


REFUSED: dict[str, tuple[bytes, Command, int]] = {
    "other class": (DATA, Command(dimse.C_STORE_RQ, 1, "1.2.3", UID, True), 0xA900),
    "other instance": (DATA, Command(dimse.C_STORE_RQ, 1, CT, UID + ".1", True), 0xA900),
    "no UIDs in the command": (DATA, Command(dimse.C_STORE_RQ, 1, "", "", True), 0xA900),
    "noise": (b"\xde\xad" * 500, REQUEST, 0xC000),
    "no study": (encoded(ct(SOPInstanceUID=UID, StudyInstanceUID=None)), REQUEST, 0xC000),
    "empty": (b"", REQUEST, 0xC000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_objects_are_kept_in_quarantine(node: Node, name: str) -> None:
    data, request, status = REFUSED[name]
    answer = node.store(data, request)
    assert answer.status == status
    assert answer.comment
    (rejection,) = node.rejected
    assert (rejection.calling_ae, rejection.at) == ("SCANNER", 2000.0)
    assert rejection.reason == ("DataSetMismatch" if status == 0xA900 else "DataSetError")
    assert node.accepted == []
    with node.objects.open_waiting(rejection.name) as file:
        filemeta.read(file)
        assert file.read() == data


def test_nothing_of_a_patient_is_told(node: Node) -> None:
    answer = node.store(encoded(ct(SOPInstanceUID=UID, StudyInstanceUID=None)))
    told = f"{answer} {node.rejected}"
    assert "M\xfcller" not in told
    assert "PAT-0042" not in told


def test_without_a_data_set(node: Node) -> None:
    request = Command(dimse.C_STORE_RQ, 1, CT, UID, has_data_set=False)
    (answer,) = node.service().begin(CONTEXT, request).finish()
    assert answer.status == 0xC000
    assert node.files() == []


def test_abandoned(node: Node) -> None:
    operation = node.service().begin(CONTEXT, REQUEST)
    operation.write([memoryview(DATA)])
    assert node.files() != []
    operation.abandon()
    assert node.files() == []


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_arguments: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    "refusal", [lambda: "disk full: 5 bytes free", raising(StorageError("free space of /secret"))]
)
def test_no_room(tmp_path: Path, refusal: Callable[[], str | None]) -> None:
    node = Node(tmp_path, refusal=refusal)
    answer = node.store()
    assert answer.status == 0xA700
    assert "/secret" not in str(answer.comment)
    assert node.files() == []


FAULTS = {
    "open": ("open", errno.EACCES),
    "write": ("writev", errno.ENOSPC),
    "read back": ("pread", errno.EIO),
    "sync": ("fdatasync", errno.EIO),
    "folder sync": ("fsync", errno.EIO),
}


@pytest.mark.parametrize("name", FAULTS)
def test_disk_errors(node: Node, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """0xA700, nothing left; the peer is told no path, the log the cause; the next object is stored."""
    call, number = FAULTS[name]
    long_header = ct(SOPInstanceUID=UID)
    long_header.add_new(0x00091001, "UN", bytes(20_000))  # what follows is not at hand
    with monkeypatch.context() as patch:
        patch.setattr(os, call, raising(OSError(number, os.strerror(number))))
        answer = node.store(encoded(long_header))
    assert answer.status == 0xA700
    assert str(node.folder) not in str(answer.comment)
    assert str(node.folder) in str(answer.why)
    assert os.strerror(number) in str(answer.why)
    assert node.files() == []
    assert (node.accepted, node.rejected) == ([], [])
    assert node.store().status == dimse.SUCCESS


def test_disk_full_in_the_middle(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = node.service().begin(CONTEXT, REQUEST)
    operation.write([memoryview(DATA)[:500]])
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", raising(OSError(errno.ENOSPC, "No space left on device")))
        operation.write([memoryview(DATA)[500:1000]])
    assert node.files() == []  # given back at once, not when the peer has sent the rest
    operation.write([memoryview(DATA)[1000:]])
    (answer,) = operation.finish()
    assert answer.status == 0xA700


def test_quarantine_that_fails_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", raising(OSError(errno.EIO, "Input/output error")))
    answer = node.store(b"\xde\xad" * 500)
    assert answer.status == 0xC000
    assert "not kept" in str(answer.why)
    assert str(node.folder) not in str(answer.comment)
    assert (node.files(), node.rejected) == ([], [])


def test_rejected_duplicate(tmp_path: Path) -> None:
    node = Node(tmp_path, collides=lambda received: True)
    answer = node.store()
    assert answer.status == 0x0111
    assert node.accepted == []
    assert [rejection.reason for rejection in node.rejected] == ["duplicate-rejected"]
    assert node.files() == [f"incoming/{node.rejected[0].name}.dcm"]


def test_duplicates_that_can_not_be_told(tmp_path: Path) -> None:
    """Answered as a failure, so nothing may turn up as stored after a restart."""
    node = Node(tmp_path, collides=raising(IndexUnavailable("index /secret: locked")))
    answer = node.store()
    assert (answer.status, answer.why) == (0xA700, "index /secret: locked")
    assert "/secret" not in str(answer.comment)
    assert node.files() == []
    assert (node.accepted, node.rejected) == ([], [])


def test_long_uids_of_a_hostile_command_stay_short_in_the_file(node: Node) -> None:
    answer = node.store(DATA, Command(dimse.C_STORE_RQ, 1, "1" * 16_000, "../" * 5_000, True))
    assert answer.status == 0xA900
    (name,) = node.files()
    assert (node.folder / name).stat().st_size < len(DATA) + 1_000


@pytest.mark.parametrize("data", [DATA, b"\xff" * 100], ids=["object", "unreadable"])
def test_what_nobody_could_take_over_is_no_success(node: Node, data: bytes) -> None:
    """Whoever owns the index is gone: what is answered as a failure must not turn up after a restart."""

    def gone(_: object) -> None:
        raise IndexUnavailable("the other process has gone")

    operation = StoreService(node.objects, StorePorts(gone, gone, lambda: None), FixedTime()).begin(
        CONTEXT, REQUEST
    )
    operation.write([memoryview(data)])
    (answer,) = operation.finish()
    if data is DATA:
        assert (answer.status, answer.why) == (0xA700, "the other process has gone")
        assert node.files() == []
    else:  # refused in any case; a whole file may wait for the next start, which rejects it again
        assert answer.status == 0xC000
        assert answer.why is not None
        assert "not kept: the other process has gone" in answer.why
