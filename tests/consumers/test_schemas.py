"""conf/schemas against events of a running node: every output, completed, amended, forced, shortened."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from node.model import Event
from node.publish.bindings import headers
from tests.consumers.sending import send_many
from tests.harness import LocalNode, eventually, running_nodes
from tests.scenarios.sender import instance, new_uid, send
from tests.scenarios.test_outputs import ENDPOINT, OUTPUTS, key_objects, structure_set
from tests.tools import ROOT

KINDS = ("imagingstudy", "imagingselection")
IMAGES = 80  # enough for every resource to be longer than the least events.max_event_bytes

Json = dict[str, Any]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "conf" / "schemas" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


VALIDATORS = {f"{kind}.{of}": validator(f"{kind}.{of}.json") for kind in KINDS for of in ("event", "headers")}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNode]:
    """A node that has published a study twice: complete by itself, then amended by an operator, and large."""
    folder = tmp_path_factory.mktemp("events")
    nodes = running_nodes(folder)
    started = next(nodes).start(
        outputs=json.dumps(OUTPUTS),
        **ENDPOINT,
        dicom__receivers="0",
        events__max_event_bytes="10000",
        completion__quiet_seconds="0.5",
        completion__rules=json.dumps([{"calling_ae": "SLOW", "quiet_seconds": 3600}]),
    )
    study = new_uid()
    send(started, instance(study, 1))
    started.wait_for_events(4)
    more = [instance(study, number, Rows=64, Columns=64) for number in range(2, IMAGES + 1)]
    document = key_objects(study, *(image.SOPInstanceUID for image in more))
    send_many(started, [*more, structure_set(study), document], folder / "sent", "SLOW")
    eventually(lambda: started.get(f"/api/studies/{study}")["instances"] == IMAGES + 2)
    started.post(f"/api/studies/{study}/complete")
    started.wait_for_events(4 + 6)
    yield started
    next(nodes, None)


def kind_of(event: Json) -> str:
    return str(event["type"]).split(".")[2]


def as_headers(event: Json) -> dict[str, str]:
    attributes = {name: value for name, value in event.items() if name != "data"}
    made = Event(event["id"], "", "", event["subject"], attributes, b"")
    return {name: value.decode() for name, value in headers(made)}


def test_every_event_is_as_its_schema_says(node: LocalNode) -> None:
    events = node.events()
    assert len(events) == 10
    for event in events:
        VALIDATORS[f"{kind_of(event)}.event"].validate(event)
        VALIDATORS[f"{kind_of(event)}.headers"].validate(as_headers(event))


def test_there_was_one_of_everything(node: LocalNode) -> None:
    events = node.events()
    assert {event["id"].partition("/")[0] for event in events} == {output["name"] for output in OUTPUTS}
    assert {event["completion"] for event in events} == {"quiet", "forced"}
    assert {tuple(event["type"].split(".")[2:4]) for event in events} == {
        ("imagingstudy", "completed"),
        ("imagingstudy", "amended"),
        ("imagingselection", "amended"),
    }
    shortened = {event["id"].partition("/")[0] for event in events if "dataref" in event}
    assert shortened == {"r5", "imr", "onco", "old", "sel"}


def test_events_over_http_are_the_same(node: LocalNode) -> None:
    rows = node.get("/api/events?limit=100")["events"]
    for row in rows:
        VALIDATORS[f"{kind_of(row['event'])}.event"].validate(row["event"])
    assert [row["event"] for row in rows] == node.events()


CHANGES: dict[str, Callable[[Json], object]] = {
    "no id": lambda event: event.pop("id"),
    "no data": lambda event: event.pop("data"),
    "another attribute": lambda event: event.update(extra="x"),
    "version 0": lambda event: event.update(studyversion=0),
    "a version as text": lambda event: event.update(studyversion="1"),
    "another type": lambda event: event.update(type="org.dicom-fhir-node.imagingstudy.deleted.v1"),
    "another reason": lambda event: event.update(completion="mpps"),
    "an id of another form": lambda event: event.update(id="r5/not-a-uid/1"),
    "a time with an offset": lambda event: event.update(time="2026-01-02T03:04:05+01:00"),
    "another format": lambda event: event.update(datacontenttype="application/json"),
    "a subject that is no UID": lambda event: event.update(subject="P1"),
    "dataref without its digest": lambda event: event.update(
        dataref="http://127.0.0.1:1/api/events/r5/1/1/data"
    ),
    "another resource": lambda event: event["data"].update(resourceType="Bundle"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_schema_tells(node: LocalNode, name: str) -> None:
    event = copy.deepcopy(node.events()[0])
    CHANGES[name](event)
    assert not VALIDATORS["imagingstudy.event"].is_valid(event)
    if name not in ("no data", "another resource", "a version as text"):
        assert not VALIDATORS["imagingstudy.headers"].is_valid(as_headers({"id": "", "subject": ""} | event))


def test_the_follower_shows_each_event_once(node: LocalNode, tmp_path: Path) -> None:
    """The program of docs/consuming.md: also when a line is only half there, and when the log is another file."""
    lines = (node.data_dir / "events.ndjson").read_bytes().splitlines(keepends=True)
    log, shown = tmp_path / "events.ndjson", tmp_path / "shown"
    log.write_bytes(lines[0] + lines[1][:100])
    program = [sys.executable, str(ROOT / "docs" / "examples" / "follower.py"), str(log)]

    def shows(count: int) -> bool:
        return len(shown.read_text().splitlines()) >= count

    with shown.open("w") as out, subprocess.Popen(program, stdout=out) as process:
        try:
            eventually(lambda: shows(1))
            log.write_bytes(b"".join(lines[:4]))
            eventually(lambda: shows(4))
            log.write_bytes(lines[0] + lines[4])  # renamed away, begun anew, and one event again
            eventually(lambda: shows(5))
        finally:
            process.terminate()
    expected = [json.loads(line) for line in lines[:5]]
    found = [line.split() for line in shown.read_text().splitlines()]
    assert found == [[event["id"], event["type"]] for event in expected]
