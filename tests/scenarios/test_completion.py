"""When a study goes out: quiet periods, caps, late and repeated objects, operators; over real sockets."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Address, Nodes, eventually
from tests.scenarios.sender import associated, instance, new_uid, send, store

SLOW = "3600"


@pytest.fixture
def uid() -> str:
    return new_uid()


def state(node: Address, uid: str) -> dict[str, Any]:
    found: dict[str, Any] = node.get(f"/api/studies/{uid}")
    return found


def indexed(node: Address, uid: str, instances: int) -> dict[str, Any]:
    """The study once so many instances of it are indexed."""

    def there() -> dict[str, Any] | None:
        found = [one for one in node.get("/api/studies")["studies"] if one["uid"] == uid]
        return found[0] if found and found[0]["instances"] == instances else None

    found = eventually(there)
    assert found is not None
    return found


def seconds_left(study: dict[str, Any]) -> float:
    """From last instance to deadline, as the API tells them."""
    last, due = (datetime.fromisoformat(study[name]) for name in ("last_at", "deadline"))
    return (due - last).total_seconds()


# --- quiet periods and the cap


def test_quiet_then_one_event(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    send(node, instance(uid, 1), instance(uid, 2, 2))
    (event,) = node.wait_for_events(1)
    assert (event["completion"], event["studyversion"], event["added"]) == ("quiet", 1, 2)
    assert event["callingae"] == "CT1"
    study = state(node, uid)
    assert (study["state"], study["version"], study["deadline"]) == ("complete", 1, None)
    assert node.metric("study_quiet_seconds_count") == 1
    assert node.metric("study_quiet_seconds_sum") >= 0.3


RULES = [
    {"called_ae": "SLOWLANE", "quiet_seconds": 500},
    {"calling_ae": "US*", "quiet_seconds": 400},
    {"modality": "MR", "quiet_seconds": 300},
]


@pytest.mark.parametrize(
    ("calling", "called", "modality", "quiet"),
    [
        ("CT1", "DICOMFHIR", "CT", 200),
        ("CT1", "DICOMFHIR", "MR", 300),
        ("US9", "DICOMFHIR", "MR", 400),
        ("US9", "SLOWLANE", "MR", 500),
    ],
)
def test_the_first_rule_decides(
    nodes: Nodes, uid: str, calling: str, called: str, modality: str, quiet: float
) -> None:
    node = nodes.start(
        completion__quiet_seconds="200", completion__rules=json.dumps(RULES), dicom__aliases='["SLOWLANE"]'
    )
    send(node, instance(uid, 1, Modality=modality), calling_ae=calling, called_ae=called)
    assert seconds_left(indexed(node, uid, 1)) == pytest.approx(quiet)


@contextmanager
def sending_on(node: Address, uid: str) -> Iterator[list[int]]:
    """A sender that sends instances of the study without pause; yields the statuses as they come."""
    stop, statuses = threading.Event(), list[int]()

    def run() -> None:
        with associated(node) as association:
            for number in range(1, 100_000):
                if stop.is_set():
                    return
                statuses.extend(store(association, instance(uid, number)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def published_whole(node: Address, uid: str, instances: int) -> list[dict[str, Any]]:
    """The study's events once they have told of so many instances: none lost, none twice."""
    eventually(lambda: sum(event["added"] for event in node.events_of(uid)) >= instances)
    events = node.events_of(uid)
    assert sum(event["added"] for event in events) == instances
    return events


def test_a_stream_that_never_pauses_goes_out_at_the_cap_and_again_at_its_end(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.5", completion__max_seconds="1")
    with sending_on(node, uid) as statuses:
        first = node.wait_for_events(1)[0]
    assert (first["completion"], first["studyversion"]) == ("max-age", 1)
    assert set(statuses) == {0}
    events = published_whole(node, uid, len(statuses))
    assert events[-1]["instances"] == len(statuses)
    assert [event["studyversion"] for event in events] == list(range(1, len(events) + 1))
    assert {event["type"].rsplit(".", 2)[1] for event in events[1:]} <= {"amended"}


def test_an_open_association_that_moves_is_waited_for(nodes: Nodes, uid: str) -> None:
    """Another study keeps the association moving: the first one is not complete before it stops."""
    node = nodes.start(completion__quiet_seconds="0.4")
    other = new_uid()
    with associated(node) as association:
        assert store(association, instance(uid, 1)) == [0]
        until, number = time.monotonic() + 1.5, 0
        while time.monotonic() < until:
            number += 1
            assert store(association, instance(other, number)) == [0]
            assert node.events() == []
    assert {event["subject"] for event in node.wait_for_events(2)} == {uid, other}


def test_an_open_association_that_stands_still_is_not_waited_for(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    with associated(node) as association:
        assert store(association, instance(uid, 1)) == [0]
        node.wait_for_events(1)
        assert association.is_established


def test_what_is_answered_but_not_indexed_yet_counts(
    nodes: Nodes, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is slow just when the study would be due: the second instance is not left to a version 2."""
    node = nodes.start(completion__quiet_seconds="0.5")
    go_on = threading.Event()
    really = node.node.writer._intake.sort_out

    def slow(*args: Any) -> Any:
        assert go_on.wait(20)
        return really(*args)

    try:
        send(node, instance(uid, 1))
        due = datetime.fromisoformat(indexed(node, uid, 1)["deadline"]).timestamp()
        monkeypatch.setattr(node.node.writer._intake, "sort_out", slow)
        send(node, instance(uid, 2))
        assert time.time() < due, "the machine is too slow for this test"
        eventually(lambda: time.time() > due + 0.3)
        assert node.events() == []
    finally:
        go_on.set()
    (event,) = node.wait_for_events(1)
    assert (event["studyversion"], event["instances"]) == (1, 2)


def test_a_restart_resumes_the_deadline(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="2.5")
    send(node, instance(uid, 1))
    before = indexed(node, uid, 1)
    node.stop()
    assert node.events() == []
    node = nodes.start(completion__quiet_seconds="1000")  # new rules hold for new instances
    assert state(node, uid)["deadline"] == before["deadline"]
    (event,) = node.wait_for_events(1)
    assert (event["studyversion"], event["completion"]) == (1, "quiet")


def test_a_deadline_that_passed_while_it_was_down_is_made_good(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.6")
    send(node, instance(uid, 1))
    indexed(node, uid, 1)
    node.stop()
    deadline = time.time() + 1
    eventually(lambda: time.time() > deadline)
    node = nodes.start(completion__quiet_seconds="1000")
    node.wait_for_events(1)


# --- what comes late or again


def test_a_late_instance_opens_the_next_version(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    send(node, instance(uid, 1), instance(uid, 2))
    node.wait_for_events(1)
    send(node, instance(uid, 3), calling_ae="CT2")
    first, second = node.wait_for_events(2)
    assert first["type"].endswith("imagingstudy.completed.v1")
    assert second["type"].endswith("imagingstudy.amended.v1")
    assert (second["id"], second["studyversion"]) == (f"r5/{uid}/2", 2)
    assert (second["instances"], second["added"], second["callingae"]) == (3, 1, "CT1,CT2")
    assert node.metric("late_instances_total", '{calling_ae="other"}') == 1
    old = node.get(f"/api/studies/{uid}/imagingstudy?profile=r5&version=1")
    assert old["numberOfInstances"] == 2


def test_the_same_bytes_again_change_nothing(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds=SLOW)
    send(node, instance(uid, 1))
    before = indexed(node, uid, 1)
    send(node, instance(uid, 1), calling_ae="CT9")
    eventually(lambda: node.metric("duplicates_total", '{kind="same"}') == 1)
    assert {**state(node, uid), "series": None} == {**before, "series": None}


def test_the_same_bytes_after_completion_make_no_version(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    send(node, instance(uid, 1))
    node.wait_for_events(1)
    send(node, instance(uid, 1))
    eventually(lambda: node.metric("duplicates_total", '{kind="same"}') == 1)
    assert (state(node, uid)["state"], state(node, uid)["version"]) == ("complete", 1)


def quarantined(node: Address) -> list[Path]:
    return sorted(path for path in (node.data_dir / "quarantine").rglob("*") if path.is_file())


@pytest.mark.parametrize(("on_duplicate", "status"), [("keep", 0), ("replace", 0), ("reject", 0x0111)])
def test_other_bytes(nodes: Nodes, uid: str, on_duplicate: str, status: int) -> None:
    node = nodes.start(completion__quiet_seconds=SLOW, objects__on_duplicate=on_duplicate)
    send(node, instance(uid, 1))
    indexed(node, uid, 1)
    (stored,) = eventually(node.stored)  # its row may come before its place
    first = stored.read_bytes()
    with associated(node) as association:
        assert store(association, instance(uid, 1, SeriesDescription="other")) == [status]
    (row,) = eventually(lambda: node.get("/api/quarantine")["quarantine"])
    (aside,) = eventually(lambda: quarantined(node))
    assert aside == node.data_dir / "quarantine" / row["name"]
    if on_duplicate == "replace":
        eventually(lambda: stored.exists() and stored.read_bytes() != first)
        assert aside.read_bytes() == first
    else:
        assert stored.read_bytes() == first
        assert b"other" in aside.read_bytes()
    assert state(node, uid)["instances"] == 1


def test_a_study_of_two_patients_is_held_back_until_an_operator_says_so(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    good = new_uid()
    send(node, instance(uid, 1), instance(uid, 2, PatientID="P2"), instance(good, 1))
    assert [event["subject"] for event in node.wait_for_events(1)] == [good], "the others go on"
    study = state(node, uid)
    assert (study["state"], study["conflicting"], study["deadline"]) == ("quarantined", True, None)
    (row,) = node.get("/api/quarantine")["quarantine"]
    assert (row["reason"], row["study"]) == ("patient-conflict", uid)
    assert node.metric("quarantined_total", '{reason="patient-conflict"}') == 1
    node.post(f"/api/studies/{uid}/complete")
    (event,) = eventually(lambda: node.events_of(uid))
    assert (event["completion"], event["instances"]) == ("forced", 2)
    (row,) = node.get("/api/quarantine")["quarantine"]
    assert row["released_at"] is not None


# --- operators


def refused(node: Address, path: str) -> dict[str, Any]:
    with pytest.raises(urllib.error.HTTPError) as raised:
        node.post(path)
    with raised.value as answer:
        return {"status": answer.code, **json.loads(answer.read())}


def test_complete_publishes_now(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds=SLOW)
    send(node, instance(uid, 1))
    answer = node.post(f"/api/studies/{uid}/complete")  # what was answered is in it, indexed or not
    assert (answer["state"], answer["version"], answer["instances"]) == ("complete", 1, 1)
    (event,) = node.wait_for_events(1)
    assert event["completion"] == "forced"
    again = refused(node, f"/api/studies/{uid}/complete")
    assert again["status"] == 409
    assert "reopen it" in again["error"]


def test_complete_of_two_patients_is_asked_for_twice(nodes: Nodes, uid: str) -> None:
    """Their issuers tell them apart only when all three are seen: neither the clock nor the first word sends it."""
    node = nodes.start(completion__quiet_seconds=SLOW)
    issuers: tuple[dict[str, str], ...] = ({}, {"IssuerOfPatientID": "A"}, {"IssuerOfPatientID": "B"})
    send(node, *(instance(uid, number, **issuer) for number, issuer in enumerate(issuers, 1)))
    first = refused(node, f"/api/studies/{uid}/complete")
    assert first["status"] == 409
    assert "held back" in first["error"]
    assert node.get(f"/api/studies/{uid}")["state"] == "quarantined"
    assert node.post(f"/api/studies/{uid}/complete")["state"] == "complete"
    (event,) = node.wait_for_events(1)
    assert (event["completion"], event["instances"]) == ("forced", 3)


def test_held_studies_wait_for_their_operator(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    with associated(node) as association:
        store(association, instance(uid, 1))
        assert node.post(f"/api/studies/{uid}/hold")["state"] == "held"
        store(association, instance(uid, 2))
    other = new_uid()
    send(node, instance(other, 1))
    assert [event["subject"] for event in node.wait_for_events(1)] == [other]
    assert state(node, uid)["state"] == "held"
    node.stop()
    node = nodes.start(completion__quiet_seconds="0.3")
    assert state(node, uid)["state"] == "held", "over a restart too"
    assert node.post(f"/api/studies/{uid}/reopen")["state"] == "open"
    (event,) = eventually(lambda: node.events_of(uid))
    assert (event["instances"], event["studyversion"]) == (2, 1)


def test_a_reopened_study_is_published_as_another_version(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.3")
    send(node, instance(uid, 1))
    node.wait_for_events(1)
    node.post(f"/api/studies/{uid}/reopen")
    events = node.wait_for_events(2)
    assert (events[1]["studyversion"], events[1]["added"]) == (2, 0)
    assert events[1]["data"] == events[0]["data"]


@pytest.mark.parametrize("command", ["complete", "hold", "reopen"])
def test_commands_on_what_is_not_there(nodes: Nodes, uid: str, command: str) -> None:
    node = nodes.start()
    assert refused(node, f"/api/studies/{uid}/{command}")["status"] == 404


def test_complete_while_it_is_being_sent_loses_nothing(nodes: Nodes, uid: str) -> None:
    node = nodes.start(completion__quiet_seconds="0.5")
    with sending_on(node, uid) as statuses:
        eventually(lambda: len(statuses) > 20)
        answer = node.post(f"/api/studies/{uid}/complete")
        assert answer["version"] == 1
        before = len(statuses)
        eventually(lambda: len(statuses) > before + 5)
    events = published_whole(node, uid, len(statuses))
    assert events[0]["completion"] == "forced"
    assert events[-1]["instances"] == len(statuses)
    assert len(events) > 1
