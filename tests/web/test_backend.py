"""What the HTTP API reads from a real index: the resources of events, whole, however they went out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.errors import EventNotFound, StudyNotFound
from node.index.outbox import Outbox
from node.index.studies import Publication
from node.model import Event
from node.web.backend import Backend
from tests.index.arrivals import Arrivals
from tests.studies import STUDY, ct

SELECTION = "sel/1.2.9/0/1"


def event(name: str, output: str, data: bytes) -> Event:
    return Event(name, output, "topic", STUDY, {"id": name, "studyversion": 1}, data)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """One study with the events of three outputs; two of them went out shortened."""
    arrivals = Arrivals(tmp_path)
    arrivals.deliver(ct(1))
    events = [
        event(f"r5/{STUDY}/1", "r5", b"short"),
        event(SELECTION, "sel", b"short"),
        event("sel/1.2.9/1/1", "sel", b"whole"),
    ]
    full = {f"r5/{STUDY}/1": b"full", SELECTION: b"full selection"}
    state = arrivals.studies.state(STUDY)
    assert arrivals.studies.publish(state, "quiet", 1.0, Publication(events, {events[2].id: "unfit"}, full))
    yield Backend(
        arrivals.studies,
        Outbox(arrivals.engine),
        arrivals.time,
        7200.0,
        sizes=lambda uid: {},
        publish=lambda uid, reason: False,
        build=lambda uid, profile: b"as it stands",
        flush=lambda: None,
        changed=lambda: None,
        replayed=lambda: None,
        outputs={"r5": "r5", "imagingselection": "sel"},
    )
    arrivals.close()


@pytest.mark.parametrize(
    ("name", "data"),
    [(f"r5/{STUDY}/1", b"full"), (SELECTION, b"full selection"), ("sel/1.2.9/1/1", b"whole")],
)
def test_an_event_has_its_whole_resource(backend: Backend, name: str, data: bytes) -> None:
    assert backend.event_data(name) == data


def test_no_event_no_data(backend: Backend) -> None:
    with pytest.raises(EventNotFound):
        backend.event_data("sel/1.2.9/2/1")


def test_a_version_is_what_was_published_whole(backend: Backend) -> None:
    assert backend.resource(STUDY, "r5", 1) == b"full"
    assert backend.resource(STUDY, "r5", None) == b"as it stands"
    for profile, version in (("r5", 2), ("imagingselection", 1)):
        with pytest.raises(StudyNotFound, match=f"no version {version}"):
            backend.resource(STUDY, profile, version)
    with pytest.raises(StudyNotFound, match="no output has profile 'imr'; there are r5, imagingselection"):
        backend.resource(STUDY, "imr", 1)


def test_events_of_a_study_are_read_no_further_than_asked_for(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outbox, "for_study", None)  # reads all of them with their data
    assert [row.event.seq for row in backend.events(STUDY, None, 2, True)] == [2, 3]
    assert [row.event.seq for row in backend.events(STUDY, 0, 2, True)] == [1, 2]
    assert [row.event.data for row in backend.events(STUDY, None, 1, False)] == [b""]
    assert backend.events("9.9", None, 2, True) == []
