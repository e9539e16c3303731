"""Recovery at start: what lies in incoming and under keys becomes what it was when it was received."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import recovery
from node.errors import ConfigError, DataSetError, IndexUnavailable
from node.index import rebuild
from node.model import ObjectKey, Received, Rejection
from node.recovery import DataDirLock
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct


@pytest.fixture
def arrivals(tmp_path: Path) -> Iterator[Arrivals]:
    made = Arrivals(tmp_path)
    yield made
    made.close()


def waiting(arrivals: Arrivals) -> list[Received | Rejection]:
    return list(recovery.waiting_objects(arrivals.objects, 77.0))


def same(found: Received, sent: Received) -> bool:
    """Equal but for what a file does not tell."""
    return found._replace(received_at=0, association=0) == sent._replace(received_at=0, association=0)


# --- the lock


def test_one_node_a_folder(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path / "var")
    with pytest.raises(ConfigError, match=r"var is in use by another running node"):
        DataDirLock(tmp_path / "var")
    DataDirLock(tmp_path / "other").release()
    lock.release()
    DataDirLock(tmp_path / "var").release()


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data_dir: .*file can't be written"):
        DataDirLock(tmp_path / "file")


def test_a_refused_lock_leaves_no_descriptor(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(ConfigError):
            DataDirLock(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    lock.release()


# --- incoming


def test_what_waits_is_as_it_was_received(arrivals: Arrivals) -> None:
    sent = [arrivals.land(ct(1), "CT1", "NODE"), arrivals.land(ct(2), "CT2", "ALIAS")]
    found = waiting(arrivals)
    assert len(found) == 2
    assert all(isinstance(one, Received) and same(one, two) for one, two in zip(found, sent, strict=True))


def test_when_it_was_received_is_when_its_file_was_written(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    os.utime(arrivals.objects.waiting_path(landed.name), (123.0, 456.0))
    (found,) = waiting(arrivals)
    assert isinstance(found, Received)
    assert found.received_at == 456.0


@pytest.mark.parametrize("content", [b"no preamble", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_what_is_no_object_of_ours_is_rejected(arrivals: Arrivals, content: bytes) -> None:
    (arrivals.folder / "incoming" / "a.dcm").write_bytes(content)
    (found,) = waiting(arrivals)
    assert isinstance(found, Rejection)
    assert (found.name, found.reason, found.at) == ("a", "DataSetError", 77.0)


def test_what_was_answered_a900_is_rejected_again(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    path = arrivals.objects.waiting_path(landed.name)
    uid = f"{STUDY}.1.1".encode()
    path.write_bytes(path.read_bytes().replace(uid, f"{STUDY}.1.9".encode(), 1))  # in the meta information
    (found,) = waiting(arrivals)
    assert isinstance(found, Rejection)
    assert found.reason == "DataSetMismatch"


def test_one_file_that_can_not_be_read_keeps_nothing_from_starting(arrivals: Arrivals) -> None:
    (arrivals.folder / "incoming" / "000.dcm").mkdir()
    arrivals.land(ct(1))
    assert [type(one) for one in waiting(arrivals)] == [Received]


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "pread"])
def test_one_file_whose_disk_fails_keeps_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It stays: its sender may have been told that it is safe, and the disk may be another one tomorrow."""
    arrivals = Arrivals(tmp_path, durable=True)
    names = [arrivals.land(ct(number)).name for number in (1, 2)]
    real = getattr(os, call)

    def once(*arguments: Any) -> Any:
        monkeypatch.setattr(os, call, real)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, once)
    assert [one.name for one in waiting(arrivals)] == names[1:]
    assert list(arrivals.objects.waiting()) == names
    arrivals.close()


def test_an_object_that_was_torn_before_its_answer_is_dropped(arrivals: Arrivals) -> None:
    torn, whole = arrivals.land(ct(1)).name, arrivals.land(ct(2)).name
    os.truncate(arrivals.objects.waiting_path(torn), 100)
    assert [one.name for one in waiting(arrivals)] == [whole]
    assert list(arrivals.objects.waiting()) == [whole]


def test_partial_objects_are_gone(arrivals: Arrivals) -> None:
    part = arrivals.folder / "incoming" / "a.part"
    part.write_bytes(b"half")
    assert waiting(arrivals) == []
    assert not part.exists()


# --- stored objects


def test_stored_objects_are_read_under_their_key(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    arrivals.index(landed)
    (found,) = recovery.stored_objects(arrivals.objects)
    assert same(found, landed._replace(name=""))


def test_an_object_under_another_key_is_not_taken_for_it(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1))
    key = ObjectKey(STUDY, f"{STUDY}.1", f"{STUDY}.1.1")
    with arrivals.objects.open(key) as file, pytest.raises(DataSetError, match="lies under"):
        recovery.read_object(file, "", key._replace(instance="1.2"))


def test_unreadable_stored_objects_are_passed_over(arrivals: Arrivals) -> None:
    arrivals.deliver(ct(1), ct(2), ct(3))
    first, second, _ = arrivals.files("objects")
    first.write_bytes(b"overwritten by a failing disk")
    second.unlink()
    second.mkdir()
    (arrivals.folder / "objects" / "lost+found").mkdir()
    found = list(recovery.stored_objects(arrivals.objects))
    assert [one.key.instance for one in found] == [f"{STUDY}.1.3"]


# --- handing over, and the whole rebuild


def test_the_writers_queue_is_not_filled(arrivals: Arrivals) -> None:
    landed = arrivals.land(ct(1))
    put: list[object] = []
    waits: list[int] = []
    count = recovery.hand_over(iter([landed] * 2_500), put.append, lambda: waits.append(len(put)))
    assert (count, len(put)) == (2_500, 2_500)
    assert waits == [1_000, 2_000, 2_500]


def test_nothing_to_hand_over() -> None:
    assert recovery.hand_over(iter(()), lambda _: None, lambda: None) == 0


def test_a_rebuild_gives_the_same_index(arrivals: Arrivals, tmp_path: Path) -> None:
    arrivals.deliver(ct(1), ct(2), ct(1, 2))
    before = arrivals.study(STUDY)
    instances = {row.uid: row.attributes for row in arrivals.studies.load(STUDY).instances}
    arrivals.intake.forget()
    arrivals.writer.start()
    assert recovery.rebuild(arrivals.objects, arrivals.writer, arrivals.engine, tmp_path / "none") == 3
    after = arrivals.study(STUDY)
    moving = {"revision"}
    assert {k: v for k, v in after.items() if k not in moving} == {
        k: v for k, v in before.items() if k not in moving
    }
    assert {row.uid: row.attributes for row in arrivals.studies.load(STUDY).instances} == instances
    assert not rebuild.unfinished(arrivals.engine)


def test_a_rebuild_that_fails_is_known_to_be_unfinished(
    arrivals: Arrivals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals.deliver(ct(1))

    def wait() -> None:
        raise IndexUnavailable("disk full")

    monkeypatch.setattr(arrivals.writer, "wait_until_current", wait)
    with pytest.raises(IndexUnavailable):
        recovery.rebuild(arrivals.objects, arrivals.writer, arrivals.engine, tmp_path / "none")
    assert rebuild.unfinished(arrivals.engine)
