"""Outbox, relay and Kafka publisher against a real Apache Kafka: what consumers get, and what outages do."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from node.errors import PublishUnavailable
from node.index.engine import Engine
from node.index.outbox import Outbox
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions
from tests.kafka_broker import KafkaBroker
from tests.ports import free_port
from tests.publish.events import event
from tests.scenarios.delivery import (
    assert_once_and_in_order,
    commit,
    ids_of,
    kafka_options,
    nothing_left_behind,
    relaying,
    topic,
    until_health,
)

__all__ = ["nothing_left_behind", "topic"]

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(params=[False, True], ids=["idempotent", "exactly-once"])
def options(request: pytest.FixtureRequest, kafka_broker: KafkaBroker) -> KafkaOptions:
    return kafka_options(kafka_broker, exactly_once=request.param)


def test_key_headers_and_value(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, options: KafkaOptions
) -> None:
    sent = event("1.2.840.1", topic=topic)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, sent)
            await metrics.until(lambda: metrics.out == [sent.id])

    asyncio.run(run())
    (message,) = kafka_broker.read_all(topic)
    assert message.key() == b"1.2.840.1"
    assert message.value() == sent.data
    expected = {f"ce_{name}": str(value).encode() for name, value in sent.attributes.items()}
    expected["content-type"] = expected.pop("ce_datacontenttype")
    assert dict(message.headers() or []) == expected
    assert Outbox(engine).for_study("1.2.840.1")[0].state == "sent"


def test_broker_stopped_and_started_while_events_come(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, options: KafkaOptions
) -> None:
    events = [event(f"1.2.{n % 4}", 1 + n // 4, topic) for n in range(24)]

    async def run() -> None:
        async with relaying(engine, options, stuck_seconds=0.0) as (relay, metrics):
            await commit(engine, relay, *events[:8])
            await metrics.until(lambda: len(metrics.out) == 8)
            await asyncio.to_thread(kafka_broker.stop)
            try:
                for sent in events[8:16]:
                    await commit(engine, relay, sent)
                health = await asyncio.to_thread(relay.health)
                assert health.pending == 8
            finally:
                await asyncio.to_thread(kafka_broker.ensure_running)
            await commit(engine, relay, *events[16:])
            await metrics.until(lambda: len(metrics.out) == 24)
            health = await asyncio.to_thread(relay.health)
            assert (health.pending, health.stuck_since, health.last_error) == (0, None, None)

    asyncio.run(run())
    assert_once_and_in_order(kafka_broker.read_all(topic), events)


def test_broker_killed_and_back_with_sends_under_way(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, options: KafkaOptions
) -> None:
    events = [event(f"1.3.{n}", 1, topic, size=20_000) for n in range(60)]

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, event("1.3", 1, topic))
            await metrics.until(lambda: len(metrics.out) == 1)
            await asyncio.to_thread(kafka_broker.stop, True)
            try:
                await commit(engine, relay, *events)
            finally:
                await asyncio.to_thread(kafka_broker.ensure_running)
            await metrics.until(lambda: len(metrics.out) == 61)

    asyncio.run(run())
    assert_once_and_in_order(kafka_broker.read_all(topic), [event("1.3", 1, topic), *events])


def test_node_starts_while_the_broker_is_away(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, options: KafkaOptions
) -> None:
    kafka_broker.stop()
    sent = event(topic=topic)

    async def run() -> None:
        try:
            async with relaying(engine, options) as (relay, metrics):
                await commit(engine, relay, sent)
                health = await until_health(relay, lambda health: health.stuck_since is not None)
                assert health.pending == 1
                assert kafka_broker.bootstrap in (health.last_error or "")
                await asyncio.to_thread(kafka_broker.ensure_running)
                await metrics.until(lambda: metrics.out == [sent.id])
        finally:
            kafka_broker.ensure_running()

    asyncio.run(run())
    assert ids_of(kafka_broker.read_all(topic)) == [sent.id]


def test_stop_does_not_wait_for_ever_for_a_broker_that_is_away(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, options: KafkaOptions
) -> None:
    first, second = event("1.4.1", topic=topic), event("1.4.2", topic=topic)

    async def first_run() -> None:
        async with relaying(engine, options, drain_seconds=0.2) as (relay, metrics):
            await commit(engine, relay, first)
            await metrics.until(lambda: metrics.out == [first.id])
            await asyncio.to_thread(kafka_broker.stop)
            await commit(engine, relay, second)
            await until_health(relay, lambda health: health.pending == 1)

    async def second_run() -> None:
        async with relaying(engine, options) as (_, metrics):
            await metrics.until(lambda: metrics.out == [second.id])

    try:
        started = time.monotonic()
        asyncio.run(first_run())
        assert time.monotonic() - started < 20
    finally:
        kafka_broker.ensure_running()
    asyncio.run(second_run())
    assert sorted(ids_of(kafka_broker.read_all(topic))) == [first.id, second.id]


@pytest.mark.parametrize("once", [False, True], ids=["idempotent", "exactly-once"])
def test_refused_events_are_parked_and_the_innocent_ones_arrive(
    engine: Engine, kafka_broker: KafkaBroker, once: bool
) -> None:
    name = f"small-{uuid.uuid4()}"
    kafka_broker.create_topic(name, partitions=1, **{"max.message.bytes": "4000"})
    # Uncompressed and small enough to share a record batch: together they are more than the topic takes.
    events = [event(f"1.5.{n}", 1, name, size=1000) for n in range(6)]
    events.insert(3, event("1.5.9", 1, name, size=6000))
    options = kafka_options(kafka_broker, compression="none", exactly_once=once)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, *events)
            await metrics.until(lambda: len(metrics.out) == 6 and len(metrics.set_aside) == 1)
            # The producer that was refused is spent; delivery goes on with another one.
            await commit(engine, relay, event("1.5.10", 1, name))
            await metrics.until(lambda: len(metrics.out) == 7)

    asyncio.run(run())
    found = ids_of(kafka_broker.read_all(name))
    assert sorted(found) == sorted(f"r5/1.5.{n}/1" for n in (0, 1, 2, 3, 4, 5, 10))
    (record,) = Outbox(engine).for_study("1.5.9")
    assert record.state == "parked"
    assert "MessageSizeTooLarge" in (record.parked_reason or "")


def test_larger_than_max_request_size_is_parked_without_a_new_producer(
    engine: Engine, kafka_broker: KafkaBroker, topic: str
) -> None:
    options = kafka_options(kafka_broker, max_request_size=10_000)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, event("1.6.1", 1, topic, size=20_000), event("1.6.2", 1, topic))
            await metrics.until(lambda: len(metrics.out) + len(metrics.set_aside) == 2)
            assert (metrics.out, metrics.set_aside) == (["r5/1.6.2/1"], ["r5/1.6.1/1"])

    asyncio.run(run())
    assert ids_of(kafka_broker.read_all(topic)) == ["r5/1.6.2/1"]


def test_a_missing_topic_waits_alone_and_delivery_goes_on_when_it_is_there(
    engine: Engine, kafka_broker: KafkaBroker, topic: str
) -> None:
    missing = f"missing-{uuid.uuid4()}"
    events = [event("1.8", n, missing) for n in (1, 2, 3)]
    others = [event(f"1.8.{n}", 1, topic) for n in range(5)]

    async def run() -> None:
        async with relaying(engine, kafka_options(kafka_broker, create_topics=False)) as (relay, metrics):
            await commit(engine, relay, events[0], *others[:3], events[1])
            await metrics.until(lambda: len(metrics.out) == 3)
            await commit(engine, relay, *others[3:], events[2])
            await metrics.until(lambda: len(metrics.out) == 5)
            health = await asyncio.to_thread(relay.health)
            assert (health.pending, health.parked) == (3, 0)
            assert missing in (health.last_error or "")
            await asyncio.to_thread(kafka_broker.create_topic, missing)
            await metrics.until(lambda: len(metrics.out) == 8)

    asyncio.run(run())
    assert ids_of(kafka_broker.read_all(missing)) == [sent.id for sent in events]
    assert sorted(ids_of(kafka_broker.read_all(topic))) == [sent.id for sent in others]


def test_a_topic_with_an_illegal_name_is_refused(
    engine: Engine, kafka_broker: KafkaBroker, topic: str
) -> None:
    async def run() -> None:
        async with relaying(engine, kafka_options(kafka_broker)) as (relay, metrics):
            await commit(engine, relay, event("1.7.1", 1, "imaging study"), event("1.7.2", 1, topic))
            await metrics.until(lambda: len(metrics.out) + len(metrics.set_aside) == 2)

    asyncio.run(run())
    assert Outbox(engine).for_study("1.7.1")[0].state == "parked"
    assert ids_of(kafka_broker.read_all(topic)) == ["r5/1.7.2/1"]


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_compressions(engine: Engine, kafka_broker: KafkaBroker, topic: str, compression: str) -> None:
    sent = event(topic=topic, size=300_000)

    async def run() -> None:
        async with relaying(engine, kafka_options(kafka_broker, compression=compression)) as (relay, metrics):
            await commit(engine, relay, sent)
            await metrics.until(lambda: metrics.out == [sent.id])

    asyncio.run(run())
    (message,) = kafka_broker.read_all(topic)
    assert message.value() == sent.data


def test_no_broker_at_all_is_said_at_once() -> None:
    options = KafkaOptions(bootstrap_servers=f"127.0.0.1:{free_port()}", exactly_once=False)

    async def run() -> None:
        publisher = KafkaPublisher(options)
        with pytest.raises(PublishUnavailable, match=options.bootstrap_servers):
            await publisher.start()
        await publisher.stop()

    asyncio.run(run())
