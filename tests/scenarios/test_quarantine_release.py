"""An operator decides on quarantine, over HTTP, while a real node runs, is killed, and starts again."""

from __future__ import annotations

import http.client
import signal
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.client import ApiError, Client
from tests.harness import Address, NodeProcess, Nodes, eventually
from tests.scenarios.injection import killing
from tests.scenarios.sender import associated, instance, new_uid, send, store

LONG = {"completion__quiet_seconds": "3600"}
ONE_PROCESS = {**LONG, "dicom__receivers": "0"}


def client(node: Address) -> Client:
    return Client(f"127.0.0.1:{node.http_port}")


def collide(node: Address) -> tuple[str, dict[str, Any]]:
    """One instance stored, another with its UID in quarantine: the study, and the row."""
    uid = new_uid()
    send(node, instance(uid, 1, ImageComments="first"))
    send(node, instance(uid, 1, ImageComments="second"), calling_ae="CT2")
    return uid, eventually(lambda: newest(node, uid))


def newest(node: Address, uid: str) -> dict[str, Any]:
    rows = client(node).quarantine()
    return next((row for row in rows if row["study"] == uid and row["state"] == "waiting"), {})


def lies_in(path: Path) -> Dataset:
    return dcmread(path, stop_before_pixels=True)


def comments(node: Address, uid: str) -> dict[str, list[str]]:
    """ImageComments of every object of the study on the disk, by folder."""
    return {
        folder: sorted(
            found.ImageComments
            for found in map(lies_in, (node.data_dir / folder).rglob("*.dcm"))
            if found.StudyInstanceUID == uid
        )
        for folder in ("objects", "incoming", "quarantine")
    }


def test_a_collision_is_looked_at_released_and_published_again(nodes: Nodes) -> None:
    """In the node as it is: receivers in processes of their own."""
    node = nodes.start_process(**LONG)
    uid, row = collide(node)
    api = client(node)
    api.command(uid, "complete")
    sides = api.quarantined(row["id"])
    assert (sides["held"]["calling_ae"], sides["stored"]["calling_ae"]) == ("CT2", "CT1")
    assert sides["differs"] == ["ImageComments"]
    assert api.release(row["id"])["state"] == "released"
    assert comments(node, uid) == {"objects": ["second"], "incoming": [], "quarantine": ["first"]}
    assert api.study(uid)["state"] == "open"
    api.command(uid, "complete")
    eventually(lambda: [event["id"] for event in node.events()] == [f"r5/{uid}/1", f"r5/{uid}/2"])
    displaced = newest(node, uid)
    assert displaced["id"] == api.quarantined(row["id"])["displaced"]
    assert api.discard(displaced["id"])["state"] == "discarded"
    assert comments(node, uid) == {"objects": ["second"], "incoming": [], "quarantine": []}
    with pytest.raises(ApiError, match="was released before"):
        api.release(row["id"])
    with pytest.raises(ApiError, match="was discarded"):
        api.release(displaced["id"])
    assert node.metric("quarantine_released_total", '{reason="duplicate"}') == 1
    assert node.metric("quarantine_discarded_total", '{reason="duplicate"}') == 1
    assert api.status()["quarantine"] == {"waiting": 0}
    assert [version["added"] for version in api.timeline(uid)["versions"]] == [1, 1]
    assert "quarantine_released" in node.log()


def test_who_is_connected_and_what_they_did(nodes: Nodes) -> None:
    """Counts come from the receivers' processes, and the last hour is known to have been after a restart."""
    node = nodes.start_process(**LONG)
    uid = new_uid()
    api = client(node)
    with associated(node, "CT1") as one, associated(node, "CT1"):
        assert store(one, instance(uid, 1), instance(uid, 2)) == [0, 0]
        assert store(one, instance(uid, 3, SeriesInstanceUID="")) == [0xC000]
        row = eventually(lambda: next((r for r in api.callers() if r["objects"] == 2 and r["failures"]), {}))
        assert (row["calling_ae"], row["associations"], row["known"]) == ("CT1", 2, False)
        assert api.status()["associations"]["active"] == 2
    eventually(lambda: api.callers()[0]["associations"] == 0)
    receiving = api.status()["receiving"]
    assert sum(receiving["objects"]) == 2
    assert sum(receiving["bytes"]) == api.callers()[0]["bytes"] > 0
    node.stop()
    node = nodes.start_process(**LONG)
    (again,) = client(node).callers()
    assert (again["calling_ae"], again["objects"]) == ("CT1", 0)
    assert again["last_seen"] == client(node).study(uid)["last_at"]
    assert client(node).status()["receiving"]["last_at"] == again["last_seen"]


def test_a_study_of_two_patients_goes_out_when_an_operator_says_so(nodes: Nodes) -> None:
    node = nodes.start(**ONE_PROCESS)
    uid, api = new_uid(), client(node)
    send(node, instance(uid, 1, PatientID="PATIENT-0001"), instance(uid, 2, PatientID="PATIENT-0002"))
    row = eventually(lambda: newest(node, uid))
    assert (row["kind"], row["reason"]) == ("study", "patient-conflict")
    assert "PATIENT" not in row["detail"]
    with pytest.raises(ApiError, match=f"is study {uid}") as refused:
        api.discard(row["id"])
    assert (refused.value.http_status, "complete UID" in refused.value.hint) == (409, True)
    assert api.release(row["id"])["state"] == "released"
    (event,) = node.wait_for_events(1)
    assert (event["subject"], event["completion"]) == (uid, "forced")


def test_an_unreadable_object_stays_until_it_can_be_read(nodes: Nodes) -> None:
    """On a node that shows identifiers, because it was told to."""
    node = nodes.start(**ONE_PROCESS, http__show_identifiers="true")
    uid, api = new_uid(), client(node)
    with associated(node) as association:
        assert store(association, instance(uid, 1, SeriesInstanceUID="")) == [0xC000]
        assert [caller["associations"] for caller in api.callers()] == [1]
    (row,) = eventually(lambda: api.quarantine())
    with pytest.raises(ApiError, match="it still can't be taken") as refused:
        api.release(row["id"])
    assert refused.value.http_status == 409
    path = node.data_dir / "quarantine" / row["name"]
    corrected = dcmread(path)
    corrected.SeriesInstanceUID = f"{uid}.1"
    corrected.save_as(path)
    assert api.release(row["id"])["state"] == "released"
    study = api.study(uid)
    assert (study["instances"], study["patient_id"], study["patient_name"]) == (1, "P1", "Made^By^Code")
    assert api.status()["masked"] is False
    assert len(node.stored()) == 1
    assert list((node.data_dir / "quarantine").rglob("*.dcm")) == []


# --- killed -----------------------------------------------------------------------------------------------

# Where a decision is when the process goes: command, file below data_dir (if any), system call, which of its
# thread's calls, whether it is made after the next start.
POINTS = [
    ("release", "index.db-wal", "pwrite64", 1, False),  # nothing of it is written
    ("release", "", "rename", 1, True),  # decided, no file is moved
    ("release", "", "rename", 2, True),  # the released one waits in incoming/
    ("release", "", "rename", 3, True),  # and the stored one is in quarantine
    ("discard", "quarantine/NAME", "unlink", 1, True),  # decided, not deleted
]


def told(node: NodeProcess, number: int, command: str) -> None:
    """The operator decides, whatever becomes of the answer."""
    try:
        node.post(f"/api/quarantine/{number}/{command}")
    except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
        assert node.process.wait(20) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.strace
def test_killed_at_each_step_nothing_is_lost_and_the_row_says_what_is(nodes: Nodes, tmp_path: Path) -> None:
    node = nodes.start_process(**ONE_PROCESS)
    for command, place, call, when, decided in POINTS:
        uid, row = collide(node)
        only = node.data_dir / place.replace("NAME", row["name"]) if place else None
        with killing(node.process.pid, call, when, tmp_path, only) as injected:
            told(node, row["id"], command)
            assert node.process.wait(20) == -signal.SIGKILL
        assert injected.text, (command, place, call, when)
        node = nodes.start_process(**ONE_PROCESS)
        after = client(node).quarantined(row["id"])
        case = command, place, call, when
        done = {"release": "released", "discard": "discarded"}[command]
        assert after["state"] == (done if decided else "waiting"), case
        first, second = ["first"], ["second"]
        if command == "discard" and decided:
            wanted = {"objects": first, "incoming": [], "quarantine": []}
        else:
            stored, aside = (second, first) if decided else (first, second)
            wanted = {"objects": stored, "incoming": [], "quarantine": aside}
        assert comments(node, uid) == wanted, case
        assert (after["stored"] or {}).get("instance") == f"{uid}.1.1", case
        assert bool(newest(node, uid)) == bool(wanted["quarantine"]), case
