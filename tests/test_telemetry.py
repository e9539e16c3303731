"""Telemetry: each report becomes the metric and the log line that it promises, and never patient data."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest

from node import logs
from node.activity import Activity
from node.errors import IndexUnavailable, StorageError
from node.metrics import Metrics, summed
from node.model import Event, Finding
from node.peers import Peer, Peers
from node.telemetry import Telemetry
from node.timing import SystemTime
from tests.test_logs import as_before

__all__ = ["as_before"]

EVENT = Event("r5/1.2/1", "r5", "t", "1.2", {"type": "completed.v1"}, b"{}")


class Heard:
    """A telemetry, its metrics, and the log lines it wrote."""

    def __init__(self) -> None:
        self.stream = StringIO()
        logs.configure("info", "json", self.stream)
        self.metrics = Metrics(Peers([Peer("CT*")], ()), "1.0")
        self.telemetry = Telemetry(self.metrics)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def metric(self, name: str) -> float:
        text = self.metrics.render("")[0].decode()
        found = [line for line in text.splitlines() if line.startswith(f"dicom_node_{name} ")]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_late_instances_have_the_label_of_their_peer(heard: Heard) -> None:
    heard.telemetry.late("CT7", 3)
    heard.telemetry.late("UNKNOWN", 2)
    assert heard.metric('late_instances_total{calling_ae="CT*"}') == 3
    assert heard.metric('late_instances_total{calling_ae="other"}') == 2


def test_a_caller_that_is_refused_for_ever_does_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("node.telemetry.time.monotonic", lambda: clock[0])
    heard = Heard()
    for _ in range(1000):
        heard.telemetry.stored("LOOP", 0x0124, 5, 0.1, "not allowed")
    assert len(heard.lines()) == 20
    assert heard.metric('stores_total{calling_ae="other",status="0x0124"}') == 1000
    heard.telemetry.stored("CT7", 0xC000, 5, 0.1, "no SOP Instance UID")  # hidden by nobody
    assert heard.lines()[-1]["calling_ae"] == "CT7"
    assert heard.lines()[-1]["skipped"] == 980
    for number in range(10_000):
        heard.telemetry.stored(f"NAME{number}", 0x0124, 5, 0.1, "not allowed")
    assert len(heard.lines()) < 300  # other names are no way around it
    clock[0] = 61.0
    heard.telemetry.stored("LOOP", 0x0124, 5, 0.1, "not allowed")
    assert heard.lines()[-1]["calling_ae"] == "LOOP"


def test_the_log_says_who_called_and_the_metric_which_entry_it_is(heard: Heard) -> None:
    heard.telemetry.stored("CT7", 0xA700, 5, 0.1, "disk full")
    heard.telemetry.stored("STRANGER", 0xC000, 5, 0.1, "no SOP Instance UID")
    assert [line["calling_ae"] for line in heard.lines()] == ["CT7", "STRANGER"]
    assert heard.metric('stores_total{calling_ae="CT*",status="0xA700"}') == 1
    assert heard.metric('stores_total{calling_ae="other",status="0xC000"}') == 1


def test_what_the_writer_reports(heard: Heard) -> None:
    heard.telemetry.duplicate("same")
    heard.telemetry.quarantined("duplicate", "1.2", "duplicate/0001.dcm", "CT7")
    heard.telemetry.index_failed(IndexUnavailable("disk full"), 7)
    heard.telemetry.object_failed("0001-01", ValueError("PatientName Doe^John"))
    assert heard.metric('duplicates_total{kind="same"}') == 1
    assert heard.metric('quarantined_total{reason="duplicate"}') == 1
    quarantined, index, failed = heard.lines()
    told = tuple(quarantined[name] for name in ("event", "reason", "study", "file", "calling_ae"))
    assert told == ("quarantined", "duplicate", "1.2", "duplicate/0001.dcm", "CT7")
    assert (index["error"], index["waiting"]) == ("disk full", 7)
    assert "reindex" in index["hint"]
    assert (failed["event"], failed["name"], failed["error_type"]) == (
        "object_not_indexed",
        "0001-01",
        "ValueError",
    )
    assert "Doe" not in heard.stream.getvalue(), "other errors may quote a data set"


def test_an_outage_of_the_index_is_logged_once_and_its_end(heard: Heard) -> None:
    for _ in range(5):
        heard.telemetry.index_failed(IndexUnavailable("disk full"), 1)
    heard.telemetry.index_failed(IndexUnavailable("locked"), 1)
    heard.telemetry.index_recovered()
    heard.telemetry.index_failed(IndexUnavailable("locked"), 1)
    assert [(line["event"], line.get("error")) for line in heard.lines()] == [
        ("index_write_failed", "disk full"),
        ("index_write_failed", "locked"),
        ("index_recovered", None),
        ("index_write_failed", "locked"),
    ]


def test_what_publication_reports(heard: Heard) -> None:
    heard.telemetry.published("1.2", 2, "max-age", 61.5, [EVENT])
    heard.telemetry.unfit(EVENT, "series[0].uid: not an OID")
    heard.telemetry.found_amiss(
        "1.2", [Finding("disagreement", "PatientName", "1.2", n) for n in range(1, 31)]
    )
    assert heard.metric('events_total{output="r5",type="completed.v1"}') == 1
    assert heard.metric("study_quiet_seconds_sum") == 61.5
    assert heard.metric('data_quality_total{rule="disagreement"}') == sum(range(1, 31))
    lines = heard.lines()
    assert (lines[0]["event"], lines[0]["version"], lines[0]["reason"]) == ("study_completed", 2, "max-age")
    assert (lines[1]["event"], lines[1]["event_id"]) == ("event_parked", "r5/1.2/1")
    assert len(lines) == 2 + 20, "a study with a thousand findings fills no log"


def test_a_lost_document_is_not_hidden_behind_disagreements(heard: Heard) -> None:
    disagreements = [Finding("disagreement", "PatientName", "1.2", 1)] * 30
    lost = Finding("document-unreadable", "SOPInstanceUID", "1.2.3", 1)
    heard.telemetry.unread("1.2", "1.2.3", "the file ends inside an element")
    heard.telemetry.found_amiss("1.2", [*disagreements, lost])
    first, second, *_ = heard.lines()
    assert (first["event"], first["level"], first["instance"]) == ("document_unread", "warning", "1.2.3")
    assert first["why"] == "the file ends inside an element"
    assert (second["rule"], second["uid"]) == ("document-unreadable", "1.2.3")
    assert heard.metric('data_quality_total{rule="document-unreadable"}') == 1


def test_a_failing_clock_says_where(heard: Heard) -> None:
    try:
        raise KeyError("secret")
    except KeyError as error:
        heard.telemetry.clock_failed("1.2", error)
    (line,) = heard.lines()
    assert (line["event"], line["study"], line["error_type"]) == ("completion_failed", "1.2", "KeyError")
    assert line["frames"][-1].startswith("tests/test_telemetry.py:")
    assert "secret" not in heard.stream.getvalue()


def test_a_frame_without_a_folder_does_not_end_the_thread_that_reports(heard: Heard) -> None:
    try:
        exec(compile("1 / 0", "<string>", "exec"), {})
    except ZeroDivisionError as error:
        heard.telemetry.clock_failed(None, error)
    assert heard.lines()[0]["frames"][-1] == "<string>:1"


def test_no_field_is_dropped(heard: Heard) -> None:
    """Everything that telemetry logs is on the allow-list of logs.FIELDS."""
    telemetry = heard.telemetry
    telemetry.stored("CT1", 0xA700, 5, 0.1, "disk full")
    telemetry.association_ended("CT1", "10.0.0.1", "timeout", "idle", 3)
    telemetry.failed("10.0.0.1", RuntimeError())
    telemetry.quarantined("duplicate", "1.2", "duplicate/0001.dcm", "CT7")
    telemetry.index_failed(IndexUnavailable("locked"), 1)
    telemetry.object_failed("n", RuntimeError())
    telemetry.clock_failed("1.2", RuntimeError())
    telemetry.build_failed("1.2", RuntimeError())
    telemetry.published("1.2", 1, "quiet", 1.0, [EVENT])
    telemetry.unfit(EVENT, "why")
    telemetry.found_amiss("1.2", [Finding("disagreement", "PatientName", "1.2", 1)])
    lines = heard.lines()
    assert len(lines) == 11
    assert [line["dropped"] for line in lines if "dropped" in line] == []


def test_what_an_operator_does_with_quarantine(heard: Heard) -> None:
    heard.telemetry.released("duplicate", "1.2", "duplicate/0001.dcm")
    heard.telemetry.discarded("DataSetError", "", "DataSetError/0002.dcm")
    heard.telemetry.unsettled("duplicate/0003.dcm", StorageError("move: Input/output error"))
    assert heard.metric('quarantine_released_total{reason="duplicate"}') == 1
    assert heard.metric('quarantine_discarded_total{reason="DataSetError"}') == 1
    released, discarded, unsettled = heard.lines()
    assert (released["event"], released["study"], released["file"]) == (
        "quarantine_released",
        "1.2",
        "duplicate/0001.dcm",
    )
    assert (discarded["event"], discarded["level"]) == ("quarantine_discarded", "warning")
    assert (unsettled["event"], unsettled["error"]) == ("quarantine_unsettled", "move: Input/output error")
    assert not any("dropped" in line for line in heard.lines())


def test_the_recorder_hears_what_the_metrics_hear() -> None:
    activity = Activity(SystemTime())
    telemetry = Telemetry(Metrics(Peers([], ()), "1.0"), activity)
    telemetry.stored("CT7", 0x0000, 5, 0.1, "")
    telemetry.stored("CT7", 0xC000, 5, 0.1, "no UID")
    for stores in summed([("CT7", 10, 0.1), ("CT7", 20, 0.2)]):
        telemetry.stored_together(stores)
    telemetry.association_ended("CT7", "10.0.0.1", "aborted", "", 1)
    telemetry.late("CT7", 3)
    (caller,) = activity.callers()
    assert (caller.objects, caller.bytes, caller.failures, caller.refused, caller.late) == (3, 35, 1, 1, 3)
    assert (sum(activity.received().objects), sum(activity.received().bytes)) == (3, 35)
