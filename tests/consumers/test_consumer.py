"""The consumer of docs/consuming.md, as it stands there, between a real Kafka and a real node."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.sending import send_many
from tests.consumers.test_schemas import VALIDATORS
from tests.harness import LocalNode, Nodes, eventually
from tests.kafka_broker import KafkaBroker
from tests.scenarios.sender import associated, instance, new_uid, send, store
from tests.scenarios.test_outputs import key_objects
from tests.tools import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MANY = 60  # instances of a study that is longer than the least events.max_event_bytes

Taken = tuple[dict[str, str], dict[str, Any]]


class Consumer:
    """docs/examples/consumer.py in a process of its own."""

    def __init__(self, broker: KafkaBroker, topic: str, log: Path) -> None:
        program = [sys.executable, str(ROOT / "docs" / "examples" / "consumer.py")]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [*program, broker.bootstrap, topic, f"group-{topic}"],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log
        self._taken: queue.Queue[Taken] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event, resource = json.loads(line)
            self._taken.put((event, resource))

    def next(self) -> Taken:
        try:
            return self._taken.get(timeout=40)
        except queue.Empty:
            pytest.fail(f"the consumer shows nothing:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._reader.join(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert self._taken.empty()


def newest(node: LocalNode) -> dict[str, Any]:
    """The study that something came for last; empty before there is any."""
    return dict(next(iter(node.get("/api/studies")["studies"]), {}))


def complete(node: LocalNode, study: str, instances: int) -> None:
    eventually(lambda: {"uid": study, "instances": instances}.items() <= newest(node).items())
    node.post(f"/api/studies/{study}/complete")


def test_the_consumer_takes_each_event_once(nodes: Nodes, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """Completed, amended, replayed, too large, selections; one partition, so what comes later shows what did not."""
    kafka_broker.ensure_running()
    topics = {profile: f"{profile}-{uuid.uuid4()}" for profile in ("r5", "imagingselection")}
    node = nodes.start(
        dicom__receivers="0",
        completion__quiet_seconds="3600",
        outputs=json.dumps(
            [{"name": name, "profile": name, "topic": topic} for name, topic in topics.items()]
        ),
        events__sink="kafka",
        events__max_event_bytes="10000",
        events__kafka__bootstrap_servers=kafka_broker.bootstrap,
        events__kafka__create_topics="true",
        events__kafka__partitions="1",
    )
    study, large = new_uid(), new_uid()
    send(node, instance(study, 1), instance(study, 2))
    complete(node, study, 2)
    eventually(lambda: node.get("/api/events?data=0")["events"][0]["state"] == "sent")
    consumer = Consumer(kafka_broker, topics["r5"], tmp_path / "consumer.log")
    try:
        event, resource = consumer.next()
        assert (event["id"], event["type"].split(".")[3]) == (f"r5/{study}/1", "completed")
        assert (event["instances"], resource["numberOfInstances"]) == ("2", 2)

        document = key_objects(study, f"{study}.1.2")
        with associated(node, sop_class=str(document.SOPClassUID)) as association:
            assert store(association, document) == [0]
        complete(node, study, 3)
        event, resource = consumer.next()
        assert (event["id"], event["type"].split(".")[3]) == (f"r5/{study}/2", "amended")
        assert (event["added"], resource["numberOfInstances"]) == ("1", 3)

        node.post("/api/events/replay", {"ids": [f"r5/{study}/1", f"r5/{study}/2"]})
        eventually(lambda: len(kafka_broker.read_all(topics["r5"])) >= 4)
        send_many(node, (instance(large, number) for number in range(1, MANY + 1)), tmp_path / "large")
        complete(node, large, MANY)
        event, resource = consumer.next()
        assert event["id"] == f"r5/{large}/1", "what was replayed is not taken again"
        assert "dataref" in event
        assert sum(len(series["instance"]) for series in resource["series"]) == MANY
    finally:
        consumer.stop()
    selections = Consumer(kafka_broker, topics["imagingselection"], tmp_path / "selections.log")
    try:
        event, resource = selections.next()
        assert event["id"] == f"imagingselection/{document.SOPInstanceUID}/{study}.1/2"
        assert (event["subject"], event["studyversion"]) == (study, "2")
        assert [one["uid"] for one in resource["instance"]] == [f"{study}.1.2"]
    finally:
        selections.stop()
    check_headers(kafka_broker, topics)


def check_headers(broker: KafkaBroker, topics: dict[str, str]) -> None:
    """Key and headers of the very records, by the schemas."""
    for name, kind, count in (("r5", "imagingstudy", 5), ("imagingselection", "imagingselection", 1)):
        messages = broker.read_all(topics[name])
        assert len(messages) == count
        for message in messages:
            found = {name: text(value) for name, value in dict(message.headers() or []).items()}
            VALIDATORS[f"{kind}.headers"].validate(found)
            assert text(message.key()) == found["ce_partitionkey"] == found["ce_subject"]


def text(value: str | bytes | None) -> str:
    assert isinstance(value, bytes)
    return value.decode()
