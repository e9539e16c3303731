"""A node behind the HTTP side: a few studies in memory, with the errors that the real one raises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.types import ASGIApp

from node.errors import EventNotFound, QuarantineConflict, QuarantineNotFound, StudyConflict, StudyNotFound
from node.index.outbox import Record
from node.model import Event
from node.web.services import WebServices

STUDY = "1.2.826.0.1"
RESOURCE = b'{"resourceType":"ImagingStudy","b":1,"a":2.50}'


def record(seq: int, study: str = STUDY) -> Record:
    attributes: dict[str, str | int] = {
        "specversion": "1.0",
        "id": f"r5/{study}/{seq}",
        "subject": study,
        "studyversion": seq,
    }
    event = Event(f"r5/{study}/{seq}", "r5", "imaging-study", study, attributes, RESOURCE, seq)
    return Record(event, seq, 1_700_000_000.5, 1_700_000_001.0, None, None)


@dataclass
class NodeDouble:
    """State that a test can set and look at."""

    states: dict[str, str] = field(default_factory=lambda: {STUDY: "open"})
    records: list[Record] = field(default_factory=lambda: [record(n) for n in range(1, 6)])
    not_ready: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def study(self, uid: str) -> dict[str, Any]:
        self.calls.append(("study", uid))
        if uid not in self.states:
            raise StudyNotFound(f"no study {uid}")
        return {"uid": uid, "state": self.states[uid]}

    def studies(self, state: str | None, limit: int, offset: int) -> Sequence[dict[str, Any]]:
        found = [self.study(uid) for uid in self.states if state in (None, self.states[uid])]
        return found[offset : offset + limit]

    def resource(self, uid: str, profile: str, version: int | None) -> bytes:
        self.study(uid)
        if profile != "r5":
            raise StudyNotFound(f"study {uid} has no resource of output {profile}")
        self.calls.append(("resource", uid, profile, version))
        return RESOURCE

    def _to(self, uid: str, state: str) -> dict[str, Any]:
        if self.study(uid)["state"] == state:
            raise StudyConflict(f"study {uid} is {state}")
        self.states[uid] = state
        return self.study(uid)

    def complete(self, uid: str) -> dict[str, Any]:
        return self._to(uid, "complete")

    def hold(self, uid: str) -> dict[str, Any]:
        return self._to(uid, "held")

    def reopen(self, uid: str) -> dict[str, Any]:
        return self._to(uid, "open")

    def events(self, study: str | None, after: int | None, limit: int, with_data: bool) -> Sequence[Record]:
        self.calls.append(("events", study, after, limit, with_data))
        found = [r for r in self.records if study in (None, r.event.study)]
        return found[-limit:] if after is None else [r for r in found if r.event.seq > after][:limit]

    def event_data(self, event_id: str) -> bytes:
        self.calls.append(("event_data", event_id))
        for record in self.records:
            if record.event.id == event_id:
                return record.event.data
        raise EventNotFound("no event has this id")

    def replay(self, ids: Sequence[str]) -> Sequence[str]:
        self.calls.append(("replay", *ids))
        return [r.event.id for r in self.records if r.event.id in ids]

    def _numbered(self, number: int, command: str) -> dict[str, Any]:
        self.calls.append((command, number))
        if number > 7:
            raise QuarantineNotFound(f"nothing in quarantine has the number {number}")
        if command != "quarantined" and number == 7:
            raise QuarantineConflict("7 is a study", "Complete it.")
        return {
            "id": number,
            "state": {"release": "released", "discard": "discarded"}.get(command, "waiting"),
        }

    def services(self, **other: Any) -> WebServices:
        parts: dict[str, Any] = {
            "studies": self.studies,
            "study": self.study,
            "resource": self.resource,
            "complete": self.complete,
            "hold": self.hold,
            "reopen": self.reopen,
            "events": self.events,
            "event_data": self.event_data,
            "replay": self.replay,
            "quarantine": lambda limit, offset: [{"id": n} for n in range(7)][offset : offset + limit],
            "quarantined": lambda number: self._numbered(number, "quarantined"),
            "release": lambda number: self._numbered(number, "release"),
            "discard": lambda number: self._numbered(number, "discard"),
            "status": lambda: {"ae_title": "DOUBLE", "reasons": dict(self.not_ready)},
            "callers": lambda: [{"calling_ae": "CT1", "objects": 3}],
            "timeline": lambda uid: {"arrivals": [], "versions": [], "of": self.study(uid)["uid"]},
            "metrics": lambda accept: (b"# metrics\n", f"text/plain; was={accept or 'none'}"),
            "reasons": lambda: dict(self.not_ready),
        }
        return WebServices(**{**parts, **other})


def ask(app: ASGIApp, method: str, path: str, **request: Any) -> httpx.Response:
    """One request through the application, without a socket."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8042") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())
