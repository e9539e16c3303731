"""The examples of docs/consuming.md: what a running node publishes when it is sent the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.config import Config
from node.conformance.examples import STUDY, Example, examples, study_files
from node.fhir.targets import PROFILES
from node.publish.bindings import structured
from node.services.send import SendOptions, send
from node.services.send.address import Address as SendTo
from tests.consumers.test_schemas import VALIDATORS, kind_of
from tests.harness import Nodes, eventually

# Where the node is and what the clock says: the only things that may differ.
PASSING = ("time", "source", "dataref")


@pytest.fixture(scope="module")
def made() -> dict[str, Example]:
    return {example.name: example for example in examples(Config())}


def event_of(example: Example) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(structured(example.wrapped.event) or b"")
    return found


def test_each_is_as_its_schema_says_and_its_resource_fit(made: dict[str, Example]) -> None:
    assert set(made) == {"completed", "amended", "shortened", "selection"}
    for example in made.values():
        event = event_of(example)
        VALIDATORS[f"{kind_of(event)}.event"].validate(event)
        PROFILES[example.wrapped.event.output].check(event["data"])


def test_a_running_node_publishes_the_same(nodes: Nodes, tmp_path: Path, made: dict[str, Example]) -> None:
    images, document = study_files(tmp_path)
    node = nodes.start(
        dicom__receivers="0",
        completion__quiet_seconds="0.5",
        completion__rules=json.dumps([{"calling_ae": "SLOW", "quiet_seconds": 3600}]),
    )
    to = SendTo(node.ae_title, "127.0.0.1", node.port)
    assert send(images[:-1], to, SendOptions(calling_ae="DEMO")).exit_code == 0
    node.wait_for_events(1)
    assert send([images[-1], document], to, SendOptions(calling_ae="SLOW")).exit_code == 0
    eventually(lambda: node.get(f"/api/studies/{STUDY}")["instances"] == len(images) + 1)
    node.post(f"/api/studies/{STUDY}/complete")
    node.wait_for_events(3)
    for published, name in zip(node.events(), ("completed", "amended", "selection"), strict=True):
        expected = event_of(made[name])
        if name != "completed":
            expected["callingae"] = "DEMO,SLOW"
        for event in (published, expected):
            for attribute in PASSING:
                event.pop(attribute, None)
        assert published == expected
