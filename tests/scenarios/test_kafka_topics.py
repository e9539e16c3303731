"""Topics that are missing or that refuse a record, and what the log says of an outage."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from node.index.engine import Engine
from node.index.outbox import Outbox
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions
from tests.harness import eventually
from tests.kafka_broker import KafkaBroker
from tests.publish.events import event
from tests.scenarios.delivery import (
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


# --- topics that are not there


def test_topics_are_created_when_that_is_allowed(engine: Engine, kafka_broker: KafkaBroker) -> None:
    kafka_broker.ensure_running()
    sent = event(topic=f"made-{uuid.uuid4()}")
    options = kafka_options(kafka_broker, exactly_once=True, partitions=5, replication_factor=1)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, sent)
            await metrics.until(lambda: metrics.out == [sent.id])

    asyncio.run(run())
    topics = AdminClient({"bootstrap.servers": kafka_broker.bootstrap}).list_topics(timeout=30).topics
    assert len(topics[sent.topic].partitions) == 5
    assert len(topics[options.cursor_topic].partitions) == 1
    assert _setting(kafka_broker, options.cursor_topic, "cleanup.policy") == "compact"
    assert _setting(kafka_broker, sent.topic, "cleanup.policy") == "delete"


def _setting(broker: KafkaBroker, name: str, key: str) -> str:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    return str(admin.describe_configs([resource])[resource].result(30)[key].value)


def test_a_replication_factor_that_the_cluster_has_not(kafka_broker: KafkaBroker) -> None:
    kafka_broker.ensure_running()
    name = f"made-{uuid.uuid4()}"
    options = kafka_options(kafka_broker, replication_factor=3)
    assert "fewer brokers than replication_factor" in _problem(options, name)


def _problem(options: KafkaOptions, name: str) -> str:
    async def run() -> str:
        publisher = KafkaPublisher(options)
        try:
            await publisher.publish([event(topic=name)])
        except Exception as error:  # noqa: BLE001  which one is what the test is about
            return str(error)
        finally:
            await publisher.stop()
        return ""

    return asyncio.run(run())


def test_a_missing_cursor_topic_is_named_and_waited_for(
    engine: Engine, kafka_broker: KafkaBroker, topic: str
) -> None:
    sent = event(topic=topic)
    options = kafka_options(kafka_broker, exactly_once=True, create_topics=False)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await commit(engine, relay, sent)
            health = await until_health(relay, lambda state: state.stuck_since)
            error = health.last_error or ""
            assert options.cursor_topic in error
            assert "--partitions 1 --config cleanup.policy=compact" in error
            assert "create_topics = true" in error
            settings = {"cleanup.policy": "compact"}
            await asyncio.to_thread(kafka_broker.create_topic, options.cursor_topic, 1, **settings)
            await metrics.until(lambda: metrics.out == [sent.id])

    asyncio.run(run())


# --- records that are refused


# Where the limit is set -> resource, its name if it is not the topic, and the setting.
LIMITS = {
    "broker": (ConfigResource.Type.BROKER, "1", "message.max.bytes"),
    "topic": (ConfigResource.Type.TOPIC, "", "max.message.bytes"),
}


def _limit(broker: KafkaBroker, by: str, topic: str, value: int | None) -> None:
    """Set while the broker runs; None is the default again."""
    kind, name, key = LIMITS[by]
    how = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    entry = ConfigEntry(key, str(value), incremental_operation=how)
    resource = ConfigResource(kind, name or topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(30)


@pytest.mark.parametrize("by", LIMITS)
def test_larger_than_allowed_is_parked_and_goes_out_by_replay(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, by: str
) -> None:
    options = kafka_options(kafka_broker, exactly_once=True, compression="none")
    large, small = event("1.40.1", 1, topic, size=9000), event("1.40.2", 1, topic)

    limit = partial(_limit, kafka_broker, by, topic)

    async def run() -> None:
        async with relaying(engine, options) as (relay, metrics):
            await asyncio.to_thread(limit, 6000)
            await commit(engine, relay, large, small)
            await metrics.until(lambda: metrics.out == [small.id] and metrics.set_aside == [large.id])
            (record,) = await asyncio.to_thread(Outbox(engine).for_study, large.study)
            assert "larger than the topic, the broker or max_request_size allows" in (
                record.parked_reason or ""
            )
            await asyncio.to_thread(limit, None)
            await asyncio.to_thread(Outbox(engine).replay, [large.id], 1.0)
            relay.wake()
            await metrics.until(lambda: metrics.out == [small.id, large.id])

    try:
        asyncio.run(run())
    finally:
        limit(None)
    messages = kafka_broker.read_all(topic)
    assert sorted(ids_of(messages)) == [large.id, small.id]
    assert large.data in [message.value() for message in messages]


def test_an_invalid_record_is_parked_alone(
    engine: Engine, kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compacted topic takes no record without a key: the broker answers INVALID_RECORD."""
    kafka_broker.ensure_running()
    name = f"compacted-{uuid.uuid4()}"
    kafka_broker.create_topic(name, 1, **{"cleanup.policy": "compact"})
    events = [event(f"1.41.{n}", 1, name) for n in range(4)]
    real = AIOKafkaProducer.send

    async def send(self: AIOKafkaProducer, to: str, **given: Any) -> Any:
        if given.get("key") == b"1.41.2":
            given["key"] = None
        return await real(self, to, **given)

    monkeypatch.setattr(AIOKafkaProducer, "send", send)

    async def run() -> None:
        async with relaying(engine, kafka_options(kafka_broker, exactly_once=True)) as (relay, metrics):
            await commit(engine, relay, *events)
            await metrics.until(lambda: len(metrics.out) == 3 and metrics.set_aside == [events[2].id])

    asyncio.run(run())
    (record,) = Outbox(engine).for_study("1.41.2")
    assert "InvalidRecord" in (record.parked_reason or "")
    assert sorted(ids_of(kafka_broker.read_all(name))) == [f"r5/1.41.{n}/1" for n in (0, 1, 3)]


# --- the log


class _Counting(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.name.startswith("aiokafka")


@pytest.fixture
def written() -> Iterator[_Counting]:
    """What aiokafka has written, whether it is shown or not."""
    yield from _counted(logging.getLogger("aiokafka"))


@pytest.fixture
def shown() -> Iterator[_Counting]:
    """What of it comes to where the node's log is made."""
    yield from _counted(logging.getLogger())


def _counted(logger: logging.Logger) -> Iterator[_Counting]:
    counting = _Counting()
    logger.addHandler(counting)
    yield counting
    logger.removeHandler(counting)


def test_an_outage_is_one_line(
    engine: Engine,
    kafka_broker: KafkaBroker,
    topic: str,
    written: _Counting,
    shown: _Counting,
) -> None:
    first, second = event("1.42", 1, topic), event("1.42", 2, topic)

    async def run() -> None:
        async with relaying(engine, kafka_options(kafka_broker, exactly_once=True)) as (relay, metrics):
            await commit(engine, relay, first)
            await metrics.until(lambda: len(metrics.out) == 1)
            await asyncio.to_thread(kafka_broker.stop)
            try:
                await commit(engine, relay, second)
                await asyncio.to_thread(eventually, lambda: written.count > 12)
            finally:
                await asyncio.to_thread(kafka_broker.ensure_running)
            await metrics.until(lambda: len(metrics.out) == 2)

    with structlog.testing.capture_logs() as lines:
        asyncio.run(run())
    told = [line for line in lines if line["log_level"] in ("warning", "error")]
    assert [line["event"] for line in told] == ["kafka_unreachable"]
    assert "nothing listens there" in told[0]["why"]
    assert shown.count == 0
