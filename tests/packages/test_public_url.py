"""Links in events, for consumers that reach the node through a container's port or a proxy."""

from __future__ import annotations

from tests.harness import Nodes
from tests.scenarios.sender import instance, new_uid, send


def test_dataref_begins_with_it(nodes: Nodes) -> None:
    given = "https://node.hospital.example/{dicom}/"
    node = nodes.start(http__public_url=given, events__max_event_bytes="10000")
    study = new_uid()
    send(node, *(instance(study, number) for number in range(1, 100)))
    node.post(f"/api/studies/{study}/complete")
    (event,) = node.wait_for_events(1)
    root = given.rstrip("/")
    assert event["dataref"] == f"{root}/api/events/r5/{study}/1/data"
    whole = node.get(event["dataref"].removeprefix(root))
    assert whole["numberOfInstances"] == 99
