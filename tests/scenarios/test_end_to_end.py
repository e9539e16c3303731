"""The main job: a study goes in by storescu, one valid R5 event comes out, whatever happens in between."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import pytest
from fhir.resources.imagingstudy import ImagingStudy
from pydicom.uid import generate_uid

from tests.harness import Nodes, eventually
from tests.kafka_broker import KafkaBroker
from tests.studies import made_study
from tests.tools import dcmtk

pytestmark = pytest.mark.dcmtk


@pytest.fixture
def study(tmp_path: Path) -> tuple[str, list[Path]]:
    """(Study Instance UID, files) of two CT series and one MR series, 30 instances."""
    uid = str(generate_uid())
    return uid, made_study(tmp_path / "study", uid, {"CT": 12, "PT": 8, "MR": 10})


def valid(resource: dict[str, object], study: str, instances: int) -> None:
    ImagingStudy.model_validate(resource)
    assert resource["identifier"][0]["value"] == f"urn:oid:{study}"  # type: ignore[index]
    assert resource["numberOfInstances"] == instances


def test_storescu_to_ndjson(nodes: Nodes, study: tuple[str, list[Path]]) -> None:
    uid, files = study
    node = nodes.start(completion__quiet_seconds="0.5")
    sent = dcmtk("storescu", "-aec", node.ae_title, "127.0.0.1", str(node.port), *files)
    assert sent.returncode == 0, sent.stdout
    (event,) = node.wait_for_events(1)
    assert event["id"] == f"r5/{uid}/1"
    assert event["type"] == "org.dicom-fhir-node.imagingstudy.completed.v1"
    assert (event["completion"], event["instances"], event["seriescount"]) == ("quiet", 30, 3)
    valid(event["data"], uid, 30)
    eventually(lambda: node.metric("outbox_pending") == 0)
    eventually(lambda: node.metric("stores_total", '{calling_ae="other",status="0x0000"}') == 30)


def kafka(broker: KafkaBroker, topic: str) -> dict[str, str]:
    return {
        "events__sink": "kafka",
        "events__kafka__bootstrap_servers": broker.bootstrap,
        "events__kafka__transactional_id": topic,
        "events__kafka__create_topics": "true",
        "outputs": json.dumps([{"name": "r5", "profile": "r5", "topic": topic}]),
    }


@pytest.mark.kafka
@pytest.mark.slow
def test_killed_in_the_middle_still_completes_once_in_kafka(
    nodes: Nodes, study: tuple[str, list[Path]], kafka_broker: KafkaBroker
) -> None:
    uid, files = study
    topic = f"killed-{uuid.uuid4()}"
    kafka_broker.ensure_running()
    kafka_broker.create_topic(topic)
    settings = {"completion__quiet_seconds": "1.5", **kafka(kafka_broker, topic)}
    node = nodes.start_process(**settings)
    sending = subprocess.Popen(
        ["storescu", "+r", "-aec", node.ae_title, "127.0.0.1", str(node.port), "+sd", files[0].parent],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: len(node.stored()) >= 5)
    node.kill()
    sending.wait(60)

    node = nodes.start_process(**settings)
    sent = dcmtk("storescu", "-aec", node.ae_title, "127.0.0.1", str(node.port), *files)
    assert sent.returncode == 0, sent.stdout
    (message,) = kafka_broker.read(topic, 1, 30.0, **{"isolation.level": "read_committed"})
    headers = dict(message.headers() or [])
    assert message.key() == uid.encode()
    assert headers["ce_id"] == f"r5/{uid}/1".encode()
    assert headers["content-type"] == b"application/fhir+json; fhirVersion=5.0"
    valid(json.loads(message.value() or b""), uid, 30)
    eventually(lambda: node.metric("outbox_pending") == 0)
    node.kill()

    node = nodes.start_process(**settings)  # once more, with nothing to do
    eventually(lambda: node.get(f"/api/studies/{uid}")["state"] == "complete")
    assert len(kafka_broker.read_all(topic, **{"isolation.level": "read_committed"})) == 1
    assert node.get(f"/api/studies/{uid}")["version"] == 1


@pytest.mark.kafka
@pytest.mark.slow
def test_studies_complete_while_the_broker_is_down(
    nodes: Nodes, tmp_path: Path, kafka_broker: KafkaBroker
) -> None:
    topic = f"down-{uuid.uuid4()}"
    kafka_broker.ensure_running()
    kafka_broker.create_topic(topic)
    node = nodes.start(completion__quiet_seconds="0.3", **kafka(kafka_broker, topic))
    kafka_broker.stop()
    try:
        uids = [str(generate_uid()) for _ in range(5)]
        files = [path for uid in uids for path in made_study(tmp_path / uid, uid, {"CT": 2})]
        sent = dcmtk("storescu", "-aec", node.ae_title, "127.0.0.1", str(node.port), *files)
        assert sent.returncode == 0, sent.stdout
        eventually(lambda: node.metric("outbox_pending") == 5)
    finally:
        kafka_broker.start()
    messages = kafka_broker.read(topic, 5, 60, **{"isolation.level": "read_committed"})
    assert {message.key() for message in messages} == {uid.encode() for uid in uids}
    eventually(lambda: node.metric("outbox_pending") == 0, 60)
