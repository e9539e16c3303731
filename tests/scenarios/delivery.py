"""A relay that runs over an index and a real Kafka, and what the topics hold afterwards."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Message

from node.index.engine import Engine
from node.index.outbox import Outbox, add
from node.model import Event
from node.outbox import Backoff, Relay, RelayHealth
from node.publish.kafka import KafkaPublisher
from node.publish.kafka_options import KafkaOptions
from tests.harness import eventually
from tests.kafka_broker import KafkaBroker
from tests.publish.sinks import Counted


@pytest.fixture(autouse=True)
def nothing_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No task or future that asyncio would complain of when it is collected."""
    yield
    gc.collect()
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [record.getMessage() for record in records if record.name == "asyncio"] == []


@pytest.fixture
def topic(kafka_broker: KafkaBroker) -> str:
    kafka_broker.ensure_running()
    name = f"imaging-study-{uuid.uuid4()}"
    kafka_broker.create_topic(name)
    return name


def kafka_options(broker: KafkaBroker, **more: object) -> KafkaOptions:
    given: dict[str, object] = {
        "exactly_once": False,
        "transactional_id": f"node-{uuid.uuid4()}",
        "create_topics": True,
        **more,
    }
    return KafkaOptions(bootstrap_servers=broker.bootstrap, **given)  # type: ignore[arg-type]


@asynccontextmanager
async def relaying(
    engine: Engine, options: KafkaOptions, **more: Any
) -> AsyncIterator[tuple[Relay, Counted]]:
    metrics = Counted()
    relay = Relay(
        Outbox(engine), KafkaPublisher(options), time.time, metrics,
        backoff=Backoff(first=0.05, cap=0.2), **more,
    )  # fmt: skip
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield relay, metrics
    finally:
        stop.set()
        await task


async def commit(engine: Engine, relay: Relay | None, *events: Event) -> None:
    def write() -> None:
        with engine.write() as connection:
            add(connection, events, time.time())
        if relay is not None:
            relay.wake()  # from the thread that committed, as the clock does it

    await asyncio.to_thread(write)


async def until_health(relay: Relay, condition: Callable[[RelayHealth], object]) -> RelayHealth:
    """The relay's state once it meets ``condition``."""

    def probe() -> RelayHealth | None:
        health = relay.health()
        return health if condition(health) else None

    found = await asyncio.to_thread(eventually, probe, 60.0)
    assert found is not None
    return found


def headers_of(message: Message) -> dict[str, str]:
    """The headers of a CloudEvent, which are UTF-8."""
    found = {}
    for name, value in dict(message.headers() or ()).items():
        assert isinstance(value, bytes)
        found[name] = value.decode()
    return found


def ids_of(messages: list[Message]) -> list[str]:
    return [headers_of(message)["ce_id"] for message in messages]


def assert_once_and_in_order(messages: list[Message], events: list[Event]) -> None:
    found = ids_of(messages)
    assert sorted(found) == sorted(sent.id for sent in events)
    for study in {sent.study for sent in events}:
        order = [sent.id for sent in events if sent.study == study]
        assert [identity for identity in found if identity in order] == order
