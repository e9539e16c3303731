"""The node as a whole, as the API and the status page have it, over a real index and store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from node.activity import OTHER, Activity
from node.errors import QuarantineConflict, QuarantineNotFound, StorageError, StudyConflict
from node.index.outbox import Outbox
from node.index.overview import Overview
from node.index.studies import Publication
from node.model import Event
from node.peers import Peer, Peers
from node.quarantine import Sides
from node.timing import rfc3339
from node.web.operate import About, Operations, Parts
from node.web.show import MASKED, Show
from tests.quarantine.world import World
from tests.studies import STUDY, ct

OLD, NEW = ct(1), ct(1, ImageComments="corrected", PatientID="SOMEBODY-ELSE")
PEERS = Peers([Peer("CT*", charset="ISO_IR 100")], ("store",))


class Made:
    """``Operations`` over a ``World``, and what a test sets of the rest."""

    def __init__(self, folder: Path, show: Show = MASKED) -> None:
        self.world = World(folder)
        self.time = self.world.arrivals.time
        self.studies = self.world.arrivals.studies
        self.activity = Activity(self.time, most_callers=2)
        self.open: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self.published: list[tuple[str, str, str]] = []
        self.outbox = Outbox(self.world.arrivals.engine)
        about = About(
            ae_title="NODE",
            version="1.2",
            started_at=1000.0,
            sink="ndjson",
            max_associations=7,
            min_free_bytes=11,
        )
        parts = Parts(
            studies=self.studies,
            outbox=self.outbox,
            overview=Overview(self.world.arrivals.engine),
            quarantine=self.world.rows,
            objects=self.world.objects,
            desk=self.world.desk,
            sides=Sides(lambda calling_ae: PEERS.find(calling_ae).charset),
            activity=self.activity,
            clock=self.time,
            reasons=lambda: self.reasons,
            associations=lambda: sum(self.open.values()),
            callers=lambda: self.open,
            knows=PEERS.knows,
            published=lambda *told: self.published.append(told),
        )
        self.operations = Operations(about, parts, show)

    def publish(self, *events: Event, parked: dict[str, str] | None = None) -> None:
        state = self.studies.state(STUDY)
        assert self.studies.publish(state, "quiet", self.time.wall(), Publication(events, parked or {}, {}))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    it = Made(tmp_path)
    yield it
    it.world.close()


def event(version: int) -> Event:
    attributes: dict[str, str | int] = {
        "type": "completed.v1",
        "completion": "quiet",
        "instances": 1,
        "added": 1,
    }
    name = f"r5/{STUDY}/{version}"
    return Event(name, "r5", "imaging-study", STUDY, {**attributes, "studyversion": version}, b"{}")


# --- status -----------------------------------------------------------------------------------------------


def test_a_node_at_rest(made: Made) -> None:
    status = made.operations.status()
    disk = status.pop("disk")
    assert disk["total"] > disk["free"] > 0
    assert disk["min_free"] == 11
    assert status == {
        "ae_title": "NODE",
        "version": "1.2",
        "now": rfc3339(made.time.wall()),
        "started_at": rfc3339(1000.0),
        "masked": True,
        "reasons": {},
        "associations": {"active": 0, "limit": 7},
        "receiving": {"step_seconds": 60, "objects": [0] * 60, "bytes": [0] * 60, "last_at": None},
        "studies": {"open": 0, "held": 0, "complete": 0, "quarantined": 0},
        "outbox": {"pending": 0, "parked": 0, "oldest_seconds": 0.0, "sink": "ndjson"},
        "quarantine": {"waiting": 0},
    }
    orjson.dumps(status)


def test_a_node_at_work(made: Made) -> None:
    made.world.send(OLD, NEW)
    made.activity.stored("CT1", 0, 500)
    made.publish(event(1))
    made.time.at += 5
    made.open, made.reasons = {"CT1": 2}, {"sink": "stuck"}
    status = made.operations.status()
    assert status["associations"]["active"] == 2
    assert status["reasons"] == {"sink": "stuck"}
    assert (status["receiving"]["objects"][-1], status["receiving"]["bytes"][-1]) == (1, 500)
    assert status["receiving"]["last_at"] == rfc3339(made.time.now() - 5)
    assert status["studies"]["complete"] == 1
    assert status["outbox"] == {"pending": 1, "parked": 0, "oldest_seconds": 5.0, "sink": "ndjson"}
    assert status["quarantine"] == {"waiting": 1}


def test_a_disk_that_does_not_tell_hides_nothing_else(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead() -> int:
        raise StorageError("Input/output error")

    monkeypatch.setattr(made.world.objects, "free_bytes", dead)
    monkeypatch.setattr(made.world.objects, "total_bytes", dead)
    assert made.operations.status()["disk"] == {"free": None, "min_free": 11, "total": None}


def test_shown_identifiers_are_said_to_be(tmp_path: Path) -> None:
    made = Made(tmp_path, Show(identifiers=True))
    assert made.operations.status()["masked"] is False
    made.world.close()


# --- callers ----------------------------------------------------------------------------------------------


def test_callers_with_what_is_open_now(made: Made) -> None:
    made.activity.stored("CT1", 0, 500)
    made.activity.association_ended("CT1", "aborted")
    made.time.at += 60
    made.activity.stored("XA1", 0xA700, 500)
    made.time.at += 60
    made.open = {"CT1": 2}
    first, second = made.operations.callers()
    assert first == {
        "calling_ae": "CT1",
        "known": True,
        "associations": 2,
        "last_seen": rfc3339(made.time.now()),
        "objects": 1,
        "bytes": 500,
        "failures": 0,
        "refused": 1,
        "late": 0,
    }
    assert (second["calling_ae"], second["known"], second["failures"]) == ("XA1", False, 1)
    assert second["last_seen"] == rfc3339(made.time.now() - 60)


def test_associations_of_callers_beyond_the_bound_are_in_the_row_of_the_others(made: Made) -> None:
    made.open = {"A": 1, "B": 1, "C": 1, "D": 1}
    found = {row["calling_ae"]: row["associations"] for row in made.operations.callers()}
    assert len(found) == 3
    assert found[OTHER] == 2
    assert sum(found.values()) == 4


# --- timeline ---------------------------------------------------------------------------------------------


def test_a_study_from_its_first_instance_to_its_second_version(made: Made) -> None:
    first_at = made.time.now()
    made.world.send(OLD)
    made.publish(event(1))
    made.outbox.mark_sent([1], made.time.wall() + 2)
    made.time.at += 10
    made.world.send(ct(2), calling_ae="CT2")
    made.publish(event(2), parked={event(2).id: "unfit"})
    timeline = made.operations.timeline(STUDY)
    assert timeline["arrivals"] == [
        {"at": rfc3339(first_at), "seconds": 1, "instances": 1, "calling_ae": "CT1"},
        {"at": rfc3339(first_at + 10), "seconds": 1, "instances": 1, "calling_ae": "CT2"},
    ]
    second, first = timeline["versions"]
    wall = made.time.wall()
    assert second["events"][0]["state"] == "parked"
    assert second["events"][0]["parked_reason"] == "unfit"
    assert first == {
        "version": 1,
        "completion": "quiet",
        "instances": 1,
        "added": 1,
        "created_at": rfc3339(wall - 10),
        "events": [
            {
                "id": event(1).id,
                "output": "r5",
                "type": "completed.v1",
                "topic": "imaging-study",
                "state": "sent",
                "created_at": rfc3339(wall - 10),
                "sent_at": rfc3339(wall - 8),
                "replayed_at": None,
                "lag_seconds": 2.0,
                "parked_reason": None,
            }
        ],
        "more": 0,
    }
    orjson.dumps(timeline)


def test_the_lag_of_a_replayed_event_counts_from_its_replay(made: Made) -> None:
    made.world.send(OLD)
    made.publish(event(1))
    made.outbox.mark_sent([1], made.time.wall() + 2)
    made.outbox.replay([event(1).id], made.time.wall() + 1000)
    (pending,) = made.operations.timeline(STUDY)["versions"][0]["events"]
    assert (pending["state"], pending["lag_seconds"]) == ("pending", None)
    made.outbox.mark_sent([1], made.time.wall() + 1003)
    (sent,) = made.operations.timeline(STUDY)["versions"][0]["events"]
    assert (sent["state"], sent["lag_seconds"]) == ("sent", 3.0)


# --- quarantine -------------------------------------------------------------------------------------------


def test_both_sides_of_a_collision(made: Made) -> None:
    made.world.send(OLD)
    made.world.send(NEW, calling_ae="CT2")
    found = made.operations.quarantined(1)
    held, stored = found["held"], found["stored"]
    assert (held["calling_ae"], stored["calling_ae"]) == ("CT2", "CT1")
    assert held["instance"] == stored["instance"] == OLD.SOPInstanceUID
    assert held["digest"] != stored["digest"]
    assert held["size"] > stored["size"] > 500
    assert found["differs"] == ["ImageComments", "PatientID"]
    assert (held["patient_id"], stored["patient_id"]) == ("••••SE", "••••42")
    assert held["patient_name"] is None
    text = orjson.dumps(found).decode()
    assert not any(secret in text for secret in ("SOMEBODY-ELSE", "PAT-0042", "Müller", "A20260042"))


def test_names_are_shown_where_they_may_be(tmp_path: Path) -> None:
    made = Made(tmp_path, Show(identifiers=True))
    made.world.send(OLD, NEW)
    held = made.operations.quarantined(1)["held"]
    assert (held["patient_id"], held["patient_name"]) == ("SOMEBODY-ELSE", "Müller^Jörg^Karl")
    made.world.close()


def test_one_that_can_not_be_read_says_why(made: Made) -> None:
    made.world.reject(b"\x08\x00\x05\x00CS")
    found = made.operations.quarantined(1)
    assert found["held"]["unreadable"]
    assert (found["held"]["instance"], found["held"]["size"]) == ("", 6)
    assert (found["stored"], found["differs"]) == (None, [])


def test_a_file_that_is_no_dicom_file(made: Made) -> None:
    made.world.reject(b"")
    (path,) = made.world.arrivals.files("quarantine")
    path.write_bytes(b"somebody wrote here")
    held = made.operations.quarantined(1)["held"]
    assert held["unreadable"] == "file has no DICOM preamble"
    assert held["digest"] is None


def test_a_released_row_has_nothing_held(made: Made) -> None:
    made.world.send(OLD, NEW)
    after = made.operations.release(1, complete=lambda uid: None)
    assert (after["state"], after["released_at"]) == ("released", rfc3339(made.time.wall()))
    study, displaced = made.operations.quarantined(2), made.operations.quarantined(3)
    assert study["reason"] == "patient-conflict", "the released object is of another patient"
    assert after["displaced"] == 3
    assert displaced["held"]["calling_ae"] == "CT1"
    found = made.operations.quarantined(1)
    assert found["held"] is None
    assert found["stored"]["calling_ae"] == "CT1"
    assert made.published == [], "the desk has told it"


def test_a_discarded_row_says_when(made: Made) -> None:
    made.world.send(OLD, NEW)
    after = made.operations.discard(1)
    assert (after["state"], after["discarded_at"]) == ("discarded", rfc3339(made.time.wall()))


def test_a_study_is_released_by_completing_it(made: Made) -> None:
    made.world.send(OLD, ct(2, PatientID="SOMEBODY-ELSE"))

    def complete(uid: str) -> None:
        assert uid == STUDY
        made.publish(event(1))

    after = made.operations.release(1, complete)
    assert (after["kind"], after["state"]) == ("study", "released")
    assert made.published == [("patient-conflict", STUDY, "")]
    with pytest.raises(QuarantineConflict, match="was released before"):
        made.operations.release(1, complete)


def test_a_study_that_can_not_be_completed_stays(made: Made) -> None:
    made.world.send(OLD, ct(2, PatientID="SOMEBODY-ELSE"))

    def complete(uid: str) -> Any:
        raise StudyConflict("not now")

    with pytest.raises(StudyConflict):
        made.operations.release(1, complete)
    assert made.operations.quarantined(1)["state"] == "waiting"
    assert made.published == []


def test_what_is_not_there(made: Made) -> None:
    for ask in (made.operations.quarantined, made.operations.discard):
        with pytest.raises(QuarantineNotFound, match="the number 4"):
            ask(4)
    with pytest.raises(QuarantineNotFound):
        made.operations.release(4, complete=lambda uid: None)
