"""Values of ``WebServices`` as a busy node gives them, and a node that gives them; peers chose hostile names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from node.errors import EventNotFound, StudyNotFound
from node.index.outbox import Record
from node.model import Event
from node.web.services import WebServices

NOW = 1_790_000_040.0  # 2026-09-21T14:14:00Z
STUDY = "1.2.826.0.1.77"
NASTY = """<script>alert(1)</script>"><img src=x onerror=alert(2)>'{{ 7*7 }}&amp;"""

Json = dict[str, Any]


def study(uid: str = STUDY, **changed: Any) -> Json:
    """A row of ``studies``."""
    return {
        "uid": uid,
        "state": "open",
        "version": 0,
        "added": 3,
        "instances": 3,
        "number_of_series": 2,
        "created_at": "2026-09-21T14:13:00.000Z",
        "first_at": "2026-09-21T14:13:00.000Z",
        "last_at": "2026-09-21T14:13:30.000Z",
        "quiet_seconds": 60.0,
        "deadline": "2026-09-21T14:14:30.000Z",
        "completed_at": None,
        "completion": None,
        "calling_aes": ["CT1"],
        "study_date": "20260921",
        "study_time": "160000",
        "accession": "••••42",
        "study_id": "",
        "patient_id": "••••••89",
        "patient_name": None,
        "description": "CT head",
        "modalities": ["CT"],
        "sop_classes": ["1.2.840.10008.5.1.4.1.1.2"],
        "conflicting": False,
        **changed,
    }


def series(place: int, **changed: Any) -> Json:
    """A row of ``study``'s series."""
    return {"uid": f"{STUDY}.{place}", "modality": "CT", "instances": 2, **changed}


def status(**changed: Any) -> Json:
    """``status``: ready, receiving, nothing waits."""
    return {
        "ae_title": "DICOMFHIR",
        "version": "0.1.0",
        "now": "2026-09-21T14:14:00.000Z",
        "started_at": "2026-09-20T08:00:00.000Z",
        "reasons": {},
        "associations": {"active": 2, "limit": 100},
        "receiving": {
            "step_seconds": 60,
            "objects": [0] * 58 + [1200, 40],
            "bytes": [0] * 58 + [630_000_000, 21_000_000],
            "last_at": "2026-09-21T14:13:59.000Z",
        },
        "studies": {"open": 1, "held": 0, "quarantined": 0, "complete": 7},
        "outbox": {"pending": 0, "parked": 0, "oldest_seconds": 0.0, "sink": "ndjson"},
        "quarantine": {"waiting": 0},
        "disk": {"free": 412_000_000_000, "min_free": 5_000_000_000, "total": 1_000_000_000_000},
        "masked": True,
        **changed,
    }


def caller(name: str = "CT1", **changed: Any) -> Json:
    """A row of ``callers``."""
    return {
        "calling_ae": name,
        "known": True,
        "associations": 1,
        "last_seen": "2026-09-21T14:13:59.000Z",
        "objects": 1240,
        "bytes": 651_000_000,
        "failures": 0,
        "refused": 0,
        "late": 0,
        **changed,
    }


def event(version: int = 1, output: str = "r5", **changed: Any) -> Json:
    """An event of ``timeline``."""
    return {
        "id": f"{output}/{STUDY}/{version}",
        "output": output,
        "type": "org.dicom-fhir-node.imagingstudy.completed.v1",
        "topic": "imaging-study",
        "state": "sent",
        "created_at": "2026-09-21T14:14:30.000Z",
        "sent_at": "2026-09-21T14:14:30.012Z",
        "replayed_at": None,
        "lag_seconds": 0.012,
        "parked_reason": None,
        **changed,
    }


def version(number: int = 1, **changed: Any) -> Json:
    """A version of ``timeline``."""
    return {
        "version": number,
        "completion": "quiet",
        "instances": 3,
        "added": 3,
        "created_at": "2026-09-21T14:14:30.000Z",
        "events": [event(number)],
        **changed,
    }


def arrival(second: int, instances: int, sender: str = "CT1") -> Json:
    """A bucket of ``timeline``'s arrivals."""
    at = f"2026-09-21T14:13:{second:02d}.000Z"
    return {"at": at, "seconds": 5.0, "instances": instances, "calling_ae": sender}


def held(number: int = 1, **changed: Any) -> Json:
    """A row of ``quarantine``."""
    return {
        "id": number,
        "reason": "duplicate",
        "study": STUDY,
        "series": f"{STUDY}.1",
        "instance": f"{STUDY}.1.1",
        "name": "duplicate/0001.dcm",
        "detail": "same SOP Instance UID, other bytes; stored: the bytes received before",
        "calling_ae": "CT1",
        "at": "2026-09-21T14:10:00.000Z",
        "released_at": None,
        "kind": "object",
        "state": "waiting",
        **changed,
    }


def record(seq: int, study_uid: str = STUDY, **changed: Any) -> Record:
    """An event of the outbox."""
    attributes: dict[str, str | int] = {
        "type": "org.dicom-fhir-node.imagingstudy.completed.v1",
        "studyversion": 1,
        "completion": "quiet",
        "instances": 3,
        "added": 3,
        **changed,
    }
    found = Event(f"r5/{study_uid}/1", "r5", "imaging-study", study_uid, attributes, b"", seq)
    return Record(found, 1, NOW - 10, NOW - 9.5, None, None)


RESOURCE = b'{"resourceType":"ImagingStudy","status":"available","series":[{"uid":"1.2","number":3}]}'


@dataclass
class SampleNode:
    """Answers what it was given; ``fault`` is raised by whatever is asked."""

    state: Json = field(default_factory=status)
    rows: list[Json] = field(default_factory=lambda: [study()])
    series: list[Json] = field(default_factory=lambda: [series(1), series(2)])
    senders: list[Json] = field(default_factory=lambda: [caller()])
    records: list[Record] = field(default_factory=lambda: [record(1)])
    waiting: list[Json] = field(default_factory=lambda: [held()])
    sides: Json = field(default_factory=dict)
    times: Json = field(default_factory=lambda: {"arrivals": [arrival(0, 3)], "versions": [version()]})
    resources: dict[str, bytes] = field(default_factory=lambda: {f"r5/{STUDY}/1": RESOURCE})
    fault: Exception | None = None

    def study(self, uid: str) -> Json:
        self._fail()
        for row in self.rows:
            if row["uid"] == uid:
                return {**row, "series": self.series}
        raise StudyNotFound(f"no study {uid}")

    def studies(self, state: str | None, limit: int, offset: int) -> Sequence[Json]:
        self._fail()
        return [row for row in self.rows if state in (None, row["state"])][offset : offset + limit]

    def events(self, study: str | None, after: int | None, limit: int, with_data: bool) -> Sequence[Record]:
        self._fail()
        return [one for one in self.records if study in (None, one.event.study)][-limit:]

    def event_data(self, event_id: str) -> bytes:
        if event_id not in self.resources:
            raise EventNotFound("no event has this id")
        return self.resources[event_id]

    def quarantined(self, number: int) -> Json:
        return {**next(row for row in self.waiting if row["id"] == number), **self.sides}

    def status(self) -> Json:
        self._fail()
        return self.state

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    def services(self) -> WebServices:
        """All but what only the JSON API asks for."""

        def not_asked(*_given: Any) -> Any:
            raise AssertionError("a page asks for nothing of this")

        return WebServices(
            studies=self.studies,
            study=self.study,
            resource=not_asked,
            complete=not_asked,
            hold=not_asked,
            reopen=not_asked,
            events=self.events,
            event_data=self.event_data,
            replay=not_asked,
            quarantine=lambda limit, offset: self.waiting[offset : offset + limit],
            quarantined=self.quarantined,
            release=not_asked,
            discard=not_asked,
            status=self.status,
            callers=lambda: self.senders,
            timeline=lambda uid: self.times,
            metrics=not_asked,
            reasons=lambda: {},
        )
