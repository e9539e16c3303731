"""Exactly once over crashes, cuts and fencing, as a read_committed consumer of a real Kafka sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]

from node.index.engine import Engine
from node.index.outbox import Outbox, add
from node.model import Event
from node.publish.base import PartlyPublished, SinkRefuses
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions
from tests.kafka_broker import KafkaBroker
from tests.publish.events import event, numbered
from tests.scenarios.delivery import (
    assert_once_and_in_order,
    ids_of,
    kafka_options,
    nothing_left_behind,
    relaying,
    topic,
)

__all__ = ["nothing_left_behind", "topic"]

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def _publish(
    options: KafkaOptions, *events: Event, once_started: Callable[[], object] = lambda: None
) -> list[str]:
    publisher = KafkaPublisher(options)
    try:
        await publisher.start()
        once_started()
        return [outcome.event.id for outcome in await publisher.publish(events) if outcome.refused is None]
    finally:
        await publisher.stop()


def test_exactly_once_over_a_crash_between_commit_and_mark(
    engine: Engine, kafka_broker: KafkaBroker, topic: str
) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    events = [event(f"1.9.{n}", 1, topic) for n in range(4)]
    with engine.write() as connection:
        add(connection, events, 1.0)
    pending = [record.event for record in Outbox(engine).pending(3, 10_000_000)]
    asyncio.run(_publish(options, *pending))  # and the node is gone before it marks anything

    async def run() -> None:
        async with relaying(engine, options) as (_, metrics):
            await metrics.until(lambda: metrics.out == [events[3].id])

    asyncio.run(run())
    assert_once_and_in_order(kafka_broker.read_all(topic), events)
    assert Outbox(engine).backlog().pending == 0


def test_exactly_once_over_a_crash_before_thecommit(
    engine: Engine, kafka_broker: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    events = [event(f"1.10.{n}", 1, topic) for n in range(3)]
    with engine.write() as connection:
        add(connection, events, 1.0)

    async def crash() -> None:
        reached = asyncio.Event()

        async def never(_: AIOKafkaProducer) -> None:
            reached.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            fault = partial(patch.setattr, AIOKafkaProducer, "commit_transaction", never)
            task = asyncio.create_task(_publish(options, *events, once_started=fault))
            async with asyncio.timeout(30):
                await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def run() -> None:
        async with relaying(engine, options) as (_, metrics):
            await metrics.until(lambda: len(metrics.out) == 3)

    asyncio.run(crash())
    asyncio.run(run())
    assert_once_and_in_order(kafka_broker.read_all(topic), events)
    # The first attempt is there for those who ask for uncommitted records: the fault was a real one.
    assert len(kafka_broker.read_all(topic, **{"isolation.level": "read_uncommitted"})) == 6


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_without_an_answer_is_looked_up(
    kafka_broker: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    events = numbered([event(f"1.11.{n}", 1, topic) for n in range(5)])
    real = AIOKafkaProducer.commit_transaction
    failures = [KafkaConnectionError("cut")]

    async def cut(self: AIOKafkaProducer) -> None:
        if committed or not failures:
            await real(self)
        if failures:
            raise failures.pop()

    fault = partial(monkeypatch.setattr, AIOKafkaProducer, "commit_transaction", cut)
    assert asyncio.run(_publish(options, *events, once_started=fault)) == [sent.id for sent in events]
    assert failures == []
    assert_once_and_in_order(kafka_broker.read_all(topic), events)


def test_of_two_nodes_with_one_transactional_id_the_older_stands_back(
    kafka_broker: KafkaBroker, topic: str
) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    events = numbered([event(f"1.12.{n}", 1, topic) for n in range(1, 5)])

    async def run() -> None:
        first, second = KafkaPublisher(options), KafkaPublisher(options)
        try:
            await first.start()
            await first.publish(events[:1])
            await second.start()
            with pytest.raises(PartlyPublished, match=r"another node .* uses the transactional id"):
                await first.publish(events[1:2])
            for _ in range(20):  # without asking the broker again
                with pytest.raises(SinkRefuses, match=r"give one of them its own transactional_id.*restart"):
                    await first.publish(events[1:2])
            # The newer one is not disturbed, and still has the id after a new connection.
            await second.publish(events[2:3])
            await second.stop()
            await second.start()
            await second.publish(events[3:4])
        finally:
            await first.stop()
            await second.stop()

    asyncio.run(run())
    assert sorted(ids_of(kafka_broker.read_all(topic))) == [f"r5/1.12.{n}/1" for n in (1, 3, 4)]


def test_a_producer_that_lost_its_id_to_no_other_node_goes_on(kafka_broker: KafkaBroker, topic: str) -> None:
    """As when the coordinator ends a transaction that took too long."""
    options = kafka_options(kafka_broker, exactly_once=True)
    events = numbered([event(f"1.14.{n}", 1, topic) for n in range(2)])

    async def run() -> None:
        publisher = KafkaPublisher(options)
        other = AIOKafkaProducer(
            bootstrap_servers=kafka_broker.bootstrap, transactional_id=options.transactions
        )
        try:
            await publisher.publish(events[:1])
            await other.start()  # takes the id at the broker, and claims nothing
            assert [outcome.refused for outcome in await publisher.publish(events[1:])] == [None]
        finally:
            await other.stop()
            await publisher.stop()

    asyncio.run(run())
    assert_once_and_in_order(kafka_broker.read_all(topic), events)


def test_the_cursor_is_found_behind_many_transactions(kafka_broker: KafkaBroker, topic: str) -> None:
    options = kafka_options(kafka_broker, exactly_once=True)
    events = [event("1.13", version, topic) for version in range(1, 41)]

    async def run() -> set[str]:
        publisher = KafkaPublisher(options)
        await publisher.start()
        for sent in events:
            await publisher.publish([sent])
        await publisher.stop()
        await publisher.start()
        try:
            return await publisher.already_out(events)
        finally:
            await publisher.stop()

    assert events[-1].id in asyncio.run(run())
