"""A study of 24,000 instances through a Kafka broker as it comes, and its full resource where the event says."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from hashlib import sha256
from urllib.request import urlopen

import orjson
import pytest

from node.model import ObjectKey, Received
from tests.harness import LocalNode, Nodes, eventually
from tests.kafka_broker import KafkaBroker
from tests.scenarios.delivery import headers_of
from tests.scenarios.sender import new_uid
from tests.studies import raw_header

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCES, SERIES = 24_000, 80


def received(study: str) -> Iterator[Received]:
    """What receiving would hand to the index, for objects that lie under their keys."""
    for number in range(INSTANCES):
        series = f"{study}.{number % SERIES}"
        elements = {
            0x00080060: b"CT",
            0x00100020: b"P1",
            0x00200011: str(number % SERIES).encode(),
            0x00200013: str(number).encode(),
            0x00280010: struct.pack("<H", 512),
        }
        yield Received(
            name="",
            key=ObjectKey(study, series, f"{series}.{number}"),
            sop_class=CT,
            transfer_syntax="1.2.840.10008.1.2.1",
            size=1,
            header=raw_header(elements, implicit=False, little=True),
            calling_ae="CT1",
            called_ae="DICOMFHIR",
            received_at=0.0,
            association=0,
        )


def take_in(node: LocalNode, study: str) -> None:
    for count, one in enumerate(received(study), 1):
        node.node.writer.put(one)
        if count % 2_000 == 0:
            node.node.writer.wait_until_current()


def test_a_study_of_24000_instances(nodes: Nodes, kafka_broker: KafkaBroker) -> None:
    kafka_broker.ensure_running()
    topic = f"imaging-study-{uuid.uuid4()}"
    kafka_broker.create_topic(topic)
    outputs = [{"name": "r5", "profile": "r5", "topic": topic}]
    node = nodes.start(
        completion__quiet_seconds="3600",
        outputs=orjson.dumps(outputs).decode(),
        events__sink="kafka",
        events__kafka__bootstrap_servers=kafka_broker.bootstrap,
        events__kafka__create_topics="true",
    )
    study = new_uid()
    take_in(node, study)
    node.post(f"/api/studies/{study}/complete")
    eventually(lambda: node.get("/api/events?data=0")["events"][0]["state"] == "sent", 60)
    (message,) = kafka_broker.read_all(topic)
    headers = headers_of(message)
    value = message.value() or b""
    assert len(value) < 1_000_000
    sent = orjson.loads(value)
    assert sent["numberOfInstances"] == INSTANCES
    with urlopen(headers["ce_dataref"], timeout=60) as response:
        full = response.read()
    assert sha256(full).hexdigest() == headers["ce_datasha256"]
    whole = orjson.loads(full)
    assert sum(len(series.pop("instance")) for series in whole["series"]) == INSTANCES
    assert whole == sent
