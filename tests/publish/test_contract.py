"""What every publisher promises, whichever sink is behind it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from cloudevents.core.formats.json import JSONFormat

from node.model import Event
from node.publish.base import Publisher
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions
from node.publish.ndjson import NdjsonPublisher
from tests.publish.events import event, numbered


@dataclass
class Sink:
    """A publisher, and a look at what came out: (parsed CloudEvent, the resource's bytes) in order."""

    make: Callable[[], Publisher]
    read: Callable[[], list[tuple[Any, bytes]]]
    topic: str


@pytest.fixture(
    params=[
        "ndjson",
        pytest.param("kafka", marks=pytest.mark.kafka),
        pytest.param("kafka-exactly-once", marks=pytest.mark.kafka),
    ]
)
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    topic = f"contract-{uuid.uuid4()}"
    if request.param == "ndjson":
        path = tmp_path / "events.ndjson"
        yield Sink(lambda: NdjsonPublisher(path), lambda: _lines(path), topic)
        return
    broker = request.getfixturevalue("kafka_broker")
    broker.create_topic(topic)
    once = request.param == "kafka-exactly-once"
    options = KafkaOptions(
        bootstrap_servers=broker.bootstrap,
        exactly_once=once,
        transactional_id=f"node-{topic}",
        create_topics=True,
    )
    yield Sink(lambda: KafkaPublisher(options), lambda: _records(broker.read_all(topic)), topic)


def _lines(path: Path) -> list[tuple[Any, bytes]]:
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    return [
        (JSONFormat().read(None, line), line[line.index(b',"data":') + len(b',"data":') : -2])
        for line in lines
    ]


def _records(messages: list[Any]) -> list[tuple[Any, bytes]]:
    return [
        (
            from_kafka_event(KafkaMessage(dict(message.headers()), message.key(), message.value())),
            message.value(),
        )
        for message in messages
    ]


def _published(sink: Sink, *batches: list[Event]) -> None:
    async def run() -> None:
        publisher = sink.make()
        await publisher.start()
        try:
            for batch in batches:
                outcomes = await publisher.publish(batch)
                assert [outcome.event for outcome in outcomes] == batch
                assert [outcome.refused for outcome in outcomes] == [None] * len(batch)
        finally:
            await publisher.stop()

    asyncio.run(run())


def test_cloudevents_sdk_reads_every_attribute_and_the_exact_bytes(sink: Sink) -> None:
    sent = event(topic=sink.topic)
    _published(sink, [sent])
    ((read, data),) = sink.read()
    assert data == sent.data
    attributes = dict(read.get_attributes())
    attributes["time"] = attributes["time"].isoformat().replace("+00:00", "Z")
    # The Kafka binding knows strings only; a consumer takes the integers' canonical text.
    assert {k: str(v) for k, v in attributes.items()} == {k: str(v) for k, v in sent.attributes.items()}
    body = read.get_data()
    assert (body if isinstance(body, dict) else orjson.loads(body)) == orjson.loads(sent.data)


def test_a_study_keeps_its_order_within_and_over_batches(sink: Sink) -> None:
    events = numbered([event(f"1.2.{n % 5}", 1 + n // 5, sink.topic, size=40 * n) for n in range(40)])
    _published(sink, events[:25], events[25:])
    found = [read.get_id() for read, _ in sink.read()]
    assert sorted(found) == sorted(sent.id for sent in events)
    for study in {sent.study for sent in events}:
        order = [sent.id for sent in events if sent.study == study]
        assert [identity for identity in found if identity in order] == order


def test_the_same_event_again_is_the_same_bytes(sink: Sink) -> None:
    sent = event(topic=sink.topic)
    _published(sink, [sent], [sent])
    (_, first), (_, second) = sink.read()
    assert first == second == sent.data


def test_an_empty_batch_is_nothing(sink: Sink) -> None:
    _published(sink, [])
    assert sink.read() == []


def test_start_after_stop_goes_on(sink: Sink) -> None:
    async def run() -> None:
        publisher = sink.make()
        for version in (1, 2):
            await publisher.start()
            await publisher.publish([event(version=version, topic=sink.topic)])
            await publisher.stop()
        await publisher.stop()

    asyncio.run(run())
    assert [read.get_id() for read, _ in sink.read()] == ["r5/1.2.3/1", "r5/1.2.3/2"]


def test_nothing_is_claimed_to_be_out_that_is_not(sink: Sink) -> None:
    async def run() -> set[str]:
        publisher = sink.make()
        await publisher.start()
        try:
            await publisher.publish([event("1.2.3", topic=sink.topic)])
            return await publisher.already_out([event("1.2.4", topic=sink.topic)])
        finally:
            await publisher.stop()

    assert asyncio.run(run()) == set()


def test_a_large_resource_passes_whole(sink: Sink) -> None:
    sent = event(topic=sink.topic, size=890_000)
    _published(sink, [sent])
    ((_, data),) = sink.read()
    assert data == sent.data
